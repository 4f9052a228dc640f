"""The queue in front of a lane: it refuses in time, it is fair, and it ends."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from kiff.errors import Closed, Overloaded, StoreUnavailable
from kiff.runtime.queue import FairQueue


def filled(**waiting: int) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue(1000)
    for tenant, count in waiting.items():
        for number in range(count):
            queue.put(tenant, f"{tenant}{number}")
    return queue


def test_a_tenant_with_too_much_waiting_is_refused_and_nothing_is_queued() -> None:
    queue: FairQueue[int] = FairQueue(2)
    queue.put("a", 1)
    queue.put("a", 2)
    with pytest.raises(Overloaded) as refused:
        queue.put("a", 3)
    assert refused.value.detail == {"waiting": 2}
    assert queue.take(10, 0) == [1, 2]


def test_one_tenants_bound_is_not_anothers() -> None:
    queue: FairQueue[int] = FairQueue(1)
    queue.put("a", 1)
    queue.put("b", 2)
    assert sorted(queue.take(10, 0) or []) == [1, 2]


def test_what_belongs_to_accepted_work_takes_no_room_from_what_callers_ask() -> None:
    queue: FairQueue[int] = FairQueue(2)
    for number in range(10):
        queue.put("a", number, bounded=False)
    queue.put("a", 10)
    queue.put("a", 11)
    with pytest.raises(Overloaded):
        queue.put("a", 12)
    queue.put("b", 13)  # with two tenants, one of each is taken in turn
    assert queue.take(4, 0) == [0, 13, 1, 2]
    queue.take(100, 0)
    queue.put("a", 14)
    queue.put("a", 15)


def test_what_belongs_to_accepted_work_is_never_refused() -> None:
    queue: FairQueue[int] = FairQueue(1)
    queue.put("a", 1)
    queue.put("a", 2, bounded=False)
    assert len(queue) == 2


def test_room_comes_back_when_something_is_taken() -> None:
    queue: FairQueue[int] = FairQueue(1)
    queue.put("a", 1)
    queue.take(1, 0)
    queue.put("a", 2)
    assert queue.take(10, 0) == [2]


def test_a_closed_queue_refuses_and_still_gives_what_it_holds() -> None:
    queue = filled(a=2)
    queue.close()
    with pytest.raises(Closed):
        queue.put("a", "late")
    assert queue.take(10, None) == ["a0", "a1"]
    assert queue.take(10, None) is None


def test_a_queue_that_was_closed_by_a_failure_says_so_to_everyone() -> None:
    queue = filled()
    failure = StoreUnavailable("the disk is full")
    queue.close(failure)
    queue.close()
    with pytest.raises(StoreUnavailable, match="disk is full"):
        queue.put("a", "late", bounded=False)


def test_an_empty_queue_gives_an_empty_batch_when_the_time_is_up() -> None:
    assert filled().take(10, 0) == []


def test_a_tenants_order_is_kept() -> None:
    queue = filled(a=300, b=3)
    taken = [item for _ in range(4) for item in queue.take(100, 0) or []]
    assert [item for item in taken if item[0] == "a"] == [f"a{number}" for number in range(300)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 16])
def test_a_storm_of_one_tenant_is_that_tenants_wait(limit: int) -> None:
    """Whatever the limit, while several tenants wait their shares differ by one at most."""
    queue = filled(storm=1000, quiet=20, small=20)
    served: Counter[str] = Counter()
    while served["quiet"] + served["small"] < 30:
        served.update(item.rstrip("0123456789") for item in queue.take(limit, 0) or [])
        assert max(served.values()) - min(served[name] for name in ("storm", "quiet", "small")) <= 1, served


def test_a_first_come_queue_would_not_be_fair() -> None:
    """The control: the same storm, served in order of arrival, leaves the others waiting."""
    arrived = ["storm"] * 1000 + ["quiet"] * 20
    assert "quiet" not in arrived[:256]
    assert [item for item in filled(storm=1000, quiet=20).take(256, 0) or [] if item.startswith("quiet")]


def test_everything_that_is_put_by_many_is_taken_once() -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue(10_000)
    taken: list[tuple[int, int]] = []

    def take() -> None:
        while (batch := queue.take(64, None)) is not None:
            taken.extend(batch)

    def put(writer: int) -> None:
        for number in range(500):
            queue.put(f"t{writer % 3}", (writer, number))

    reader = threading.Thread(target=take)
    writers = [threading.Thread(target=put, args=(writer,)) for writer in range(6)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    queue.close()
    reader.join()
    assert sorted(taken) == [(writer, number) for writer in range(6) for number in range(500)]


def test_closing_wakes_whoever_waits() -> None:
    queue = filled()
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(queue.take(10, None)))
    waiting.start()
    queue.close()
    waiting.join()
    assert got in ([None], [[]])
