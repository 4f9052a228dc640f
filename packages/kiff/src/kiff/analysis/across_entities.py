"""The rows that many entities share, as the whole log leads to them: what limits count, and locks with a key."""

from __future__ import annotations

from typing import Any

from msgspec import json

from kiff.analysis.fields import Expected
from kiff.analysis.history import bytes_of
from kiff.analysis.runways import Held
from kiff.protocol.limit import Usage
from kiff.runtime.rows import Runway

_KINDS = {"rate": "rate", "calendar": "budget", "sliding": "budget", "holders": "concurrency"}


class AcrossEntities:
    """A tenant's counts and locks. Memory follows how many there are, and the operations that took a lock."""

    def __init__(self) -> None:
        self._counts: dict[str, bytes] = {}
        self._locks: dict[str, Held] = {}
        self._taken: dict[str, Held] = {}

    @property
    def rows(self) -> Expected:
        rows: Expected = {
            (Usage, id): {"state": state, "kind": _KINDS.get(json.decode(state).get("way"))}
            for id, state in self._counts.items()
        }
        for name, held in self._locks.items():
            if held.row is not None:
                rows[Runway, name] = held.row
        return rows

    def take(self, kind: str, data: dict[str, Any]) -> None:
        """The next record.

        Raises:
            UNREADABLE: the record lacks what its kind needs.
        """
        for id, state in data.get("counted", {}).items():
            self._counts[id] = bytes_of(state)
        operation_id = data.get("operation_id", "")
        if kind == "action_validated" and "runway" in data:
            held = self._locks.setdefault(data["runway"], Held())
            self._taken[operation_id] = held
            held.take(operation_id)
        elif operation_id in self._taken:
            if kind in ("action_executed", "action_failed", "clearance_expired"):
                self._taken[operation_id].free(operation_id)
            elif kind == "outcome_contradicted":
                self._taken[operation_id].doubt(operation_id)
