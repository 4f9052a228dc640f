"""What nobody answered in time: the sweep writes down deadlines, and a start writes down what a crash left.

It decides nothing: expiry compares times at use, in `step`. A sweep only asks for the record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from kiff.errors import KiffError
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.runtime.commands import Expire, Settle
from kiff.runtime.executors import Slots
from kiff.runtime.ports import Clock, Ids, Store
from kiff.runtime.rows import TimerRow

IDLE_SECONDS = 1.0
BUSY_SECONDS = 0.1
PAGE = 256
"""How many rows a sweep looks at, of each kind."""
OTHERS_MS = 5_000
"""How much longer a sweep leaves what another process cleared."""

Submit = Callable[[Expire | Settle], None]


def orphaned(store: Store, owner: str, ids: Ids) -> list[Settle]:
    """Operations that a process which is gone left in flight: their outcome is unknown, and is never sent again.

    Only the single writer of a store may say so at its start; elsewhere the deadline says it.
    """
    if not store.exclusive:
        return []
    left = [c for c in store.open_clearances() if c.mode == "execute" and c.owner != owner]
    message = "the process that ran it is gone"
    return [Settle(c.tenant, c.id, "unknown", "recovery", ids.draw(), entity=c.entity, message=message) for c in left]


class Sweeper:
    """A thread that looks for deadlines: those of running executors, and those the store holds.

    Args:
        owner: this process. What another one cleared is left to it for a while.
        look: looks for what other processes changed, where there are others.
    """

    def __init__(
        self, store: Store, slots: Slots, submit: Submit, clock: Clock, ids: Ids, owner: str, look: Callable[[], None]
    ) -> None:
        self._store = store
        self._slots = slots
        self._submit = submit
        self._clock = clock
        self._ids = ids
        self._owner = owner
        self._look = look
        self._asked: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kiff-sweep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        swept, more = self._clock.monotonic(), False
        while not self._stop.wait(BUSY_SECONDS if more or self._slots.in_flight() else IDLE_SECONDS):
            try:
                self._overdue()
                rested = self._clock.monotonic() - swept >= IDLE_SECONDS
                if rested:
                    swept = self._clock.monotonic()
                    if not self._store.exclusive:
                        self._look()
                if rested or more:
                    more = self._due(again=not rested)
            except KiffError:
                continue  # the store is failing or closing; the lane tells callers, the next sweep tries again

    def _overdue(self) -> None:
        for running in self._slots.overdue():
            operation = running.operation
            entity = f"{operation.entity_type}:{operation.entity_id}"
            message = "the executor did not answer before its deadline"
            suffix = self._ids.draw()
            self._submit(
                Settle(
                    running.tenant,
                    operation.id,
                    "unknown",
                    "deadline",
                    suffix,
                    entity=entity,
                    message=message,
                )
            )

    def _due(self, *, again: bool = False) -> bool:
        """Asks for the record of what is due. Returns whether there is more of it than was looked at.

        Args:
            again: a moment ago was the last time: what was asked for then is on its way.
        """
        if not again:
            self._asked.clear()  # what is still there was not served
        now = self._clock.now()
        rows = self._store.due(now, limit=PAGE)
        for row in rows:
            if row.id not in self._asked and not self._is_anothers(row, now):
                self._asked.add(row.id)
                self._submit(Expire(row.tenant, KINDS[type(row)], row.id, self._ids.draw()))
        return len(rows) >= PAGE

    def _is_anothers(self, row: Clearance | ApprovalRequest | TimerRow, now: int) -> bool:
        """Whether the process that cleared it has still time to see to it: one of them is enough."""
        mine = self._store.exclusive or not isinstance(row, Clearance) or row.owner == self._owner
        return not mine and now < (row.due_at or 0) + OTHERS_MS


KINDS: dict[type, Literal["approval", "clearance", "timer"]] = {
    ApprovalRequest: "approval",
    Clearance: "clearance",
    TimerRow: "timer",
}
"""What a row with a deadline is called by the `Expire` of it."""
