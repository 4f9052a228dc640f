"""The rows of the draft's limits while history is decided again: in memory, and counted by the code that counts live.

INVARIANT: a hold is settled once. What has left its window counts no more, so its row may be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

from kiff.domain.terms import Terms
from kiff.gate import limits as arithmetic
from kiff.gate.case import Env
from kiff.protocol.limit import Limit, Usage
from kiff.runtime.ports import Key
from kiff.runtime.step import limits
from kiff.runtime.step.limits import NO_HOLDS, Looked
from kiff.runtime.world import Change

FORGETS_EVERY = 10_000
"""How many new rows there are until those that count nothing are looked for."""


class Counted(Change):
    """A step's change over nothing but memory: a row that is not there counts nothing."""

    __slots__ = ("_fresh", "_limits")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.at = 0
        self.rows = {}
        self._limits: dict[str, Limit] = {}
        self._fresh = 0

    def get(self, row: type, id: str) -> Usage | None:  # type: ignore[override]  # it has rows of one kind only
        found = self.rows.get((row, self.tenant, id))
        assert found is None or isinstance(found, Usage)
        return found

    def need(self, *keys: Key) -> None:
        """Everything is here."""

    def look(self, at: int, terms: Terms, env: Env, holds: bytes) -> list[Looked]:
        """How the limits stand for one call; see `kiff.runtime.step.limits.look`."""
        self.at = at
        return limits.look(self, terms, env, holds)

    def reserve(self, looked: Sequence[Looked], holder: str) -> bytes:
        """Counts a call; see `kiff.runtime.step.limits.reserve`."""
        before = len(self.rows)
        held = limits.reserve(self, looked, holder)
        if held != NO_HOLDS:
            for each in looked:
                if each.usage is not None:
                    self._limits[each.usage.id] = each.bound.limit
        self._fresh += len(self.rows) - before
        if self._fresh >= FORGETS_EVERY:
            self._forget()
        return held

    def settle(self, holds: bytes, *, happened: bool) -> None:
        """What was held is spent, or free again."""
        settled = arithmetic.commit if happened else arithmetic.release
        for hold in limits.holds_of(holds):
            row = self.get(Usage, hold.usage)
            if row is not None:
                self.put(settled(row, hold))

    def _forget(self) -> None:
        """Drops the rows that count nothing any more."""
        self._fresh = 0
        for key, row in list(self.rows.items()):
            assert isinstance(row, Usage)
            if not arithmetic.look(self._limits[row.id], row, self.at, 0).used:
                del self.rows[key]
                del self._limits[row.id]
