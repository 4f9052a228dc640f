"""Room at a target: a share for each tenant, none while it is down, one call to find out whether it is back."""

from __future__ import annotations

import threading

import pytest

from kiff.errors import ActionFailed, Overloaded
from kiff.server.circuit import FAILURES, OPEN_SECONDS, Circuits

HERE = ("acme", "refunds.example")


class Watch:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def circuits(watch: Watch) -> Circuits:
    return Circuits(watch)


def broken(circuits: Circuits, times: int = FAILURES) -> None:
    for _ in range(times):
        with circuits.running(HERE, 8):
            pass
        circuits.told(HERE, reached=False)


def test_a_tenant_gets_its_share_of_a_target_and_no_more(circuits: Circuits) -> None:
    circuits.reserve(HERE, 2)
    circuits.reserve(HERE, 2)
    with pytest.raises(Overloaded) as refused:
        circuits.reserve(HERE, 2)
    assert refused.value.detail == {"target": "refunds.example", "retry_after_seconds": 1.0}
    circuits.release(HERE)
    circuits.reserve(HERE, 2)


def test_what_one_tenant_holds_at_one_target_takes_nothing_from_others(circuits: Circuits) -> None:
    circuits.reserve(HERE, 1)
    circuits.reserve(("zebra", "refunds.example"), 1)
    circuits.reserve(("acme", "other.example"), 1)


def test_more_calls_than_the_share_do_not_reach_the_target_either(circuits: Circuits) -> None:
    """A grant that runs is told before its operation ends, so the share is kept once more at the door."""
    with circuits.running(HERE, 1), pytest.raises(ActionFailed, match="nothing was sent"), circuits.running(HERE, 1):
        pass
    with circuits.running(HERE, 1):
        pass


def test_a_target_that_failed_too_often_is_left_alone(circuits: Circuits, watch: Watch) -> None:
    broken(circuits)
    with pytest.raises(Overloaded) as refused:
        circuits.reserve(HERE, 8)
    assert refused.value.detail["retry_after_seconds"] == OPEN_SECONDS
    with pytest.raises(ActionFailed), circuits.running(HERE, 8):
        pass
    watch.now += OPEN_SECONDS - 0.1
    with pytest.raises(Overloaded):
        circuits.reserve(HERE, 8)


def test_control_a_target_that_failed_less_often_is_not(circuits: Circuits) -> None:
    broken(circuits, FAILURES - 1)
    circuits.told(HERE, reached=True)
    broken(circuits, FAILURES - 1)
    circuits.reserve(HERE, 8)


def test_after_a_while_one_call_finds_out_whether_it_is_back(circuits: Circuits, watch: Watch) -> None:
    broken(circuits)
    watch.now += OPEN_SECONDS
    circuits.reserve(HERE, 8)
    with pytest.raises(Overloaded):
        circuits.reserve(HERE, 8)
    with circuits.running(HERE, 8), pytest.raises(ActionFailed), circuits.running(HERE, 8):
        pass


def test_a_target_that_is_back_is_used_as_before(circuits: Circuits, watch: Watch) -> None:
    broken(circuits)
    watch.now += OPEN_SECONDS
    circuits.reserve(HERE, 8)
    circuits.told(HERE, reached=True)
    circuits.reserve(HERE, 8)


def test_a_target_that_is_not_back_is_left_alone_again(circuits: Circuits, watch: Watch) -> None:
    broken(circuits)
    watch.now += OPEN_SECONDS
    broken(circuits, 1)
    with pytest.raises(Overloaded) as refused:
        circuits.reserve(HERE, 8)
    assert refused.value.detail["retry_after_seconds"] == OPEN_SECONDS


def test_nothing_is_kept_of_a_target_that_works(circuits: Circuits) -> None:
    for number in range(100):
        key = ("acme", f"{number}.example")
        circuits.reserve(key, 1)
        with circuits.running(key, 1):
            pass
        circuits.told(key, reached=True)
        circuits.release(key)
    assert circuits._circuits == {}


def test_threads_that_ask_at_once_get_no_more_than_the_share(circuits: Circuits) -> None:
    got, refused, start = list[int](), list[int](), threading.Barrier(16)

    def ask(number: int) -> None:
        start.wait()
        for _ in range(20):
            try:
                circuits.reserve(HERE, 5)
                got.append(number)
            except Overloaded:
                refused.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (5, 315)
