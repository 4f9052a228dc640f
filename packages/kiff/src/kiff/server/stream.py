"""Event streams: a tenant's records as they are committed, to clients that read at their own speed.

A commit only wakes streams; each then reads the log itself, page by page, when its client has taken the last page.
So a slow reader holds one page, and whoever comes back with the last seq it saw misses nothing and gets nothing twice.
Streams that are up to date are woken together and read the same pages, which are read and written out once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from math import inf

from msgspec import Struct
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from kiff.errors import Closed, KiffError, Overloaded
from kiff.runtime.ports import Store
from kiff.runtime.rows import LogHead, RecordRow
from kiff.server.counts import Counts
from kiff.server.settings import Limits
from kiff.server.sight import Told, told

AGAIN_MS = 1_000
"""How soon a client that lost its stream should come back."""
PACE_SECONDS = 0.1
"""How often the streams of a tenant are woken at most, however often its log grows."""
LAST_SECONDS = 1.0
"""How long clients may take to read the end of their streams once the server stops."""
LINES = 64
"""Records that are read at once, which is what a slow reader holds."""
PAGES = 32
"""Pages that are kept for the next stream that reads the same."""


class Line(Struct, frozen=True):
    """A record: what it says of itself, and the event it is sent as."""

    seq: int
    told: Told
    event: bytes


class Page(Struct, frozen=True):
    """What a stream read of its log.

    Args:
        data: events as they are sent; empty when none of the records is for this client.
        after: the seq up to which the log was read.
        size: how many records the log had.
    """

    data: bytes
    after: int
    size: int


Read = Callable[[int, int | None], Page]
"""`read(after, size)`, called in a thread: the next page of a log of that size; None asks for its size as well."""


class Streams:
    """Every open stream of the process.

    Args:
        counts: `counts.streams` says how many each tenant has.
    """

    def __init__(self, store: Store, limits: Limits, counts: Counts) -> None:
        self.limits = limits
        self.ended = False
        self.lines = lru_cache(PAGES)(_lines(store))
        """`lines(tenant, entity, after, size)`: the next page, of one entity or all, of a log of that size."""
        self._counts = counts
        self._rooms: dict[str, Room] = {}
        self._grown: dict[str, int] = {}
        self._called = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, tenant: str, after: int, read: Read, cut: Callable[[], None]) -> Stream:
        """A stream of its own for one client. It takes room until it is closed.

        Args:
            read: a KiffError of it ends the stream.
            cut: ends the connection at once.

        Raises:
            Overloaded: the tenant has all the streams it may have. Closed: the server stops.
        """
        if self.ended:
            raise Closed("the server stops; come back in a moment")
        if self._counts.streams[tenant] >= self.limits.streams:
            raise Overloaded(f"a tenant has at most {self.limits.streams} streams open; close one")
        self._loop = asyncio.get_running_loop()
        stream = Stream(self, tenant, after, read, cut)
        self._rooms.setdefault(tenant, Room()).streams.add(stream)
        self._counts.streams[tenant] += 1
        return stream

    def close(self, stream: Stream) -> None:
        """Gives the room of a stream back. Again, it changes nothing."""
        room = self._rooms.get(stream.tenant)
        if room is None or stream not in room.streams:
            return
        room.streams.remove(stream)
        self._counts.streams[stream.tenant] -= 1
        if not room.streams:
            del self._rooms[stream.tenant], self._counts.streams[stream.tenant]

    def committed(self, heads: list[LogHead]) -> None:
        """Wakes the streams of logs that grew. In a lane's thread: it neither waits nor raises."""
        grown = {head.tenant: head.size for head in heads if head.tenant in self._rooms}
        if not grown or self._loop is None:
            return
        self._grown.update(grown)
        if not self._called:  # seen late, the flag costs a call too many and loses none
            self._called = True
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                self._grown.clear()  # the loop is closed, so nobody reads any more

    def end(self) -> None:
        """Ends every stream: the server stops. Clients that do not take the end are cut off."""
        self.ended = True
        for stream in self._all():
            stream.wake()
        if self._loop is not None:
            self._loop.call_later(LAST_SECONDS, self._cut)

    def _wake(self) -> None:
        self._called = False
        while self._grown:
            tenant, size = self._grown.popitem()
            room = self._rooms.get(tenant)
            if room is not None:
                room.grown(size)

    def _cut(self) -> None:
        for stream in self._all():
            stream.cut()

    def _all(self) -> list[Stream]:
        return [stream for room in self._rooms.values() for stream in room.streams]


