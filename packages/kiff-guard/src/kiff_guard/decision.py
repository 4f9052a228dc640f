"""What KIFF, or the guard in its stead, says of one call. The words of the outcomes stand here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ALLOWED = "allowed"
APPROVAL_REQUIRED = "approval_required"
BLOCKED = "blocked"
INVALID = "invalid"
LIMIT_EXCEEDED = "limit_exceeded"
ERROR = "error"
"""KIFF could not be asked, or the guard itself failed: withheld."""
OBSERVED = "observed"
"""Nobody was asked: the guard only looks on."""
UNMAPPED = "unmapped"
"""KIFF does not govern this tool, and the guard was told to let such tools run."""
UNMAPPED_POLICIES = ("withhold", "allow", "observe")
"""What becomes of a tool that KIFF does not govern."""
FAILED_OPEN = "failed_open"
"""KIFF could not be asked, and the guard was told to let tools run then (`fail_closed=False`)."""

WITHHELD = (APPROVAL_REQUIRED, BLOCKED, INVALID, LIMIT_EXCEEDED, ERROR)
RUNS = (ALLOWED, OBSERVED, UNMAPPED, FAILED_OPEN)
"""The tool runs on these, and on no other word whatever."""

_SAID = {
    APPROVAL_REQUIRED: "a person has to approve this call first",
    BLOCKED: "this call is not allowed now",
    INVALID: "this call cannot be decided as it is",
    LIMIT_EXCEEDED: "a limit is reached",
    ERROR: "KIFF could not be asked, so the call is withheld",
}
_NEXT = {
    APPROVAL_REQUIRED: "call again with the same arguments once it is granted",
    BLOCKED: "do not retry it unchanged",
    INVALID: "correct the call, do not retry it unchanged",
    LIMIT_EXCEEDED: "try later, or with less",
    ERROR: "it did not run; it may be tried again later",
}
_NEXT_BY_CODE = {
    "unmapped_tool": "no other arguments help: a person has to bind the tool",
    "unauthorized": "no other arguments help: a person has to give the guard a key that KIFF knows",
}
"""Where the call itself is as it should be: a model that is told to correct it would only try other arguments."""
_TEXT_LIMIT = 500


@dataclass(frozen=True)
class Decision:
    """The answer to "may this call run?".

    Attributes:
        outcome: one of the words above. Any other word withholds.
        reason: why, for people; starts with the code of the primary reason.
        proposal_id: KIFF's record of the question.
        approval_id: the review that the call waits for, or was granted by.
        receipt_id: the guard's own receipt of the attempt.
        clearance_id: the permit to run, to be settled.
        args_hash: SHA-256 of the canonical arguments that were decided on.
        expires_at: when the clearance ends, or the approval's wait; RFC 3339.
        reasons: the codes of all reasons, the primary one first.
        tool: the tool's name as the framework gave it.
        replayed: this is the answer to an earlier question with the same id.
    """

    outcome: str
    reason: str = ""
    proposal_id: str = ""
    approval_id: str = ""
    receipt_id: str = ""
    clearance_id: str = ""
    args_hash: str = ""
    expires_at: str = ""
    reasons: tuple[str, ...] = ()
    tool: str = ""
    replayed: bool = False

    @property
    def allowed(self) -> bool:
        """KIFF said so."""
        return self.outcome == ALLOWED

    @property
    def withheld(self) -> bool:
        """The tool must not run."""
        return self.outcome not in RUNS

    @property
    def needs_approval(self) -> bool:
        """The call is held for a person."""
        return self.outcome == APPROVAL_REQUIRED

    def but(self, **changes: Any) -> Decision:
        """The same decision with other values: dataclasses.replace, faster, for it stands in the way of every call."""
        other = object.__new__(Decision)
        other.__dict__.update(self.__dict__, **changes)
        return other

    def explain(self) -> str:
        """What a model or a person is told of a withheld call; one line, never empty."""
        name = f"`{_plain(self.tool)}`" if self.tool else "the call"
        why = _plain(self.reason) or "no reason was given"
        parts = [f"KIFF withheld {name}: {self.outcome}: {_SAID.get(self.outcome, 'no outcome KIFF knows')} ({why})"]
        if self.approval_id:
            parts.append(f"approval {self.approval_id}")
        code = self.reason.partition(":")[0] if self.outcome == INVALID else ""
        parts.append(_NEXT_BY_CODE.get(code) or _NEXT.get(self.outcome, "it did not run"))
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The same for programs: what is known, as JSON."""
        known = {
            "outcome": self.outcome,
            "reason": self.reason,
            "reasons": list(self.reasons),
            "approval_id": self.approval_id,
            "proposal_id": self.proposal_id,
            "receipt_id": self.receipt_id,
            "expires_at": self.expires_at,
        }
        return {name: value for name, value in known.items() if value}


class Hold(Exception):
    """A call was withheld: the tool did not run.

    Args:
        decision: why, and what to do next.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision

    def __str__(self) -> str:
        return self.decision.explain()


def _plain(text: str) -> str:
    """Text of others on one line and not without end: names of tools and reasons come from servers and models."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * _TEXT_LIMIT])
    return line if len(line) <= _TEXT_LIMIT else line[:_TEXT_LIMIT] + "…"
