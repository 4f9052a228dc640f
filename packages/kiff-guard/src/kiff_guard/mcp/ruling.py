"""What is to be done with one call."""

from __future__ import annotations

from dataclasses import dataclass

from kiff_guard.decision import Decision
from kiff_guard.mcp.message import Call


@dataclass(frozen=True)
class Ruling:
    """What is to be done with one call.

    Attributes:
        call: as it is forwarded, if it is.
        decision: the guard's.
        pauses: the call is held, and the client may be asked to come back with it.
    """

    call: Call
    decision: Decision
    pauses: bool = False

    @property
    def runs(self) -> bool:
        return not self.decision.withheld
