"""Which deliveries are on their way. The only writer of a store has to tell nobody else, so they are in no row."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from kiff.runtime.rows import Delivery


class Leases:
    """The deliveries that somebody in this process took, until when."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str, int], int] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._until)

    def take(self, found: Iterable[Delivery], now: int, until: int, limit: int) -> list[Delivery]:
        """Those that nobody has, which the caller has from now on. One that was written since is nobody's."""
        with self._lock:
            self._until = {row: end for row, end in self._until.items() if end > now}
            free = [row for row in found if (row.tenant, row.id, row.version) not in self._until][:limit]
            self._until.update(((row.tenant, row.id, row.version), until) for row in free)
            return free

    def give_back(self, gone: Iterable[Delivery]) -> None:
        """Rows that are no more: one that comes in the place of such a row is another one."""
        with self._lock:
            for row in gone:
                self._until.pop((row.tenant, row.id, row.version), None)
