"""How a remote executor ended: what it reports, or why that cannot be told."""

from __future__ import annotations

from typing import Any, NamedTuple

from kiff.errors import ActionFailed, ActionUnknown


class Outcome(NamedTuple):
    """One call's end.

    Args:
        report: {status, message?, output?, events?}, still to be read with suspicion; or an error that says whether
            anything may have happened.
        reached: the target is there, and works.
    """

    report: dict[str, Any] | ActionFailed | ActionUnknown
    reached: bool = True


def failed(why: str, *, reached: bool = True) -> Outcome:
    """It is known that nothing happened."""
    return Outcome(ActionFailed(why), reached)


def unknown(why: str, *, reached: bool = True) -> Outcome:
    """It may have happened."""
    return Outcome(ActionUnknown(why), reached)
