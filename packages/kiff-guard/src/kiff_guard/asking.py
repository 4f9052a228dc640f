"""The question to KIFF and its answer: what a client is told of a call, and how what it says is read.

Whatever is no clear yes withholds. Clients of others are asked only for what their `decide` takes.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from kiff_guard.arguments import copied
from kiff_guard.attempts import Attempt
from kiff_guard.decision import ALLOWED, BLOCKED, ERROR, OBSERVED, UNMAPPED, WITHHELD, Decision
from kiff_guard.errors import GuardError

_BESIDE = frozenset(("run_context", "proposal_id", "approval_id", "trace", "unmapped", "settles"))
"""What `decide` may take beside tenant, agent, tool and arguments."""
_UNMAPPED = {"allow": UNMAPPED, "observe": OBSERVED}


class Asking:
    """How one client is asked.

    Args:
        client: has `decide`; None, where nobody is ever asked.
        tenant: for clients that want it.
        unmapped: what becomes of tools that KIFF does not govern; None: what the client has as its rule.
    """

    def __init__(self, client: Any, tenant: str, unmapped: str | None) -> None:
        self._client = client
        self._tenant = tenant
        self._unmapped = unmapped
        self._takes = frozenset() if client is None else _taken_by(client)
        lets_run = _UNMAPPED.get(str(unmapped or getattr(client, "unmapped", "")), ALLOWED)
        self._words = frozenset((ALLOWED, *WITHHELD, lets_run))

    @property
    def knows_our_ids(self) -> bool:
        """KIFF knows the question by the id that the guard gives it: what it cleared can be given back."""
        return "proposal_id" in self._takes

    def ask(self, attempt: Attempt, run_context: Any, approval_id: str) -> Any:
        """Asks, and waits for the answer.

        Raises:
            Exception: whatever the client raises.
        """
        beside = {
            "run_context": run_context,
            "proposal_id": proposal_id(attempt),
            "approval_id": approval_id or None,
            "trace": attempt.trace or None,
            "unmapped": self._unmapped,
            "settles": attempt.settles,
        }
        taken = {name: value for name, value in beside.items() if name in self._takes and value is not None}
        return self._client.decide(self._tenant, attempt.agent, attempt.tool, copied(attempt.args), **taken)

    def read(self, attempt: Attempt, told: Any) -> Decision:
        """The answer, if it is one. Anything else withholds."""
        answer = told if isinstance(told, Decision) else _alike(told)
        if answer is None or answer.outcome not in self._words:
            return Decision(ERROR, "unknown_outcome: the answer is none of KIFF's", reasons=("unknown_outcome",))
        if answer.outcome == ALLOWED and answer.replayed and (_has_a_lasting_id(attempt) or not self.knows_our_ids):
            reason = "already_cleared: KIFF cleared this very call before, and whether it ran is not known here"
            return answer.but(outcome=BLOCKED, reason=reason, reasons=("already_cleared",))
        return answer


def proposal_id(attempt: Attempt) -> str:
    """One id for one attempt at one call, in this process and in every other that resumes it."""
    if not _has_a_lasting_id(attempt):
        return f"prop_{attempt.receipt_id.rpartition('_')[2]}"
    parts = (attempt.agent, attempt.session, attempt.call_id, str(attempt.tries), attempt.tool, attempt.args_hash)
    return f"prop_{sha256(chr(0).join(parts).encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def told_of(error: Exception) -> tuple[str, str]:
    """(code, why) of a question that failed. Words of our own are told; those of others may quote the arguments."""
    name = type(error).__name__
    if not isinstance(error, GuardError):
        return name, name
    code = str(error.code or name)
    return code, f"{code}: {error}"


def _has_a_lasting_id(attempt: Attempt) -> bool:
    """May another process ask the same question? Else its id is drawn, and a repeated answer is this attempt's own."""
    return attempt.once


def _taken_by(client: Any) -> frozenset[str]:
    from inspect import Parameter, signature

    try:
        parameters = signature(client.decide).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    takes_all = any(each.kind is Parameter.VAR_KEYWORD for each in parameters)
    return _BESIDE if takes_all else _BESIDE.intersection(each.name for each in parameters)


def _alike(answer: Any) -> Decision | None:
    """The decision of a client that has its own class for it (v1's, a test's): its outcome, reason and id."""
    try:
        outcome = getattr(answer, "outcome", None)
        text = {name: str(getattr(answer, name, "") or "") for name in ("reason", "proposal_id", "approval_id")}
    except Exception:  # noqa: BLE001  # an object of anybody's
        return None
    if not isinstance(outcome, str):
        return None
    return Decision(outcome, text["reason"], text["proposal_id"], text["approval_id"])
