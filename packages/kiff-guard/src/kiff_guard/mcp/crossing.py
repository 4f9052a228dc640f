"""The tool calls that are on their way through an HTTP gateway, by the session and the id that they came under."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from kiff_guard.mcp.desk import Desk
from kiff_guard.mcp.message import Call, Id, is_answer, is_id
from kiff_guard.mcp.ruling import Ruling

CROSSING_LIMIT = 10_000

Key = tuple[str, str, Id]


@dataclass(eq=False)
class Crossing:
    """One call: being decided, or with the server once it has a ruling."""

    call: Call
    key: Key
    ruling: Ruling | None = None
    cancelled: bool = False

    @property
    def room(self) -> str:
        return self.key[0]


class Crossings:
    """All of them; safe to use from many threads.

    Args:
        desk: is told how each ended.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: dict[Key, Crossing] = {}
        self._others: Counter[Key] = Counter()
        self._lock = Lock()

    def enter(self, call: Call, room: str) -> Crossing | None:
        """A call comes. None if its id is taken, or there are too many.

        Args:
            room: within it ids are unique, and answers are looked for.
        """
        crossing = Crossing(call, key(room, call.id))
        with self._lock:
            if crossing.key in self._open or crossing.key in self._others or len(self._open) >= CROSSING_LIMIT:
                return None
            self._open[crossing.key] = crossing
        return crossing

    def reserve(self, room: str, messages: Iterable[Mapping[str, Any]]) -> list[Key] | None:
        """Requests come that are no calls: no answer to one may pass for the answer to a call.

        Returns:
            What `free` is told once they are over; None if an id is that of a call.
        """
        asking = [each["id"] for each in messages if "method" in each and is_id(each.get("id"))] if room else []
        keys = [key(room, id) for id in asking]
        with self._lock:
            if any(each in self._open for each in keys):
                return None
            self._others.update(keys)
        return keys

    def free(self, keys: Iterable[Key]) -> None:
        with self._lock:
            for each in keys:
                self._others[each] -= 1
                if not self._others[each]:
                    del self._others[each]

    def leave(self, crossing: Crossing) -> bool:
        """The call is over. True for the first to say so."""
        with self._lock:
            return self._open.pop(crossing.key, None) is crossing

    def send(self, crossing: Crossing, ruling: Ruling) -> bool:
        """May it be forwarded now? Not if the client took it back."""
        with self._lock:
            crossing.ruling = ruling
            return not crossing.cancelled

    def cancel(self, room: str, id: Any) -> None:
        """The client takes a call back."""
        with self._lock:
            crossing = self._open.get(key(room, id)) if is_id(id) else None
            if crossing is not None:
                crossing.cancelled = True

    def look(self, room: str, message: Any) -> None:
        """Something comes from the server. If it ends a call, the call is settled, before its client learns of it."""
        for each in message if isinstance(message, list) else [message]:
            if not isinstance(each, dict) or not is_answer(each) or not is_id(each.get("id")):
                continue
            with self._lock:
                crossing = self._open.get(key(room, each["id"]))
                if crossing is None or crossing.ruling is None:
                    continue
                del self._open[crossing.key]
            self._desk.answered(crossing.ruling, each)

    def fail(self, crossing: Crossing) -> None:
        """The server turned it away."""
        if self.leave(crossing) and crossing.ruling is not None:
            self._desk.answered(crossing.ruling, {"error": {}})

    def lose(self, crossing: Crossing) -> None:
        """Nobody will say how it ended."""
        if self.leave(crossing) and crossing.ruling is not None:
            self._desk.lost(crossing.ruling)

    def end(self, room: str) -> None:
        """A session is over, and with it what was open in it."""
        with self._lock:
            left = [each for each in self._open.values() if each.key[0] == room]
        for each in left:
            self.lose(each)


def key(room: str, id: Id) -> Key:
    return room, type(id).__name__, id
