"""agent-governance-toolkit: its policy engine and its audit log with the signed file sink. In the peers' environment.

The state and the role are not known to it: the caller passes them, and the rule's condition looks at them.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.turns import cpu_seconds, from_tasks, from_threads, serve

with warnings.catch_warnings():  # it calls its own import paths deprecated, and has no others yet
    warnings.simplefilter("ignore", DeprecationWarning)
    from agentmesh.governance import AuditLog, FileAuditSink, govern
    from agentmesh.governance.policy import PolicyEngine

AGENT = "ops-agent"
POLICY = """
apiVersion: governance.toolkit/v1
name: refund-ops
agents: [ops-agent]
default_action: deny
rules:
  - name: auto_refund
    condition: >-
      action.type == 'AUTO_REFUND' and state.value == 'PAID' and role.value == 'ops_agent'
      and amount.value > 0 and amount.value <= 100
    action: allow
"""
SECRET = bytes(range(32))


class Flushed(FileAuditSink):
    """Its file sink, which leaves the line to the operating system, with the line on disk before it returns."""

    extra = 0.0

    def _append_line(self, signed: Any) -> None:
        super()._append_line(signed)
        handle = os.open(self._path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        if self.extra:
            time.sleep(self.extra)


class SlowFlush(Flushed):
    """The same on a disk that needs 4 ms more for each flush."""

    extra = 0.004


SINKS = {"as shipped": FileAuditSink, "flushed": Flushed, "slow": SlowFlush}


def durable(folder: Path, *, count: int, callers: int, way: str, sink: str) -> float:
    """Each decision is a chained and signed line of its file sink before the caller goes on."""
    engine = PolicyEngine(conflict_strategy="deny_overrides")
    engine.load_yaml(POLICY)
    audit = AuditLog(sink=SINKS[sink](folder / "audit.jsonl", SECRET))
    one_at_a_time = threading.Lock()  # the chain of its audit log has no lock of its own

    def call(number: int) -> None:
        context = _context(number)
        decision = engine.evaluate(AGENT, context)
        assert decision.allowed
        with one_at_a_time:
            audit.log(
                event_type="policy_evaluation",
                agent_did=AGENT,
                action=context["action"]["type"],
                resource=context["order"]["value"],
                outcome=decision.action,
                policy_decision=decision.action,
                data={"rule": decision.matched_rule, "parameters": {"amount": 49.0, "reason": "customer request"}},
            )

    async def awaited(number: int) -> None:
        call(number)

    seconds = from_threads(callers, count, call) if way == "threads" else from_tasks(callers, count, awaited)
    assert len((folder / "audit.jsonl").read_text().splitlines()) == count
    return seconds


def governed(folder: Path, *, count: int) -> float:
    """In memory: its wrapper with its audit log, a Merkle tree in memory. The governed function does nothing."""
    safe = govern(lambda **_: None, policy=POLICY, agent_id=AGENT)
    seconds = cpu_seconds(
        count,
        lambda number: safe(
            action="AUTO_REFUND",
            order=f"order:{number}",
            state="PAID",
            role="ops_agent",
            amount=49.0,
            reason="customer request",
        ),
    )
    assert len(safe.audit_log.query(limit=count)) == count
    return seconds


def _context(number: int) -> dict[str, Any]:
    return {
        "action": {"type": "AUTO_REFUND"},
        "order": {"value": f"order:{number}"},
        "state": {"value": "PAID"},
        "role": {"value": "ops_agent"},
        "amount": {"value": 49.0},
        "reason": {"value": "customer request"},
    }


if __name__ == "__main__":
    name = "agent-governance-toolkit"
    serve({name: version(name)}, {"durable": durable, "governed": governed})
