"""agent-aegis: its policy and its audit log, as its documentation puts them together. Run in the peers' environment.

The state is not known to it: the caller passes it as a parameter, and a condition of the rule looks at it. The
permission is the agent's name in the rule.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aegis.adapters.base import BaseExecutor
from aegis.core.action import Action
from aegis.core.crypto_audit import CryptoAuditChain
from aegis.core.policy import Approval, Policy, PolicyDecision
from aegis.core.result import Result, ResultStatus
from aegis.runtime.audit import AuditLogger
from aegis.runtime.engine import Runtime

from benchmarks.peers.turns import cpu_seconds, from_tasks, from_threads, serve

POLICY = Policy.from_dict(
    {
        "version": "1",
        "defaults": {"risk_level": "high", "approval": "block"},
        "rules": [
            {
                "name": "auto_refund",
                "match": {"type": "AUTO_REFUND", "target": "order:*", "agent": "ops-agent"},
                "conditions": {
                    "param_eq": {"state": "PAID"},
                    "param_gt": {"amount": 0},
                    "param_lte": {"amount": 100},
                },
                "risk_level": "medium",
                "approval": "auto",
            }
        ],
    }
)
SESSION = "bench"


class SlowFlush(AuditLogger):
    """Its audit log on a disk that needs 4 ms more for each commit."""

    def _log_unlocked(self, *args: Any, **options: Any) -> int:
        row = super()._log_unlocked(*args, **options)
        time.sleep(0.004)
        return row


class Nothing(BaseExecutor):
    """An executor that costs nothing."""

    async def execute(self, action: Action) -> Result:
        return Result(action=action, status=ResultStatus.SUCCESS)


def durable(folder: Path, *, count: int, callers: int, way: str, slow: bool = False) -> float:
    """Each decision is a committed row of its SQLite audit log (WAL, synchronous=FULL) before the caller goes on."""
    audit = (SlowFlush if slow else AuditLogger)(folder / "audit.db")
    if way == "threads":
        seconds = from_threads(callers, count, lambda number: audit.log(SESSION, _decided(number)))
    else:
        runtime = Runtime(executor=Nothing(), policy=POLICY, audit_logger=audit, session_id=SESSION)
        seconds = from_tasks(callers, count, lambda number: runtime.run_one(_action(number)))
    assert audit.count() == count
    audit.close()
    return seconds


def logged(folder: Path, *, count: int) -> float:
    """In memory: decide, and a row of the same audit log in a database in memory."""
    audit = AuditLogger(":memory:")
    seconds = cpu_seconds(count, lambda number: audit.log(SESSION, _decided(number)))
    assert audit.count() == count
    return seconds


def chained(folder: Path, *, count: int) -> float:
    """In memory: decide, and an entry of its hash chain."""
    chain = CryptoAuditChain()

    def call(number: int) -> None:
        made = _decided(number)
        action = made.action
        metadata = {"parameters": action.params}
        chain.append(
            action.agent_id,
            action.type,
            action.target,
            made.approval.value,
            made.risk_level.name,
            made.matched_rule,
            metadata,
        )

    seconds = cpu_seconds(count, call)
    assert len(chain) == count
    return seconds


def _decided(number: int) -> PolicyDecision:
    decision = POLICY.evaluate(_action(number))
    assert decision.approval is Approval.AUTO
    return decision


def _action(number: int) -> Action:
    parameters = {"amount": 49.0, "reason": "customer request", "state": "PAID"}
    return Action("AUTO_REFUND", target=f"order:{number}", params=parameters, agent_id="ops-agent")


if __name__ == "__main__":
    serve({"agent-aegis": version("agent-aegis")}, {"durable": durable, "logged": logged, "chained": chained})
