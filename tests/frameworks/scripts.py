"""What scripted models, and drivers, have in common, whatever their framework makes them a subclass of."""

from __future__ import annotations

import asyncio
from typing import Any

from kiff_guard.conformance import Played, Scene


class Scripted:
    """For a model with `turns` (what it asks), `told` (what it read, by call id) and `next` (which turn it is)."""

    def take(self: Any) -> Any:
        """The turn that it is; none is left after the last one."""
        turn = self.turns[self.next] if self.next < len(self.turns) else []
        self.next += 1
        return turn

    def said(self: Any) -> list[str]:
        """What it was told of its calls, in the order in which it asked."""
        order = [call.call_id for turn in self.turns for call in turn]
        return [self.told[call_id] for call_id in order if call_id in self.told]


class Awaited:
    """For a driver of a framework that has no other way: `play` awaits `aplay` in a loop of its own."""

    def play(self: Any, scene: Scene) -> Played:
        played: Played = asyncio.run(self.aplay(scene))
        return played
