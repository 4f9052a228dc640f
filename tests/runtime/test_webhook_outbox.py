"""Deliveries are rows of the commit that writes their record; what becomes of them is a table of time and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lane_cases import AGENT, PATIENCE_SECONDS, Refunds, Spied, opened, place, told
from limit_cases import SetClock
from msgspec import json, structs

from kiff import Caller, Principal
from kiff.errors import Conflict, Forbidden, IdempotencyConflict, InvalidInput, NotFound, StoreConflict
from kiff.protocol.authority import AUTHOR
from kiff.protocol.record import KINDS
from kiff.protocol.webhook import EVENTS, Endpoint, named, require_events, wanted
from kiff.runtime.outbox import FAILING_MS, KEPT_MS, LONGEST_PAUSE_MS, SCHEDULE_SECONDS, pause_ms, read, wants
from kiff.runtime.ports import Append, Clock
from kiff.runtime.rows import Delivery
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

OWNER = Caller(Principal("owner", "human"), (AUTHOR,))
SECRET = "kept-so-that-nobody-reads-it"
TENANT, ORDER = "default", "order:o_1"


class Outbox:
    """A runtime with an endpoint that wants everything, and the outcomes that a test makes up."""

    def __init__(self, store: Callable[[Clock], Any] = MemoryStore) -> None:
        self.clock = SetClock()
        self.store = store(self.clock)
        self.runtime = opened(self.store, Refunds(), clock=self.clock)
        self.runtime._sweeper.close()
        self.hook = self.add()

    def add(self, **endpoint: Any) -> str:
        webhooks = self.runtime.webhooks
        values: dict[str, Any] = {"url": "https://hooks.example.com/secret-path", "events": ("*",)} | endpoint
        given = Endpoint(webhooks.draw_id(), **values)
        return webhooks.add(OWNER, given, SECRET).result(PATIENCE_SECONDS).id

    def place(self, order: str = ORDER) -> None:
        place(self.runtime, order).result(PATIENCE_SECONDS)

    def due(self, hook: str | None = None) -> list[Delivery]:
        return self.store.deliveries(TENANT, hook or self.hook)  # type: ignore[no-any-return]

    def lease(self) -> list[Delivery]:
        now = self.clock.now()
        return self.store.lease(TENANT, self.hook, now, now + 60_000, limit=99)  # type: ignore[no-any-return]

    def ended(self, row: Delivery, how: Any, said: str = "answered 500", **more: Any) -> None:
        self.runtime.webhooks.attempted(row, how, said, **more).result(PATIENCE_SECONDS)

    def fail_on(self, times: int) -> Delivery:
        """The first delivery, after it failed so often, each time when it was due."""
        for _ in range(times):
            [row] = self.lease()
            self.ended(row, "failed")
            [row] = self.due()
            self.clock.at = row.due_at
        return self.due()[0]

    def kinds(self) -> list[str]:
        return [json.decode(row.body)["kind"] for row in self.store.records(TENANT)]


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    outbox = Outbox()
    yield outbox
    outbox.runtime.close()


# Refused


@pytest.mark.parametrize("events", [[], ["decision"], ["decisions.*"], ["*.*"], [".*"], ["credential.issued"], [""]])
def test_what_is_no_event_is_asked_for_by_nobody(events: list[str]) -> None:
    with pytest.raises(InvalidInput):
        require_events(events)


def test_only_an_owner_changes_who_is_told(outbox: Outbox) -> None:
    webhooks = outbox.runtime.webhooks
    endpoint = Endpoint(webhooks.draw_id(), "https://x.example/", ("*",))
    asked = (
        webhooks.add(AGENT, endpoint, SECRET),
        webhooks.remove(AGENT, outbox.hook),
        webhooks.rotate(AGENT, outbox.hook, SECRET, 0),
        webhooks.enable(AGENT, outbox.hook),
        webhooks.resend(AGENT, outbox.hook, since=0),
    )
    assert [type(told(each)) for each in asked] == [Forbidden] * 5
    assert [each.id for each in webhooks.all(TENANT)] == [outbox.hook]


def test_an_endpoint_that_there_is_not_is_not_found(outbox: Outbox) -> None:
    webhooks = outbox.runtime.webhooks
    for asked in (webhooks.remove(OWNER, "whk_0"), webhooks.rotate(OWNER, "whk_0", SECRET, 0)):
        assert isinstance(told(asked), NotFound)
    with pytest.raises(NotFound):
        webhooks.resend(OWNER, "whk_0", since=0)


def test_there_are_only_so_many_endpoints(outbox: Outbox) -> None:
    for _ in range(19):
        outbox.add()
    with pytest.raises(Conflict, match="at most 20"):
        outbox.add()


# What a commit adds


def test_every_record_of_a_commit_is_due_to_who_asked_for_it(outbox: Outbox) -> None:
    other = outbox.add(events=("state.*",))
    outbox.place()
    assert [row.seq for row in outbox.due()] == [3, 4]
    assert [(row.seq, row.entity) for row in outbox.due(other)] == [(4, ORDER)]
    assert outbox.kinds()[3:] == ["event_ingested", "state_changed"]


def test_deliveries_stand_in_the_commit_of_their_records() -> None:
    """The control: a store that takes records and drops the rest of the batch would show."""
    store = Spied()
    outbox = Outbox(lambda clock: store)
    batches: list[Append] = []
    store.before = batches.append
    outbox.place()
    [batch] = [each for each in batches if each.records]
    assert [row.seq for row in batch.rows if isinstance(row, Delivery)] == [row.seq for row in batch.records]
    outbox.runtime.close()


def test_a_commit_that_failed_and_was_made_again_tells_once() -> None:
    store = Spied()
    outbox = Outbox(lambda clock: store)
    seen: list[Append] = []

    def once(batch: Append) -> None:
        seen.append(batch)
        if len(seen) == 1:
            raise StoreConflict("another writer was first")

    store.before = once
    outbox.place()
    assert [row.seq for row in outbox.due()] == [2, 3]
    outbox.runtime.close()


def test_entity_types_and_what_is_about_no_entity_are_kept_apart(outbox: Outbox) -> None:
    parcels = outbox.add(entity_types=("parcel",))
    orders = outbox.add(entity_types=("order",))
    outbox.place()
    assert not outbox.due(parcels)
    assert len(outbox.due(orders)) == 2


def test_what_tells_of_webhooks_or_of_keys_is_told_to_nobody() -> None:
    untold = {kind for kind in KINDS if read(_record(kind)) is None}
    assert untold == {
        "credential_issued",
        "credential_revoked",
        "member_changed",
        "tenant_changed",
        "webhook_changed",
        "webhook_failed",
    }


def test_every_kind_of_message_can_be_asked_for() -> None:
    names = {told.name for kind in KINDS if (told := read(_record(kind))) is not None}
    assert names - {"decision.held"} <= set(EVENTS)
    assert wanted(("*",)) == set(EVENTS)
    assert named("decision.*") >= {"decision.allowed", "decision.approval_required"}


def test_the_body_of_a_message_holds_the_record_to_the_byte(outbox: Outbox) -> None:
    outbox.place()
    row = outbox.store.records(TENANT)[-1]
    endpoint = outbox.runtime.webhooks.one(TENANT, outbox.hook)
    told = wants(endpoint, row.body)
    assert told is not None
    assert row.body in told.body
    assert json.decode(told.body)["type"] == "state.changed"
    assert json.decode(told.body)["timestamp"] == json.decode(row.body)["at"]


def _record(kind: str) -> bytes:
    return json.encode({"at": "t", "kind": kind, "entity": None, "seq": 0, "data": {"outcome": "held"}})


# What becomes of an attempt


def test_what_was_delivered_is_gone_and_the_next_of_its_entity_comes(outbox: Outbox) -> None:
    outbox.place()
    [first] = outbox.lease()
    outbox.ended(first, "delivered")
    assert [row.seq for row in outbox.due()] == [3]
    assert [row.seq for row in outbox.lease()] == [3]


def test_the_pauses_are_the_ones_of_the_schedule() -> None:
    assert SCHEDULE_SECONDS == (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    assert [pause_ms(n, 0.0, None) for n in (1, 2, 9)] == [5_000, 300_000, 86_400_000]
    assert all(pause_ms(n, 0.0, None) < pause_ms(n, 1.0, None) for n in range(1, 10))


def test_an_endpoint_that_asks_for_time_gets_it_within_a_day() -> None:
    assert pause_ms(1, 0.0, 60_000) == 60_000
    assert pause_ms(2, 0.0, 60_000) == 300_000
    assert pause_ms(1, 0.0, 10 * LONGEST_PAUSE_MS) == LONGEST_PAUSE_MS


def test_a_failed_delivery_waits_longer_each_time_and_dies_of_the_tenth(outbox: Outbox) -> None:
    outbox.place()
    [first, second] = outbox.due()
    outbox.ended(second, "delivered")
    began, at = outbox.clock.at, [outbox.clock.at]
    for _ in range(9):
        at.append(outbox.fail_on(1).due_at)
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert all(
        planned * 1_000 <= pause <= planned * 1_200 for planned, pause in zip(SCHEDULE_SECONDS[1:], pauses, strict=True)
    )
    assert outbox.due()[0].status == "due"
    [dying] = outbox.lease()
    outbox.ended(dying, "failed")
    [dead] = outbox.due()
    assert (dead.id, dead.status, dead.attempts) == (first.id, "dead", 10)
    assert dead.due_at == outbox.clock.at + KEPT_MS
    assert outbox.clock.at - began > 3 * 86_400_000


def test_a_death_is_in_the_log_and_is_told_to_nobody(outbox: Outbox) -> None:
    outbox.place()
    outbox.ended(outbox.due()[1], "delivered")
    outbox.fail_on(9)
    [row] = outbox.lease()
    outbox.ended(row, "failed", "answered 503")
    record = json.decode(outbox.store.records(TENANT)[-1].body)
    assert (record["kind"], record["entity"], record["actor"]["id"]) == ("webhook_failed", None, "kiff")
    assert record["data"] == {
        "attempts": 10,
        "delivery": row.id,
        "endpoint": outbox.hook,
        "of": row.seq,
        "said": "answered 503",
    }
    assert [each.status for each in outbox.due()] == ["dead"]


def test_a_dead_delivery_is_forgotten_when_its_time_comes(outbox: Outbox) -> None:
    outbox.place()
    outbox.ended(outbox.due()[1], "delivered")
    outbox.fail_on(9)
    outbox.ended(outbox.lease()[0], "failed")
    assert not outbox.lease()
    outbox.clock.at += KEPT_MS
    [row] = outbox.lease()
    outbox.ended(row, "dropped")
    assert not outbox.due()


def test_an_outcome_that_comes_too_late_changes_nothing(outbox: Outbox) -> None:
    """Two sent the same one; the first word stands."""
    outbox.place()
    [row] = outbox.lease()
    outbox.ended(row, "failed", "the first")
    outbox.ended(row, "failed", "the second")
    outbox.ended(row, "delivered")
    [first, _] = outbox.due()
    assert (first.attempts, first.last) == (1, "the first")


def test_an_endpoint_that_answers_gone_is_switched_off(outbox: Outbox) -> None:
    outbox.place()
    [row] = outbox.lease()
    outbox.ended(row, "refused", "answered 410")
    assert "410" in outbox.runtime.webhooks.one(TENANT, outbox.hook).why
    outbox.place("order:o_2")
    assert {each.entity for each in outbox.due()} == {ORDER}, "what comes while it is off is not due to it"
    assert json.decode(outbox.store.records(TENANT)[4].body)["data"]["change"] == "switched off"


def test_an_endpoint_that_fails_for_days_is_switched_off_and_one_success_would_have_saved_it(outbox: Outbox) -> None:
    other = outbox.add()
    for order in ("order:o_1", "order:o_2"):
        outbox.place(order)
    for days in (0, FAILING_MS):
        outbox.clock.at += days
        for hook in (outbox.hook, other):
            row = outbox.due(hook)[0]
            outbox.ended(row, "failed")
            if hook == other:
                outbox.ended(outbox.due(hook)[-1], "delivered")
    webhooks = outbox.runtime.webhooks
    assert "5 days" in webhooks.one(TENANT, outbox.hook).why
    assert webhooks.one(TENANT, other).is_on


def test_an_endpoint_that_was_put_on_again_has_its_five_days_again(outbox: Outbox) -> None:
    outbox.place()
    outbox.ended(outbox.due()[0], "failed")
    outbox.clock.at += FAILING_MS
    outbox.ended(outbox.due()[0], "failed")
    outbox.runtime.webhooks.enable(OWNER, outbox.hook).result(PATIENCE_SECONDS)
    outbox.ended(outbox.due()[0], "failed")
    assert outbox.runtime.webhooks.one(TENANT, outbox.hook).is_on


def test_what_is_due_to_an_endpoint_that_is_no_more_is_dropped(outbox: Outbox) -> None:
    outbox.place()
    outbox.runtime.webhooks.remove(OWNER, outbox.hook).result(PATIENCE_SECONDS)
    while rows := outbox.lease():
        outbox.ended(rows[0], "dropped")
    assert not outbox.due()


# Told again


def test_a_dead_delivery_is_tried_again_when_it_is_asked_for(outbox: Outbox) -> None:
    outbox.place()
    outbox.ended(outbox.due()[1], "delivered")
    outbox.fail_on(9)
    outbox.ended(outbox.lease()[0], "failed")
    [dead] = outbox.due()
    answer = outbox.runtime.webhooks.resend(OWNER, outbox.hook, delivery=dead.id).result(PATIENCE_SECONDS)
    [again] = outbox.lease()
    assert (answer.count, again.id, again.status, again.attempts) == (1, dead.id, "due", 0)


def test_what_was_told_is_told_again_from_a_seq_or_a_time_on(outbox: Outbox) -> None:
    outbox.place()
    outbox.clock.at += 1_000
    outbox.place("order:o_2")
    for row in outbox.due():
        outbox.ended(row, "delivered")
    at = json.decode(outbox.store.records(TENANT)[-1].body)["at"]
    for asked, expected in ((3, [3, 4, 5]), (at, [4, 5]), (6, []), (0, [0, 2, 3, 4, 5])):
        outbox.runtime.webhooks.resend(OWNER, outbox.hook, since=asked).result(PATIENCE_SECONDS)
        assert [row.seq for row in outbox.due()] == expected, asked
        for row in outbox.due():
            outbox.ended(row, "delivered")


def test_a_long_log_is_told_again_in_pieces(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiff.runtime.webhooks.AT_ONCE", 3)
    outbox.place()
    answer = outbox.runtime.webhooks.resend(OWNER, outbox.hook, since=0).result(PATIENCE_SECONDS)
    assert (answer.count, answer.after) == (2, 3)
    answer = outbox.runtime.webhooks.resend(OWNER, outbox.hook, since=3).result(PATIENCE_SECONDS)
    assert (answer.count, answer.after) == (1, None)


@pytest.mark.parametrize(
    "delivery", ["x", "-000000000003", "000000000003", "HOOK-3", "HOOK-000000000099", "HOOK-000000000001"]
)
def test_a_delivery_that_was_none_is_not_found(outbox: Outbox, delivery: str) -> None:
    """Neither an id of another shape, nor a place in the log that is empty, nor a record that nobody is told of."""
    with pytest.raises(NotFound):
        outbox.runtime.webhooks.resend(OWNER, outbox.hook, delivery=delivery.replace("HOOK", outbox.hook))


def test_nothing_is_told_again_to_an_endpoint_that_is_off(outbox: Outbox) -> None:
    outbox.place()
    outbox.ended(outbox.lease()[0], "refused")
    assert isinstance(told(outbox.runtime.webhooks.resend(OWNER, outbox.hook, since=0)), Conflict)


# Who is told


def test_the_same_request_is_carried_out_once(outbox: Outbox) -> None:
    webhooks = outbox.runtime.webhooks
    endpoint = Endpoint(webhooks.draw_id(), "https://x.example/", ("*",))
    first = webhooks.add(OWNER, endpoint, SECRET, key="once").result(PATIENCE_SECONDS)
    again = structs.replace(endpoint, id=webhooks.draw_id())
    second = webhooks.add(OWNER, again, "another", key="once").result(PATIENCE_SECONDS)
    assert (second.id, second.repeated) == (first.id, True)
    other = structs.replace(again, url="https://y.example/")
    assert isinstance(told(webhooks.add(OWNER, other, SECRET, key="once")), IdempotencyConflict)


def test_two_secrets_sign_until_the_overlap_ends_and_never_three(outbox: Outbox) -> None:
    webhooks = outbox.runtime.webhooks
    for number in (1, 2):
        webhooks.rotate(OWNER, outbox.hook, f"secret-{number}", 1_000).result(PATIENCE_SECONDS)
    now = outbox.clock.at
    endpoint = webhooks.one(TENANT, outbox.hook)
    assert endpoint.signing(now) == ["secret-2", "secret-1"]
    assert endpoint.signing(now + 1_000) == ["secret-2"]
    webhooks.rotate(OWNER, outbox.hook, "secret-3", 0).result(PATIENCE_SECONDS)
    assert webhooks.one(TENANT, outbox.hook).signing(now) == ["secret-3"]


def test_neither_secret_nor_path_is_in_the_log(outbox: Outbox) -> None:
    webhooks = outbox.runtime.webhooks
    webhooks.rotate(OWNER, outbox.hook, f"{SECRET}-2", 1_000).result(PATIENCE_SECONDS)
    webhooks.remove(OWNER, outbox.hook).result(PATIENCE_SECONDS)
    bodies = b"".join(row.body for row in outbox.store.records(TENANT))
    changes = [
        each for row in outbox.store.records(TENANT) if (each := json.decode(row.body))["kind"] == "webhook_changed"
    ]
    assert [each["data"]["change"] for each in changes] == ["added", "secret rotated", "removed"]
    assert all(each["data"]["webhook"]["to"] == "https://hooks.example.com" for each in changes)
    assert SECRET.encode() not in bodies
    assert b"secret-path" not in bodies


def test_a_killed_process_leaves_its_deliveries_due(tmp_path: Path) -> None:
    """Nothing is lost with the process that wrote the record: another one finds the delivery, lent to nobody."""
    path = tmp_path / "kiff.db"
    outbox = Outbox(lambda clock: SqliteStore(path, clock=clock))
    outbox.place()
    now = outbox.clock.at
    assert outbox.lease()
    outbox.runtime.close()
    store = SqliteStore(path)
    assert store.backlogs(now) == [(TENANT, outbox.hook)]
    assert [row.seq for row in store.lease(TENANT, outbox.hook, now, now + 1, limit=9)] == [2]
    store.close()
