"""What a lane owes its callers when the store, a step or another writer gets in the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lane_cases import AGENT, HUMAN, POISON, Door, Refunds, Spied, opened, place, told
from msgspec import structs

import kiff.runtime.rounds
from kiff import Runtime
from kiff.errors import StoreConflict, StoreRefused, StoreUnavailable
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Append, Store
from kiff.stores import conformance_rows as some
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Spied:
    inner: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "kiff.db")
    return Spied(inner)


@pytest.fixture
def refunds() -> Refunds:
    return Refunds()


@pytest.fixture
def runtime(store: Spied, refunds: Refunds) -> Iterator[Runtime]:
    with opened(store, refunds) as runtime:
        yield runtime


def batch_of(runtime: Runtime, store: Spied, entities: list[str]) -> list[Any]:
    """Answers to events that all waited for one commit, so that they make one batch."""
    door, store.before = Door(), store.before
    meanwhile, store.before = store.before, door
    first = place(runtime, "order:first")
    door.wait_for_someone()
    store.before = meanwhile
    pending = [place(runtime, entity) for entity in entities]
    door.open()
    assert told(first).applied
    return [told(each) for each in pending]


def poisoned(count: int = 200) -> list[str]:
    return [POISON if number == 117 else f"order:o{number}" for number in range(count)]


def test_a_batch_that_the_store_refuses_loses_only_the_culprit(runtime: Runtime, store: Spied) -> None:
    def refuse(batch: Append) -> None:
        if any(isinstance(row, EntityState) and row.entity == POISON for row in batch.rows):
            raise StoreRefused("these rows break a rule")

    store.before = refuse
    answers = batch_of(runtime, store, poisoned())
    assert [type(answer).__name__ for answer in answers].count("Ingested") == 199
    assert isinstance(answers[117], StoreRefused)
    assert runtime.read.state(POISON) is None
    assert len(store.entities("default")) == 200, "the first one, and 199"


def test_rows_that_sqlite_itself_refuses_lose_only_the_culprit(tmp_path: Path) -> None:
    store = Spied(SqliteStore(tmp_path / "kiff.db"))

    def spoil(batch: Append) -> None:
        for row in batch.rows:
            if isinstance(row, EntityState) and row.entity == POISON:
                batch.rows.append(EntityState("default", "order:spoiled", "shop", "OPEN", -1))  # CHECK (version > 0)

    store.before = spoil
    with opened(store) as runtime:
        answers = batch_of(runtime, store, poisoned())
        assert [type(answer).__name__ for answer in answers].count("Ingested") == 199
        assert isinstance(answers[117], StoreRefused)
        assert runtime.read.state("order:spoiled") is None


def test_a_step_that_raises_loses_only_its_own_command(
    runtime: Runtime, store: Spied, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(world: Any, command: Any) -> Any:
        if getattr(command, "event", None) is not None and command.event.entity == POISON:
            raise ZeroDivisionError("a defect")
        return real(world, command)

    real = kiff.runtime.rounds.step
    monkeypatch.setattr(kiff.runtime.rounds, "step", step)
    answers = batch_of(runtime, store, poisoned())
    assert [type(answer).__name__ for answer in answers].count("Ingested") == 199
    assert isinstance(answers[117], ZeroDivisionError)


def test_a_defect_while_sealing_loses_only_the_culprit(store: Spied, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(store) as runtime:
        seal = runtime._lanes.of("default")._sealer.seal

        def broken(world: Any, *more: Any) -> Any:
            if any(record.entity == POISON for log in world.logs.values() for record in log.records):
                raise ZeroDivisionError("a defect")
            return seal(world, *more)

        monkeypatch.setattr(runtime._lanes.of("default")._sealer, "seal", broken)
        answers = batch_of(runtime, store, poisoned())
        assert [type(answer).__name__ for answer in answers].count("Ingested") == 199
        assert isinstance(answers[117], StoreRefused)


def test_two_hundred_that_waited_together_are_one_commit(runtime: Runtime, store: Spied) -> None:
    """The control for the batches above: without poison, nothing is taken apart."""
    before = len(store.batches)
    answers = batch_of(runtime, store, [f"order:o{number}" for number in range(200)])
    assert all(answer.applied for answer in answers)
    assert store.batches[before + 1 : before + 3] in ([400], [400, 0])


# --- a commit whose reply was lost ---


def lose_next_reply(store: Spied) -> None:
    """The next commit happens, and its answer does not arrive."""

    def lose(batch: Append) -> None:
        store.after = lambda batch: None
        raise StoreConflict("the connection went away during COMMIT")

    store.after = lose


def kinds(runtime: Runtime, entity: str) -> list[str]:
    return [record["kind"] for record in runtime.read.timeline(entity)]


def test_an_event_whose_commit_reply_was_lost_is_stored_once(runtime: Runtime, store: Spied) -> None:
    lose_next_reply(store)
    assert told(place(runtime, "order:1", id="evt-1")).applied
    assert kinds(runtime, "order:1") == ["event_ingested", "state_changed"]


def test_a_decision_whose_commit_reply_was_lost_is_answered_from_its_row(runtime: Runtime, store: Spied) -> None:
    told(place(runtime, "order:1"))
    lose_next_reply(store)
    answer = told(runtime.propose(AGENT, entity="order:1", action="REFUND"))
    assert (answer.outcome, answer.replayed) == ("allowed", False)
    [clearance] = runtime.read.operations()
    assert clearance.id == answer.clearance_id
    assert kinds(runtime, "order:1").count("decision_recorded") == 1


@pytest.mark.parametrize("state", ["allowed", "blocked"])
def test_the_answer_to_an_earlier_command_says_that_it_is_one(runtime: Runtime, state: str) -> None:
    if state == "allowed":
        told(place(runtime, "order:1"))
    first, again, once_more = (
        told(runtime.propose(AGENT, entity="order:1", action="REFUND", id="call-1")) for _ in range(3)
    )
    assert (first.outcome, first.replayed) == (state, False)
    assert again == once_more == structs.replace(first, replayed=True)


def test_an_answer_that_is_not_final_is_decided_again_and_is_no_replay(runtime: Runtime) -> None:
    told(place(runtime, "order:1"))
    call = {"entity": "order:1", "action": "REFUND_MUCH", "id": "call-1"}
    held = [told(runtime.propose(AGENT, **call)) for _ in range(2)]
    assert [(each.outcome, each.replayed) for each in held] == [("approval_required", False)] * 2
    assert held[0].approval_id == held[1].approval_id


def test_an_execute_whose_commit_reply_was_lost_has_one_effect(
    runtime: Runtime, store: Spied, refunds: Refunds
) -> None:
    told(place(runtime, "order:1"))
    lose_next_reply(store)
    answer = told(runtime.execute(AGENT, entity="order:1", action="REFUND"))
    assert getattr(answer, "status", answer) == "succeeded"
    assert refunds.made == ["1"]
    assert kinds(runtime, "order:1").count("decision_recorded") == 1


def test_an_outcome_whose_commit_reply_was_lost_reaches_whoever_waits(
    runtime: Runtime, store: Spied, refunds: Refunds
) -> None:
    told(place(runtime, "order:1"))

    def lose_the_outcome(batch: Append) -> None:
        if any(b'"kind":"action_executed"' in record.body for record in batch.records):
            lose_next_reply(store)

    store.before = lose_the_outcome
    answer = told(runtime.execute(AGENT, entity="order:1", action="REFUND"))
    assert getattr(answer, "status", answer) == "succeeded"
    assert refunds.made == ["1"]
    assert kinds(runtime, "order:1").count("action_executed") == 1


def test_a_grant_that_runs_and_whose_commit_reply_was_lost_has_one_effect(
    runtime: Runtime, store: Spied, refunds: Refunds
) -> None:
    told(place(runtime, "order:1"))
    held = told(runtime.execute(AGENT, entity="order:1", action="REFUND_MUCH", id="call-1"))
    lose_next_reply(store)
    assert told(runtime.grant(HUMAN, held.approval_id, "verified")).status == "granted"
    runtime.close()
    assert refunds.made == ["1"]


# --- another writer ---


def write_as_another(store: Spied) -> None:
    """Somebody else commits to the same log between our load and our append, once."""
    store.before = lambda batch: None
    old = store.load(["default"], []).heads["default"]
    assert old is not None
    store.inner.append(some.batch("default", old, records=[some.record("default", old.size, "order:foreign")]))


def test_a_batch_that_another_writer_overtook_is_stepped_again(runtime: Runtime, store: Spied) -> None:
    told(place(runtime, "order:1"))
    store.before = lambda batch: write_as_another(store)
    answer = told(runtime.propose(AGENT, entity="order:1", action="REFUND"))
    assert answer.outcome == "allowed"
    seqs = [row.seq for row in store.records("default")]
    assert seqs == list(range(len(seqs)))
    assert [row.entity for row in store.records("default")].count("order:foreign") == 1


def test_ids_stay_the_same_when_a_command_is_stepped_again(runtime: Runtime, store: Spied) -> None:
    told(place(runtime, "order:1"))
    tried: list[set[str]] = []

    def overtake_twice(batch: Append) -> None:
        tried.append({receipt.id for receipt in (batch.receipts if isinstance(batch.receipts, list) else [])})
        tried.append({row.id for row in batch.rows if hasattr(row, "fencing") and hasattr(row, "id")})
        if len(tried) <= 4:
            raise StoreConflict("somebody was first")

    store.before = overtake_twice
    answer = told(runtime.propose(AGENT, entity="order:1", action="REFUND"))
    assert [ids for ids in tried if ids and answer.clearance_id in ids] == [{answer.clearance_id}] * 3


def test_a_log_that_others_keep_moving_is_told_and_writes_nothing(runtime: Runtime, store: Spied) -> None:
    def always(batch: Append) -> None:
        raise StoreConflict("somebody was first")

    store.before = always
    assert isinstance(told(place(runtime, "order:1")), StoreConflict)
    store.before = lambda batch: None
    assert runtime.read.state("order:1") is None
    assert told(place(runtime, "order:1")).applied, "the lane still serves"


# --- a store that fails ---


def fail(batch: Append) -> None:
    raise StoreUnavailable("no space left on the device")


def test_a_store_that_fails_stops_the_lane_and_tells_everyone(store: Spied) -> None:
    runtime = opened(store)
    store.before = fail
    answers = [told(pending) for pending in [place(runtime, "order:1")]]
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    for again in range(2):
        with pytest.raises(StoreUnavailable, match="no space left"):
            place(runtime, f"order:again{again}")
    assert store.entities("default") == []
    runtime.close()


def test_whoever_waits_behind_the_failure_is_told_too(store: Spied) -> None:
    runtime = opened(store)
    door = Door()

    def fail_later(batch: Append) -> None:
        door(batch)
        fail(batch)

    store.before = fail_later
    pending = [place(runtime, "order:1")]
    door.wait_for_someone()
    pending += [place(runtime, f"order:{number}") for number in range(2, 40)]
    door.open()
    assert all(isinstance(told(each), StoreUnavailable) for each in pending)
    assert store.entities("default") == []
    runtime.close()


def test_an_effect_never_follows_a_decision_that_was_not_stored(store: Spied, refunds: Refunds) -> None:
    runtime = opened(store, refunds)
    told(place(runtime, "order:1"))
    store.before = fail
    assert isinstance(told(runtime.execute(AGENT, entity="order:1", action="REFUND")), StoreUnavailable)
    runtime.close()
    assert refunds.made == []


# --- nothing before its commit ---


def test_nothing_is_answered_or_run_before_its_commit_returned(
    runtime: Runtime, store: Spied, refunds: Refunds
) -> None:
    told(place(runtime, "order:1"))
    door = Door()
    store.before = door
    event, call = place(runtime, "order:2"), runtime.execute(AGENT, entity="order:1", action="REFUND")
    door.wait_for_someone()
    assert not event.done()
    assert not call.done()
    assert refunds.made == []
    door.open()
    assert told(event).applied
    assert told(call).status == "succeeded"


def test_a_lane_that_answers_before_its_commit_would_be_noticed(store: Spied, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same look at a lane that delivers first finds the answer there."""
    with opened(store) as runtime:
        door = Door()
        store.before = door
        deliver = runtime._lanes.of("default")._deliver
        monkeypatch.setattr(runtime._lanes.of("default"), "_deliver", lambda *args: None)
        step = runtime._lanes.of("default")._step

        def eager(world: Any, item: Any, ahead: Any) -> Any:
            change = step(world, item, ahead)
            deliver(item, change, 0.0, {})
            return change

        monkeypatch.setattr(runtime._lanes.of("default"), "_step", eager)
        event = place(runtime, "order:1")
        door.wait_for_someone()
        assert event.done()
        door.open()


def test_an_answer_and_its_rows_are_there_together(runtime: Runtime, store: Spied) -> None:
    """The lane itself calls back, before anything else can have happened."""
    seen: list[bool] = []
    pending = [place(runtime, f"order:{number}") for number in range(50)]
    for number, each in enumerate(pending):
        each.add_done_callback(lambda done, n=number: seen.append(runtime.read.state(f"order:{n}") is not None))
    runtime.close()
    assert seen == [True] * 50
