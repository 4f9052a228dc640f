"""Whether a change helped, and the words for what it led to."""

from __future__ import annotations

from kiff.analysis.explain.made import Made
from kiff.protocol.decision import SEVERITY, Decision, Objection

WORDS = {
    "allowed": "it is allowed",
    "approval_required": "it waits for a person",
    "limit_exceeded": "it is over a limit",
    "blocked": "it is still blocked, for another reason",
    "invalid": "it is still invalid, for another reason",
}


def outcome(made: Made, objection: Objection, then: Decision | None) -> str | None:
    """The outcome with a change; None when the objection still stands, or another one is more severe than any was."""
    if then is None or SEVERITY[then.outcome] > SEVERITY[made.decision.outcome]:
        return None
    return None if any(_same(objection, each) for each in then.objections) else then.outcome


def _same(objection: Objection, other: Objection) -> bool:
    return objection.code == other.code and _about(objection) == _about(other)


def _about(objection: Objection) -> object:
    """Which of several with one code it is."""
    return next((objection.detail[word] for word in ("parameter", "rule", "limit") if word in objection.detail), None)