class Room:
    """The streams of one tenant, which are woken together."""

    def __init__(self) -> None:
        self.streams: set[Stream] = set()
        self._size = 0
        self._woken_at = -inf
        self._due = False

    def grown(self, size: int) -> None:
        """The log has so many records now. Its streams hear of it at once, or when their pace allows."""
        self._size = max(self._size, size)
        if self._due:
            return
        rest = self._woken_at + PACE_SECONDS - time.monotonic()
        if rest > 0:
            self._due = True
            asyncio.get_running_loop().call_later(rest, self._wake)
        else:
            self._wake()

    def _wake(self) -> None:
        self._due = False
        self._woken_at = time.monotonic()
        for stream in self.streams:
            stream.wake(self._size)


class Stream:
    """One client's stream: an async iterator of bytes that reads on when the last ones were taken."""

    def __init__(self, streams: Streams, tenant: str, after: int, read: Read, cut: Callable[[], None]) -> None:
        self.tenant = tenant
        self.cut = cut
        self._streams = streams
        self._read = read
        self._after = after
        self._size: int | None = None  # not known: the next read asks
        self._heard = 0
        self._sent_at = time.monotonic()
        self._woken = asyncio.Event()

    def wake(self, size: int = 0) -> None:
        """Says that the log has so many records, or that it is time to look around."""
        self._heard = max(self._heard, size)  # a read that is under way may have asked before
        if self._size is not None:
            self._size = max(self._size, size)
        self._woken.set()

    def close(self) -> None:
        """Gives its room back."""
        self._streams.close(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        data: bytes | None = f"retry: {AGAIN_MS}\nid: {self._after}\n\n".encode()
        while data is not None:
            yield data  # comes back when the connection takes more
            self._sent_at = time.monotonic()
            data = await self._next()

    async def _next(self) -> bytes | None:
        """What to send next: events, or a sign of life after a silence; None at the end."""
        while True:
            if self._size is not None and self._after + 1 >= self._size:
                await self._wait()
            if self._streams.ended:
                return None
            try:
                page = await asyncio.to_thread(self._read, self._after, self._size)
            except KiffError:
                return None  # the key is good no longer, or the store cannot serve: asking again tells which
            self._after, self._size = page.after, max(page.size, self._heard)
            if page.data:
                return page.data
            if self._silence() <= 0:  # the id moves on, so that nothing read here is read again
                return f": still here\nid: {self._after}\n\n".encode()

    async def _wait(self) -> None:
        """Until the log grew, the silence has been long enough, or the end."""
        self._woken.clear()
        if self._streams.ended:
            return
        try:
            async with asyncio.timeout(self._silence()):
                await self._woken.wait()
        except TimeoutError:
            self._size = None  # another process may have written

    def _silence(self) -> float:
        """Seconds until a sign of life is due."""
        return self._sent_at + self._streams.limits.heartbeat_seconds - time.monotonic()


class StreamResponse(StreamingResponse):
    """Sends a stream, and closes it whatever ends it."""

    def __init__(self, stream: Stream, status: int, headers: Mapping[str, str], media: str) -> None:
        super().__init__(stream, status, headers, media)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


def _lines(store: Store) -> Callable[[str, str | None, int, int], tuple[Line, ...]]:
    """Reads pages. A log only grows, so the same question always has the same answer."""

    def lines(tenant: str, entity: str | None, after: int, size: int) -> tuple[Line, ...]:
        rows = store.records(tenant, entity=entity, after=after, limit=LINES)
        return tuple(_line(row) for row in rows if row.seq < size)

    return lines


def _line(row: RecordRow) -> Line:
    """A record's own bytes have no line ends in them."""
    said = told(row)
    return Line(row.seq, said, b"id: %d\nevent: %b\ndata: %b\n\n" % (row.seq, said.kind.encode(), row.body))
