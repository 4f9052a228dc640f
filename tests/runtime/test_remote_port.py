"""Executors that the runtime reaches through the port `Remote`: room is taken before deciding, and given back once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from lane_cases import AGENT, HUMAN, PATIENCE_SECONDS, SHOP, SIGNER, STRIPE, told

from kiff import Operation, Runtime, load
from kiff.errors import ActionUnknown, Closed, Overloaded
from kiff.stores.memory import MemoryStore

ADDRESS = "https://refunds.example/refund"


class Counted:
    """A remote executor that does what a test says, and counts.

    Attributes:
        room: how many calls it takes at once.
        held: how much of the room is taken.
    """

    def __init__(self, room: int = 8) -> None:
        self.room = room
        self.held = 0
        self.reserved = 0
        self.closed = 0
        self.asked: list[tuple[str, str, float]] = []
        self.let_go = threading.Event()
        self.let_go.set()
        self.says: Any = {"status": "succeeded"}
        self._lock = threading.Lock()

    def usable(self, tenant: str, address: str) -> bool:
        return address == ADDRESS

    def reserve(self, tenant: str, address: str) -> None:
        with self._lock:
            if self.held >= self.room:
                raise Overloaded("no room")
            self.held += 1
            self.reserved += 1

    def release(self, tenant: str, address: str) -> None:
        with self._lock:
            self.held -= 1

    def run(self, address: str, operation: Operation, seconds: float) -> Any:
        self.asked.append((address, operation.id, seconds))
        assert self.let_go.wait(PATIENCE_SECONDS)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def close(self) -> None:
        self.closed += 1


def opened(remote: Counted, address: str = ADDRESS, **options: Any) -> Runtime:
    domain = load(SHOP.replace("shop.refund", address))
    runtime = Runtime(MemoryStore(), SIGNER, domains=[domain], remote=remote, **options)
    for number in range(4):
        runtime.ingest(STRIPE, type="PLACED", entity=f"order:{number}").result(PATIENCE_SECONDS)
    return runtime


def refund(runtime: Runtime, number: int = 0, action: str = "REFUND", **more: Any) -> Any:
    return runtime.execute(AGENT, entity=f"order:{number}", action=action, **more)


def test_an_address_that_is_not_usable_is_a_missing_executor() -> None:
    with opened(Counted(), "https://other.example/") as runtime:
        assert told(refund(runtime)).reason == "executor_missing"


def test_without_the_port_an_address_is_a_missing_executor() -> None:
    with Runtime(MemoryStore(), SIGNER, domains=[load(SHOP.replace("shop.refund", ADDRESS))]) as runtime:
        runtime.ingest(STRIPE, type="PLACED", entity="order:0").result(PATIENCE_SECONDS)
        assert told(refund(runtime)).reason == "executor_missing"


def test_a_call_without_room_is_refused_before_it_is_decided() -> None:
    remote = Counted(room=0)
    with opened(remote) as runtime:
        before = len(runtime.timeline(AGENT, "order:0"))
        with pytest.raises(Overloaded):
            refund(runtime)
        assert (len(runtime.timeline(AGENT, "order:0")), remote.asked) == (before, [])


def test_room_is_given_back_however_a_call_ends() -> None:
    remote = Counted()
    with opened(remote, slots=1) as runtime:
        told(refund(runtime, 0, id="p"))
        told(refund(runtime, 0, id="p"))  # the answer again
        told(refund(runtime, 0))  # refused: the order is refunded
        told(refund(runtime, 1, "REFUND_MUCH"))  # held
        remote.says = ActionUnknown("the line went dead")
        told(refund(runtime, 2))
        told(refund(runtime, 2))  # refused: the runway is taken
        remote.let_go.clear()
        waiting = refund(runtime, 3)
        with pytest.raises(Overloaded, match="slots"):
            refund(runtime, 3)
        assert remote.held == 1
        remote.let_go.set()
        told(waiting)
    with pytest.raises(Closed):
        refund(runtime)
    assert (remote.held, remote.reserved, len(remote.asked), remote.closed) == (0, 8, 3, 1)


def test_a_granted_call_that_runs_takes_room_before_the_grant() -> None:
    remote = Counted()
    with opened(remote) as runtime:
        held = told(refund(runtime, 0, "REFUND_MUCH"))
        remote.room = 0
        with pytest.raises(Overloaded):
            runtime.grant(HUMAN, held.approval_id, "fine")
        remote.room = 1
        assert told(runtime.grant(HUMAN, held.approval_id, "fine")).operation_id
    assert (remote.held, len(remote.asked)) == (0, 1)


def test_an_executor_that_cannot_tell_says_why() -> None:
    remote = Counted()
    remote.says = ActionUnknown("it was sent, and no answer came")
    with opened(remote) as runtime:
        answer = told(refund(runtime))
        assert (answer.status, answer.message) == ("unknown", "it was sent, and no answer came")


def test_control_what_a_remote_executor_reports_is_the_outcome() -> None:
    remote = Counted()
    remote.says = {"status": "succeeded", "message": "done", "output": {"id": "re_1"}}
    with opened(remote) as runtime:
        answer = told(refund(runtime))
        assert (answer.status, answer.message, answer.output) == ("succeeded", "done", {"id": "re_1"})
        assert remote.asked == [(ADDRESS, answer.operation_id, 30)]


def test_a_registered_name_is_not_asked_of_the_port() -> None:
    remote = Counted(room=0)
    executors = {"shop.refund": lambda operation: {"status": "succeeded"}}
    with opened(remote, "shop.refund", executors=executors) as runtime:
        assert told(refund(runtime)).status == "succeeded"
    assert remote.asked == []


def test_a_dry_run_knows_what_is_usable() -> None:
    remote = Counted(room=0)
    with opened(remote) as runtime:
        rehearsal = runtime.rehearsal
        change = rehearsal.take(rehearsal.edge.propose("execute", AGENT, entity="order:0", action="REFUND"))
        assert [record.kind for record in change.records] == ["decision_recorded", "action_validated"]
    assert remote.asked == []
