"""What a batch costs on PostgreSQL: a constant number of round trips, however many commands are in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from lane_cases import AGENT, HUMAN, SHOP, SIGNER, Refunds, place, told

import kiff.stores.postgres.connections as connections
from kiff import Runtime, load
from kiff.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow

MOST = 6
"""The bound that was promised; two is the aim."""


class Counted:
    """Statements that go to the server, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def probe(self, point: str) -> None:
        if point == "load":
            self.batches.append([])

    def sent(self, record: Any) -> None:
        in_lane = threading.current_thread().name == "kiff-lane"
        if in_lane and self.batches and record.query.lstrip().startswith(("SELECT", "WITH")):
            self.batches[-1].append(record.query)

    def most(self) -> int:
        return max(map(len, self.batches))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted, connect = Counted(), asyncpg.connect

    async def listening(*args: Any, **options: Any) -> Any:
        connection = await connect(*args, **options)
        connection.add_query_logger(counted.sent)
        return connection

    monkeypatch.setattr(connections.asyncpg, "connect", listening)
    return counted


@pytest.fixture
def runtime(fresh_database: str, counted: Counted) -> Iterator[Runtime]:
    store = PostgresStore(fresh_database, connections=1)  # another one would first learn about types
    with Runtime(store, SIGNER, domains=[load(SHOP)], executors={"shop.refund": Refunds()}, probe=counted.probe) as it:
        it._sweeper.close()  # it asks for itself, in another thread
        yield it


def test_a_batch_of_any_calls_takes_at_most_six(runtime: Runtime, counted: Counted) -> None:
    pending = [place(runtime, f"order:{number}") for number in range(150)]
    told(pending[-1])
    counted.batches.clear()
    for _ in range(2):  # the second time every runway is held, and every held call has its approval
        pending = [runtime.propose(AGENT, entity=f"order:{number}", action="REFUND") for number in range(100)]
        pending += [runtime.propose(AGENT, entity=f"order:{number}", action="REFUND_MUCH") for number in range(150)]
        answers = [told(each) for each in pending]
    grants = [runtime.grant(HUMAN, answer.approval_id, "fine") for answer in answers if answer.approval_id]
    assert {told(each).status for each in grants} == {"granted"}
    assert len(runtime.read.approvals()) == 50, "those whose runway is free"
    assert counted.most() <= MOST, [len(batch) for batch in counted.batches]


def test_a_lone_call_takes_two(runtime: Runtime, counted: Counted) -> None:
    for entity in ("order:1", "order:2"):  # at its first question a connection learns about types
        told(place(runtime, entity))
        counted.batches.clear()
        assert told(runtime.propose(AGENT, entity=entity, action="REFUND")).outcome == "allowed"
    assert len(counted.batches[0]) == 2


def test_a_batch_on_top_of_another_processs_takes_one_more(
    runtime: Runtime, counted: Counted, fresh_database: str
) -> None:
    told(place(runtime, "order:1"))
    with Runtime(PostgresStore(fresh_database), SIGNER) as other:
        told(place(other, "order:2"))
    counted.batches.clear()
    told(place(runtime, "order:3"))
    assert 2 < len(counted.batches[0]) <= 4, "the leaves that the other one wrote are read once"
