"""The logs as anybody may fetch them: which tenant a log is of, a head that is signed, the tiles of the tree.

Anonymous callers ask here, so what they cause is bounded: the names of logs are read again, and a head is asked of
a lane, at most once a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

from kiff.errors import KiffError, NotFound
from kiff.ledger.tiles import HEIGHT, WIDTH
from kiff.ledger.tree import HASH_BYTES
from kiff.protocol.ids import require_id
from kiff.runtime.pending import Pending
from kiff.runtime.ports import Store
from kiff.runtime.rows import CheckpointRow, LogHead, RecordRow
from kiff.runtime.runtime import Runtime
from kiff.server.waiting import Waiting

LEAST_SECONDS = 1.0
MOST_ENTRY_BYTES = 0xFFFF
"""What the length in front of an entry can say (C2SP tlog-tiles)."""


class Logs:
    """Every tenant's log, by the log's own name.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._runtime = runtime
        self._clock = clock
        self._tenants: dict[str, str] = {}
        self._read_at = -inf
        self._asked: dict[str, tuple[float, Pending[bytes]]] = {}

    def of(self, tenant: str) -> LogHead:
        """A tenant's log as it stands.

        Raises:
            NotFound: the tenant never wrote.
        """
        head = self._store.peek([tenant], ()).heads[tenant]
        if head is None:
            raise NotFound("this tenant has no log yet")
        self._tenants[head.log_id] = tenant
        return head

    def named(self, log_id: str) -> LogHead:
        """The log of that name, whoever's it is.

        Raises:
            NotFound: there is none.
        """
        require_id(log_id, "log_id")
        if log_id not in self._tenants and self._clock() - self._read_at >= LEAST_SECONDS:
            self._read_at = self._clock()
            self._tenants = {head.log_id: head.tenant for head in self._store.heads()}
        if log_id not in self._tenants:
            raise NotFound(f"there is no log `{log_id}`", log_id=log_id)
        return self.of(self._tenants[log_id])

    async def signed(self, head: LogHead, waiting: Waiting) -> CheckpointRow:
        """The newest signed head of a log; a fresh one when the log grew and nobody asked within the last second.

        Raises:
            StoreError, Closed, Overloaded: none was signed ever, and none can be now.
        """
        note = self._store.checkpoint(head.tenant)
        if note is None or note.size < head.size:
            try:
                await waiting.answer(self._ask(head.tenant))
            except KiffError:
                if note is None:
                    raise  # otherwise the older head will do: it is as true as it was
            note = self._store.checkpoint(head.tenant)
        assert note is not None, "one was just signed"
        return note

    def _ask(self, tenant: str) -> Pending[bytes]:
        """The lane's answer to whoever asked last, when that was a moment ago; asks it again otherwise."""
        asked = self._asked.get(tenant)
        if asked is None or self._clock() - asked[0] >= LEAST_SECONDS:
            asked = self._asked[tenant] = (self._clock(), self._runtime.checkpoint(tenant))
        return asked[1]


def hash_tile(store: Store, head: LogHead, level: int, index: int, width: int) -> bytes:
    """The first hashes of a tile.

    Raises:
        NotFound: the log does not reach that far.
    """
    _reaches(head, level, index, width)
    if level == 0 and (index + 1) * WIDTH > head.size:  # the unfinished rest of the log is stored as records only
        return b"".join(row.leaf for row in _records(store, head, index, width))
    hashes = store.tile(head.tenant, level, index) or b""
    return hashes[: width * HASH_BYTES]


def entry_tile(store: Store, head: LogHead, index: int, width: int) -> bytes:
    """The records of a level-0 tile, each after its length in two bytes.

    Raises:
        NotFound: the log does not reach that far, or a record is longer than a tile can hold.
    """
    _reaches(head, 0, index, width)
    bodies = [row.body for row in _records(store, head, index, width)]
    if any(len(body) > MOST_ENTRY_BYTES for body in bodies):
        raise NotFound(f"a record among these is longer than {MOST_ENTRY_BYTES} bytes; read them from /v1/records")
    return b"".join(len(body).to_bytes(2) + body for body in bodies)


def _reaches(head: LogHead, level: int, index: int, width: int) -> None:
    if index * WIDTH + width > head.size >> (HEIGHT * level):
        raise NotFound("the log does not reach that tile yet")


def _records(store: Store, head: LogHead, index: int, width: int) -> list[RecordRow]:
    return store.records(head.tenant, after=index * WIDTH - 1, limit=width)
