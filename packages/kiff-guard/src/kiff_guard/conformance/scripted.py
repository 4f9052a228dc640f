"""A KIFF in memory, for tests of agents and adapters: it answers what it was told to, and notes who asked what."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from kiff_guard.decision import Decision

WAITING, GRANTED, DENIED, EXPIRED, USED = "waiting", "granted", "denied", "expired", "used"
HELD = "approval_required"


@dataclass(frozen=True)
class Garbage:
    """An answer that is not a decision: `Garbage(None)`, `Garbage({"outcome": "allowed"})`."""

    value: Any = None


@dataclass(frozen=True)
class Asked:
    """One `decide` as it arrived; `options` are its keyword arguments."""

    tenant: str
    agent: str
    tool: str
    args: Any
    options: Mapping[str, Any]
    thread: int

    @property
    def proposal_id(self) -> Any:
        return self.options.get("proposal_id")

    @property
    def approval_id(self) -> Any:
        return self.options.get("approval_id")


@dataclass(frozen=True)
class Settled:
    """One `settle` as it arrived."""

    proposal_id: str
    status: str
    options: Mapping[str, Any]


@dataclass
class Approval:
    """Bound to one tool and one set of arguments, and good for one run."""

    id: str
    tool: str
    digest: str
    status: str = WAITING
    reason: str = ""


@dataclass
class _Answered:
    digest: str
    decision: Decision


@dataclass
class ScriptedClient:
    """Answers `decide` from a script.

    Args:
        outcomes: an outcome for every tool (`"allowed"`), or one by tool name, with `"*"` for the others. An outcome
            is a word; an exception (class or object), which is raised; `Garbage`; or a function of the arguments
            that gives one of these. `approval_required` opens an approval: `grant`, `deny` or `expire` it.
        reasons: what is said with an outcome.
        slow: seconds that a decide takes.
        maps: the tools that have a binding, if not all: the others are answered by the policy for unmapped tools.
        log: `("decide", tool)` is added to it. Give the same list to the tools, to see what came first.
    """

    outcomes: Any = "allowed"
    reasons: Mapping[str, str] = field(default_factory=dict)
    slow: float = 0.0
    maps: frozenset[str] | None = None
    log: list[tuple[str, str]] = field(default_factory=list)
    decides: list[Asked] = field(default_factory=list)
    settles: list[Settled] = field(default_factory=list)
    approvals: dict[str, Approval] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._answered: dict[str, _Answered] = {}
        self._drawn = 0

    @property
    def calls(self) -> int:
        return len(self.decides)

    def decide(
        self,
        tenant: str,
        agent: str,
        tool: str,
        args: dict[str, Any],
        run_context: Any = None,
        *,
        proposal_id: str | None = None,
        approval_id: str | None = None,
        trace: Any = None,
        unmapped: str | None = None,
        settles: bool | None = None,
    ) -> Decision:
        options = {
            "run_context": run_context,
            "proposal_id": proposal_id,
            "approval_id": approval_id,
            "trace": trace,
            "unmapped": unmapped,
            "settles": settles,
        }
        with self._lock:
            self.decides.append(Asked(tenant, agent, tool, deepcopy(args), options, threading.get_ident()))
            self.log.append(("decide", tool))
        if self.slow:
            time.sleep(self.slow)
        if self.maps is not None and tool not in self.maps:
            return self._unmapped(tool, unmapped)
        outcome = self._outcome(tool, args)
        if isinstance(outcome, Garbage):
            return outcome.value  # type: ignore[no-any-return]
        with self._lock:
            return self._final(proposal_id, tool, _digest(args), outcome, approval_id)

    def settle(
        self,
        proposal_id: str,
        status: str,
        *,
        result_hash: str | None = None,
        error: str | None = None,
        trace: Any = None,
    ) -> None:
        with self._lock:
            self.settles.append(
                Settled(proposal_id, status, {"result_hash": result_hash, "error": error, "trace": trace})
            )

    def grant(self, approval_id: str) -> None:
        self._review(approval_id, GRANTED, "")

    def deny(self, approval_id: str, reason: str = "the reviewer said no") -> None:
        self._review(approval_id, DENIED, reason)

    def expire(self, approval_id: str) -> None:
        self._review(approval_id, EXPIRED, "the approval has expired")

    def waiting(self) -> list[str]:
        """The ids of the approvals that nobody has answered, oldest first."""
        with self._lock:
            return [approval.id for approval in self.approvals.values() if approval.status == WAITING]

    def _review(self, approval_id: str, status: str, reason: str) -> None:
        with self._lock:
            approval = self.approvals[approval_id]
            approval.status, approval.reason = status, reason

    def _outcome(self, tool: str, args: Any) -> Any:
        script = self.outcomes
        if isinstance(script, Mapping):
            script = script.get(tool, script.get("*", "allowed"))
        if _is_function(script):
            script = script(args)
        if isinstance(script, BaseException) or (isinstance(script, type) and issubclass(script, BaseException)):
            raise script
        return script

    def _unmapped(self, tool: str, policy: str | None) -> Decision:
        outcome = {"allow": "unmapped", "observe": "observed"}.get(policy or "", "blocked")
        return _decision(outcome, "unmapped", f"`{tool}` has no binding")

    def _final(
        self, proposal_id: str | None, tool: str, digest: str, outcome: str, approval_id: str | None
    ) -> Decision:
        """The answer to a proposal: the first final one stands, and is given again."""
        known = self._answered.get(proposal_id or "")
        if known is not None:
            if known.digest != digest:
                return _decision("invalid", "idempotency_conflict", "the proposal was of other arguments", proposal_id)
            if known.decision.outcome != HELD:
                return replace(known.decision, replayed=True)
            approval_id = approval_id or known.decision.approval_id
        proposal_id = proposal_id or self._draw("prop")
        decision = self._decided(proposal_id, tool, digest, outcome, approval_id)
        self._answered[proposal_id] = _Answered(digest, decision)
        return decision

    def _decided(self, proposal_id: str, tool: str, digest: str, outcome: str, approval_id: str | None) -> Decision:
        if approval_id:
            return self._reviewed(proposal_id, tool, digest, approval_id)
        if outcome == "allowed":
            return _decision(outcome, "", "", proposal_id)
        reason = self.reasons.get(tool, f"`{tool}` is {outcome} by the script")
        if outcome != HELD:
            return _decision(outcome, "scripted", reason, proposal_id)
        approval = Approval(self._draw("appr"), tool, digest)
        self.approvals[approval.id] = approval
        return _decision(HELD, HELD, reason, proposal_id, approval.id)

    def _reviewed(self, proposal_id: str, tool: str, digest: str, approval_id: str) -> Decision:
        """What an approval is worth for this very call."""
        approval = self.approvals.get(approval_id)
        if approval is None or (approval.tool, approval.digest) != (tool, digest):
            why = "the approval was given for another call"
            return _decision("blocked", "approval_mismatch", why, proposal_id, approval_id)
        if approval.status == WAITING:
            return _decision(HELD, HELD, f"`{tool}` waits for a person", proposal_id, approval_id)
        if approval.status == GRANTED:
            approval.status = USED
            return _decision("allowed", "", "", proposal_id, approval_id)
        return _decision("blocked", f"approval_{approval.status}", approval.reason, proposal_id, approval_id)

    def _draw(self, kind: str) -> str:
        self._drawn += 1
        return f"{kind}_{self._drawn:04d}"


def _decision(outcome: str, code: str, message: str, proposal_id: str | None = None, approval_id: str = "") -> Decision:
    """As KIFF answers: the code of the reason first, then its words."""
    return Decision(
        outcome=outcome,
        reason=f"{code}: {message}" if code else "",
        proposal_id=proposal_id or "",
        approval_id=approval_id,
        reasons=(code,) if code else (),
    )


def _is_function(script: Any) -> bool:
    return isinstance(script, Callable) and not isinstance(script, type)  # type: ignore[arg-type]


def _digest(args: Any) -> str:
    return json.dumps(args, sort_keys=True, default=str)
