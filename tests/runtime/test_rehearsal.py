"""A dry run answers as the real call would, and leaves the store as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lane_cases import AGENT, HUMAN, SIGNER, STRIPE, place, shop

from kiff import Caller, Principal, Runtime
from kiff.errors import ApprovalDecided, Forbidden
from kiff.runtime.rehearsal import Rehearsal
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

ORDER = "order:ord_001"


@pytest.fixture(params=["memory", "sqlite"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "kiff.db")
    with Runtime(store, SIGNER, domains=[shop()]) as runtime:
        place(runtime, ORDER).result()
        yield runtime


def rehearsal(runtime: Runtime) -> Rehearsal:
    return Rehearsal(runtime._store.snapshot())


def outcome(runtime: Runtime, caller: Caller, action: str) -> str:
    rehearsed = rehearsal(runtime)
    change = rehearsed.take(rehearsed.edge.propose("decide", caller, entity=ORDER, action=action))
    return str(change.records[0].data["outcome"])


@pytest.mark.parametrize("action", ["REFUND", "REFUND_MUCH", "NO_SUCH_ACTION"])
@pytest.mark.parametrize("caller", [AGENT, Caller(Principal("nobody", "agent"))])
def test_it_decides_as_the_call_does_and_writes_nothing(runtime: Runtime, caller: Caller, action: str) -> None:
    before = runtime._store.heads()
    said = outcome(runtime, caller, action)
    assert runtime._store.heads() == before
    assert runtime._store.approvals("default") == []
    assert said == runtime.propose(caller, entity=ORDER, action=action).result().outcome


def test_an_event_is_folded_and_forgotten(runtime: Runtime) -> None:
    rehearsed = rehearsal(runtime)
    change = rehearsed.take(rehearsed.edge.ingest(STRIPE, type="PLACED", entity="order:ord_002"))
    assert (change.answer.applied, change.answer.state) == (True, "OPEN")
    assert runtime.read.state("order:ord_002") is None


def test_what_the_call_would_raise_is_raised(runtime: Runtime) -> None:
    rehearsed = rehearsal(runtime)
    with pytest.raises(Forbidden):
        rehearsed.take(rehearsed.edge.ingest(AGENT, type="PLACED", entity="order:ord_002"))


def test_a_review_is_rehearsed_too(runtime: Runtime) -> None:
    held = runtime.propose(AGENT, entity=ORDER, action="REFUND_MUCH").result()
    assert held.approval_id is not None
    rehearsed = rehearsal(runtime)
    command = rehearsed.edge.review(HUMAN, held.approval_id, "grant", "looks right")
    assert rehearsed.take(command).answer.status == "granted"
    assert runtime._store.approvals("default")[0].status == "pending"
    runtime.deny(HUMAN, held.approval_id, "no").result()
    again = rehearsal(runtime)
    with pytest.raises(ApprovalDecided):
        again.take(command)
