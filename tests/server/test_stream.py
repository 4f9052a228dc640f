"""The event stream: gap-free for whoever comes back, nothing for whoever may not see, and an end when it is time."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import islice, takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import pytest
from line import Line
from line import head as request
from served import CALM, PATIENCE_SECONDS, TENANT, Served, served, wait_for

from kiff.errors import Closed, Overloaded
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.authority import AUTHOR, Credential, Member
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Append
from kiff.runtime.rows import LogHead, RecordRow
from kiff.server.counts import Counts
from kiff.server.secrets import draw
from kiff.server.settings import Limits
from kiff.server.stream import Page, Streams
from kiff.stores.memory import MemoryStore

pytestmark = pytest.mark.slow

QUICK = msgspec.structs.replace(CALM, heartbeat_seconds=0.05)
"""Signs of life come at once."""
SILENT = msgspec.structs.replace(CALM, heartbeat_seconds=3600.0)
"""Nothing but a commit wakes a stream."""
MOST = 200
"""Signs of life that are waited for before a stream is held to go on for ever."""
OWNER = Caller(Principal("owner", "human"), (AUTHOR,), TENANT)


RECORD = b'{"actor":{"id":"a"},"causation_id":"c","entity":null,"kind":"state_changed"}'


class Counted(MemoryStore):
    """A store that knows how often its records were asked for."""

    asked = 0

    def records(self, *args: Any, **options: Any) -> list[RecordRow]:
        self.asked += 1
        return super().records(*args, **options)


class Event(NamedTuple):
    """One event as a client sees it; without a name it only moves the id."""

    id: int | None
    name: str | None
    data: Any
    comment: str | None


class Stream:
    """A client of the stream, which reads one event after the other."""

    def __init__(
        self, shop: Served, query: str = "", key: str = "owner", last: int | None = None, method: str = "GET"
    ) -> None:
        headers = {"Authorization": f"Bearer {shop.keys.get(key, key)}"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        self._connection = HTTPConnection(shop.host, timeout=PATIENCE_SECONDS)
        self._connection.request(method, f"/v1/stream{query}", headers=headers)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.media = self._response.getheader("content-type")

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()
        self._connection.close()

    def told(self) -> Any:
        """The body of an answer that is no stream."""
        return json.loads(self._response.read())

    def blocks(self) -> Iterator[Event]:
        """Everything that comes, up to the end."""
        said: dict[str, str] = {}
        patience = time.monotonic() + PATIENCE_SECONDS
        while line := self._response.readline():
            assert time.monotonic() < patience, "what the test waits for never came"
            if line != b"\n":
                name, _, value = line.decode().rstrip("\n").partition(":")
                said[name] = value.strip()
                continue
            id, data = said.get("id"), said.get("data")
            yield Event(
                None if id is None else int(id),
                said.get("event"),
                None if data is None else json.loads(data),
                said.get(""),
            )
            said = {}

    def events(self) -> Iterator[Event]:
        """The records that come, up to the end."""
        return (event for event in self.blocks() if event.name is not None)

    def rest(self) -> list[Event]:
        """Everything up to the end."""
        found = []
        for block in self.blocks():
            found.append(block)
            assert len(found) < MOST, "the stream did not end"
        return found

    def until(self, seq: int) -> list[Event]:
        """The records up to one."""
        found = []
        for event in self.events():
            found.append(event)
            if event.id is not None and event.id >= seq:
                return found
        raise AssertionError(f"the stream ended before {seq}: {found}")


def size(shop: Served, tenant: str = TENANT) -> int:
    head = shop.tower.store.peek([tenant], ()).heads[tenant]
    return 0 if head is None else head.size


def connections(shop: Served) -> list[Any]:
    """What the server holds of its connections now."""
    server = shop.serving._server
    assert server is not None
    return list(server.server_state.connections)


def minted(shop: Served, member: str, roles: str, kind: Any = "agent") -> str:
    """A key of a new member."""
    shop.tower.found(TENANT, [Member(TENANT, member, kind, None, None, roles, True)])
    return shop.tower.mint(TENANT, member, member)


def revoke(shop: Served, secret: str) -> None:
    told = shop.ask("DELETE", f"/v1/keys/key_{secret.rsplit('_', 1)[1][:10]}", None, "owner")
    assert told.status < 300, told


# --- refusals


def test_without_a_key_there_is_no_stream(shop: Served) -> None:
    assert shop.get("/v1/stream", None).status == 401


@pytest.mark.parametrize(
    ("query", "last", "field"),
    [
        ("?kind=nothing_happened", None, "kind"),
        ("?entity=a%20b", None, "entity"),
        ("?after=-2", None, "after"),
        ("?after=x", None, "after"),
        ("?after=1000000", None, "after"),
        ("?colour=red", None, "colour"),
        ("", "x", "Last-Event-ID"),
        ("", "-2", "Last-Event-ID"),
        ("", "007", "Last-Event-ID"),
        ("", "99999999999999999999", "Last-Event-ID"),
        ("", "1000000", "after"),
    ],
)
def test_a_stream_that_begins_nowhere_is_refused(shop: Served, query: str, last: Any, field: str) -> None:
    with Stream(shop, query, last=last) as stream:
        assert (stream.status, stream.told()["field"]) == (400, field)
    assert not shop.tower.counts.streams


def test_a_stream_too_many_is_turned_away_until_another_is_closed(tmp_path: Path) -> None:
    with served(tmp_path, msgspec.structs.replace(QUICK, streams=2)) as shop:
        neighbour = shop.found("neighbour")["owner"]
        with Stream(shop) as first, Stream(shop, key="agent"):
            with Stream(shop, key="reviewer") as third:
                assert (third.status, third.told()["code"]) == (503, "overloaded")
            with Stream(shop, key=neighbour) as theirs:
                assert (first.status, theirs.status) == (200, 200)
        wait_for(lambda: not shop.tower.counts.streams)
        with Stream(shop) as again:
            assert again.status == 200


def test_a_stream_takes_no_room_of_requests(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(CALM, tenant_open=1, open=1)
    with served(tmp_path, limits) as shop, Stream(shop, "?after=-1") as stream, Stream(shop):
        next(stream.events())
        shop.paid("ord_1")
        assert (shop.tower.counts.open, shop.tower.counts.open_of[TENANT]) == (0, 0)
        assert shop.tower.counts.streams[TENANT] == 2


def test_asking_only_for_the_head_of_a_stream_opens_none(shop: Served) -> None:
    with Stream(shop, method="HEAD") as stream:
        assert (stream.status, stream.media) == (200, "text/event-stream; charset=utf-8")
        assert list(stream.blocks()) == []
    assert not shop.tower.counts.streams


def test_a_stream_holds_nothing_of_another_tenant(own_shop: Served) -> None:
    theirs = own_shop.found("neighbour")
    with Stream(own_shop, "?after=-1") as ours, Stream(own_shop, "?after=-1", key=theirs["owner"]) as next_door:
        own_shop.paid("ord_1")
        own_shop.paid("ord_1", key=theirs["owner"])
        for tenant, stream in ((TENANT, ours), ("neighbour", next_door)):
            events = stream.until(size(own_shop, tenant) - 1)
            assert {event.data["tenant"] for event in events} == {tenant}
            assert [event.id for event in events] == list(range(size(own_shop, tenant)))


def test_an_agent_sees_its_own_proposals_and_what_came_of_them(own_shop: Served) -> None:
    other = minted(own_shop, "other-agent", "ops_agent")
    shared = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    with Stream(own_shop, key="agent") as stream:
        own_shop.paid("ord_1", "ord_2")
        own_shop.decide("ord_2", key=other, headers=shared)
        held = own_shop.decide("ord_1", "REFUND_ORDER", 500.0, headers=shared).body["approval_id"]
        own_shop.post(f"/v1/approvals/{held}/deny", {"reason": "no"}, "reviewer")
        events = stream.until(size(own_shop) - 1)
    assert [event.name for event in events] == [
        "decision_recorded",
        "approval_required",
        "approval_denied",
        "action_blocked",
    ]
    assert {event.data["entity"] for event in events} == {"order:ord_1"}


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Served]:
    """A server for one test, whose streams are never silent for long."""
    with served(tmp_path, QUICK) as shop:
        yield shop


def test_a_key_that_loses_the_permission_sees_no_more_of_others(quick: Served) -> None:
    watcher = minted(quick, "watcher", "auditor", "human")
    with Stream(quick, key=watcher) as stream:
        quick.paid("ord_1")
        stream.until(size(quick) - 1)
        member = Member(TENANT, "watcher", "human", None, None, "ops_agent", True)
        quick.tower.runtime.establish(OWNER, member).result()
        quick.paid("ord_2")
        revoke(quick, watcher)
        told = [event.data for event in stream.rest() if event.name is not None]
    assert [record for record in told if record["entity"] == "order:ord_2"] == []


# --- its end


def test_a_revoked_key_gets_nothing_more(quick: Served) -> None:
    watcher = minted(quick, "watcher", "auditor", "human")
    with Stream(quick, "?after=-1", key=watcher) as stream:
        stream.until(size(quick) - 1)
        revoke(quick, watcher)
        quick.paid("ord_1")
        assert [event for event in stream.rest() if event.name is not None] == []
    with Stream(quick, key=watcher) as again:
        assert again.status == 401


def test_a_revocation_ends_a_stream_of_other_things_at_once(tmp_path: Path) -> None:
    with served(tmp_path, SILENT) as shop:
        watcher = minted(shop, "watcher", "auditor", "human")
        with Stream(shop, "?kind=approval_denied&entity=ord_9", key=watcher) as stream:
            assert next(stream.blocks()).id == size(shop) - 1
            revoke(shop, watcher)
            assert stream.rest() == []


class MovedClock(SystemClock):
    """The time, and what a test adds to it."""

    ahead_ms = 0

    def now(self) -> int:
        return super().now() + self.ahead_ms


def test_a_key_whose_time_is_up_gets_nothing_more_though_nothing_is_written(tmp_path: Path) -> None:
    clock = MovedClock()
    with served(tmp_path, QUICK, options={"clock": clock}) as shop:
        secret, presented = draw("key", TENANT)
        ends = clock.now() + 3_600_000
        key = Credential(TENANT, presented.id, "key", presented.digest, "", "ops-human", "", None, "owner", 0, ends)
        shop.tower.runtime.establish(OWNER, key).result()
        with Stream(shop, key=secret) as stream:
            blocks = stream.blocks()
            assert [next(blocks).comment for _ in range(3)] == [None, "still here", "still here"]
            clock.ahead_ms = 3_600_000
            assert [event for event in stream.rest() if event.name is not None] == []
        assert shop.get("/v1/stream", secret).status == 401


def test_a_stop_ends_streams_and_waits_for_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(tmp_path) as shop, Stream(shop) as stream:
        blocks = stream.blocks()
        next(blocks)
        shop.serving.stop()
        assert stream.rest() == [], "it ended as an answer ends, not as a connection breaks"
    assert not [each for each in caplog.messages if "timeout graceful shutdown exceeded" in each]


@pytest.mark.slow
def test_a_stop_does_not_wait_for_a_client_that_stopped_reading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Caller(Principal("ops-agent", "agent"), ("ops_agent",), TENANT)
    with served(tmp_path) as shop:
        for order in range(0, 2000, 200):  # more than the buffers of both ends hold
            pending = [
                shop.tower.runtime.propose(
                    agent, entity=f"order:ord_{order + at}", action="AUTO_REFUND", evidence="x" * 3500
                )
                for at in range(200)
            ]
            for each in pending:
                each.result()
        with Line(shop, receive_buffer=4096) as line:
            line.send(request(shop, "GET", "/v1/stream?after=-1", key="owner"))
            wait_for(lambda: any(each.flow.write_paused for each in connections(shop)))
            shop.close()
            assert not line.rest().endswith(b"0\r\n\r\n"), "it did not read to the end"
    assert not [each for each in caplog.messages if "timeout graceful shutdown exceeded" in each]
    assert not shop.tower.counts.streams


# --- what is given


def test_records_come_as_they_are_committed(tmp_path: Path) -> None:
    with served(tmp_path, SILENT) as shop, Stream(shop) as stream:
        assert (stream.status, stream.media) == (200, "text/event-stream; charset=utf-8")
        first = size(shop)
        for order in ("ord_1", "ord_2", "ord_3"):
            shop.paid(order)
            shop.execute(order)
            last = size(shop) - 1
            events = stream.until(last)
            rows = shop.tower.store.records(TENANT, after=first - 1)
            assert [event.id for event in events] == [row.seq for row in rows]
            assert [event.data for event in events] == [msgspec.json.decode(row.body) for row in rows]
            assert [event.name for event in events] == [event.data["kind"] for event in events]
            first = last + 1


def test_a_stream_of_one_entity_and_kind_has_no_others(shop: Served) -> None:
    with Stream(shop, "?entity=order:ord_f1&kind=state_changed") as stream:
        shop.paid("ord_f2", "ord_f1", "ord_f3")
        events = [next(stream.events()) for _ in range(2)]
    assert [(event.name, event.data["entity"]) for event in events] == [("state_changed", "order:ord_f1")] * 2


def test_a_client_that_saw_nothing_yet_comes_back_to_where_it_began(shop: Served) -> None:
    with Stream(shop) as stream:
        began = next(stream.blocks()).id
    assert began == size(shop) - 1
    shop.paid("ord_n1")
    with Stream(shop, last=began) as stream:
        assert [event.id for event in stream.until(size(shop) - 1)] == list(range(began + 1, size(shop)))


def test_the_header_says_where_to_go_on_whatever_the_query_says(shop: Served) -> None:
    shop.paid("ord_h1")
    last = size(shop) - 3
    with Stream(shop, "?after=-1", last=last) as stream:
        assert next(stream.events()).id == last + 1
    with Stream(shop, f"?after={last}") as stream:
        assert next(stream.events()).id == last + 1


def test_signs_of_life_come_in_a_silence_and_move_the_id_on(tmp_path: Path) -> None:
    with served(tmp_path, QUICK) as shop, Stream(shop, "?kind=approval_denied") as stream:
        blocks = stream.blocks()
        assert next(blocks).comment is None
        shop.paid("ord_1")
        later = list(takewhile(lambda block: block.id != size(shop) - 1, islice(blocks, MOST)))
        assert len(later) < MOST, "the id did not move on"
        assert {block.comment for block in later} <= {"still here"}


def test_nothing_is_missed_or_repeated_by_a_client_that_comes_and_goes(own_shop: Served) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw_ = random.Random(seed)
    writers, orders = 4, 40
    first = size(own_shop)
    last = first + writers * orders * 4 - 1

    def write(writer: int) -> None:
        own_shop.paid(*(f"ord_{writer}_{number}" for number in range(orders)))

    seen: list[int] = []
    with ThreadPoolExecutor(writers) as pool:
        writing = [pool.submit(write, writer) for writer in range(writers)]
        after = first - 1
        while after < last:
            with Stream(own_shop, last=after) as stream:
                for event, _ in zip(stream.events(), range(draw_.randrange(1, 60)), strict=False):
                    assert event.id is not None
                    seen.append(event.id)
                    after = event.id
                    if after == last:
                        break
        for each in writing:
            each.result()
    assert size(own_shop) == last + 1
    assert seen == list(range(first, last + 1))


def test_open_streams_are_counted(shop: Served) -> None:
    with Stream(shop):
        assert b"kiff_streams_open 1.0" in shop.get("/metrics", None).raw


# --- the parts


def heads(tenant: str, size: int) -> list[LogHead]:
    return [LogHead(tenant, "log", size, b"", b"", 0)]


def nothing() -> None:
    return None


def empty(after: int, size: int | None) -> Page:
    return Page(b"", after, 0)


def test_a_stream_reads_only_what_its_client_takes() -> None:
    reads: list[int] = []

    def read(after: int, size: int | None) -> Page:
        reads.append(after)
        return Page(b"data: x\n\n", after + 1, 1000)

    async def run() -> None:
        streams = Streams(MemoryStore(), SILENT, Counts())
        stream = aiter(streams.open("a", 0, read, nothing))
        for taken in range(3):
            await anext(stream)
            for _ in range(50):
                streams.committed(heads("a", 1000))
                await asyncio.to_thread(int)  # a read that was due would have had its turn
            assert reads == list(range(taken))

    asyncio.run(run())


def test_a_stream_that_is_up_to_date_reads_when_its_log_grew_and_not_before() -> None:
    reads: list[tuple[int, int | None]] = []

    def read(after: int, size: int | None) -> Page:
        reads.append((after, size))
        return Page(b"" if size is None else b"data: x\n\n", after if size is None else after + 1, size or 1)

    async def run() -> None:
        streams = Streams(MemoryStore(), SILENT, Counts())
        stream = aiter(streams.open("a", 0, read, nothing))
        await anext(stream)
        taken = asyncio.ensure_future(anext(stream))
        for _ in range(50):
            streams.committed(heads("b", 2))
            await asyncio.to_thread(int)  # as above
        assert reads == [(0, None)]
        streams.committed(heads("a", 2))
        assert await asyncio.wait_for(taken, PATIENCE_SECONDS) == b"data: x\n\n"
        assert reads == [(0, None), (0, 2)]

    asyncio.run(run())


def test_what_is_written_while_a_stream_looks_is_not_slept_over() -> None:
    """The read began before the commit, and the wake came before the read ended."""
    reads: list[tuple[int, int | None]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        streams = Streams(MemoryStore(), SILENT, Counts())

        async def grown() -> None:
            streams.committed(heads("a", 2))
            await asyncio.sleep(0)

        def read(after: int, size: int | None) -> Page:
            reads.append((after, size))
            if size is not None:
                return Page(b"data: x\n\n", after + 1, size)
            asyncio.run_coroutine_threadsafe(grown(), loop).result(PATIENCE_SECONDS)
            return Page(b"", after, 1)

        stream = aiter(streams.open("a", 0, read, nothing))
        await anext(stream)
        assert await asyncio.wait_for(anext(stream), PATIENCE_SECONDS) == b"data: x\n\n"

    asyncio.run(run())
    assert reads == [(0, None), (0, 2)]


def test_a_stream_looks_for_itself_after_a_silence_because_another_process_may_have_written() -> None:
    reads: list[int | None] = []

    def read(after: int, size: int | None) -> Page:
        reads.append(size)
        return Page(b"", 0, 1)

    async def run() -> None:
        stream = aiter(Streams(MemoryStore(), QUICK, Counts()).open("a", 0, read, nothing))
        for _ in range(3):
            await anext(stream)

    asyncio.run(run())
    assert reads == [None, None, None]


def test_streams_that_are_up_to_date_read_the_same_page_once() -> None:
    store = Counted()
    store.append(Append([], [], [RecordRow("a", 0, None, bytes(32), RECORD)], [], [], []))
    streams = Streams(store, SILENT, Counts())
    for size in (1, 1, 1):
        assert [line.seq for line in streams.lines("a", None, -1, size)] == [0]
    assert store.asked == 1
    assert streams.lines("a", None, -1, 0) == ()


def test_a_commit_after_the_loop_is_gone_is_nobodys_trouble() -> None:
    streams = Streams(MemoryStore(), SILENT, Counts())

    async def run() -> None:
        streams.open("a", 0, empty, nothing)

    asyncio.run(run())
    streams.committed(heads("a", 1))


def test_closing_a_stream_twice_gives_its_room_back_once() -> None:
    async def run() -> None:
        counts = Counts()
        streams = Streams(MemoryStore(), Limits(streams=2), counts)
        first = streams.open("a", 0, empty, nothing)
        streams.open("a", 0, empty, nothing)
        with pytest.raises(Overloaded):
            streams.open("a", 0, empty, nothing)
        first.close()
        first.close()
        assert counts.streams["a"] == 1

    asyncio.run(run())


def test_no_stream_is_opened_once_the_server_stops() -> None:
    async def run() -> None:
        streams = Streams(MemoryStore(), SILENT, Counts())
        streams.end()
        with pytest.raises(Closed):
            streams.open("a", 0, empty, nothing)

    asyncio.run(run())
