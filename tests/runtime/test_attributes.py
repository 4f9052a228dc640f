"""What events set, which way they take, and that history folds to the same again."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from lane_cases import SIGNER, STRIPE
from msgspec import structs

from kiff import ActionContract, Domain, Emits, Runtime, load
from kiff.analysis import replay_store, verify_store
from kiff.canonical import admit
from kiff.ledger.keys import PublicKeys
from kiff.protocol.state import EntityState
from kiff.runtime.rows import Blob
from kiff.runtime.step.fold import Folded, transition
from kiff.runtime.step.payload import payloads_of
from kiff.stores.memory import MemoryStore

KEYS = PublicKeys([SIGNER.public])
ORDER = "order:1"
SHOP = """
domain: shop
version: v1
entity: Order
attributes:
  total: {type: number, minimum: 0, unit: USD}
  refunded: {type: number, minimum: 0, default: 0, unit: USD}
  note: {type: string, maxLength: 8000, optional: true}
  paid_in: {type: integer, default: 0}
events: [PLACED, PAID, REFUNDED, NOTED, CHECKED, LATE]
payloads:
  PLACED: {total: {type: number, unit: USD}}
  REFUNDED: {amount: {type: number, unit: USD}}
  NOTED: {note: {type: string}}
  CHECKED: {size: {type: integer, optional: true}}
states: [OPEN, PAID_UP, PARTLY, DONE]
groups: {REFUNDABLE: [PAID_UP, PARTLY]}
transitions:
  - {on: PLACED, to: OPEN, set: {total: event.total}}
  - {on: PAID, from: OPEN, to: PAID_UP, set: {paid_in: entity.version}}
  - on: REFUNDED
    from: REFUNDABLE
    to: DONE
    when: entity.refunded + event.amount == entity.total
    set: {refunded: entity.refunded + event.amount}
  - on: REFUNDED
    from: REFUNDABLE
    to: PARTLY
    when: entity.refunded + event.amount < entity.total
    set: {refunded: entity.refunded + event.amount}
  - {on: NOTED, from: [OPEN, PAID_UP], set: {note: event.note}}
  - {on: CHECKED, from: OPEN, to: PAID_UP, when: has(event.size) && 10 / event.size > 1}
  - {on: CHECKED, from: OPEN, to: DONE, when: has(event.size) && event.size > 2}
  - {on: LATE, from: OPEN, to: DONE, when: 'now >= timestamp("2030-01-01T00:00:00Z")'}
actions:
  - name: REFUND
    allowed_states: [REFUNDABLE]
    required_permissions: [orders.refund]
    risk: low
    approval: never
    lock: none
permissions:
  roles: {agent: [orders.refund], event_source: [events.ingest]}
"""


class Clock:
    """Stands where the test puts it."""

    def __init__(self, at: int = 1_800_000_000_000) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1000


class Shop:
    """A runtime over memory, and what events did to order 1."""

    def __init__(self, *, text: str = SHOP, clock: Clock | None = None) -> None:
        self.store = MemoryStore(clock)
        self.runtime = Runtime(self.store, SIGNER, domains=[load(text)], clock=clock)

    def tell(self, *events: str, **payload: Any) -> Any:
        """The events in turn, the last one with the payload. Returns its answer."""
        for event in events:
            last = payload if event is events[-1] else {"total": 50} if event == "PLACED" else {}
            answer = self.runtime.ingest(STRIPE, type=event, entity=ORDER, payload=last).result(20)
        return answer

    @property
    def data(self) -> dict[str, Any]:
        state = self.runtime.read.state(ORDER)
        assert state is not None
        found: dict[str, Any] = json.loads(state.data)
        return found

    def last(self, kind: str) -> dict[str, Any]:
        records = [each["data"] for each in self.runtime.read.timeline(ORDER) if each["kind"] == kind]
        data: dict[str, Any] = records[-1]
        return data

    def problems(self) -> list[str]:
        """What a check of everything finds, and replay."""
        self.runtime.checkpoint().result(20)
        found = (*verify_store(self.store, KEYS).problems, *replay_store(self.store).problems)
        return [f"{problem.where} {problem.field}" for problem in found]


@pytest.fixture
def shop() -> Any:
    made = Shop()
    yield made
    assert made.problems() == []
    made.runtime.close()


def test_an_event_whose_guards_are_all_false_leaves_everything_as_it_was(shop: Shop) -> None:
    shop.tell("PLACED", "PAID")
    before = shop.runtime.read.state(ORDER)
    answer = shop.tell("REFUNDED", amount=51)
    assert (answer.applied, answer.code, answer.state) == (False, "invalid_transition", "PAID_UP")
    assert shop.runtime.read.state(ORDER) == before
    refused = shop.last("transition_refused")
    assert (refused["reason"], refused["type"], refused["state"]) == ("guard_not_met", "REFUNDED", "PAID_UP")


def test_two_guards_that_are_true_at_once_refuse(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    assert shop.tell("CHECKED", size=4).state == "OPEN"
    refused = shop.last("transition_refused")
    assert refused["reason"] == "policy_error"
    assert refused["message"] == "the guards of 2 ways are true at once, to `DONE`, `PAID_UP`"


def test_a_guard_without_a_value_refuses_and_the_next_event_goes_on(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    answer = shop.tell("CHECKED", size=0)
    assert (answer.applied, answer.state) == (False, "OPEN")
    assert (
        shop.last("transition_refused")["message"] == "the guard of the way to `PAID_UP` has no value: division by zero"
    )
    assert shop.tell("CHECKED", size=1).state == "PAID_UP"


def test_a_value_that_does_not_fit_its_attribute_refuses(shop: Shop) -> None:
    answer = shop.tell("PLACED", total=-1)
    assert (answer.applied, answer.state, answer.version) == (False, None, 0)
    refused = shop.last("transition_refused")
    assert refused["reason"] == "policy_error"
    assert refused["message"] == "what is set does not fit: `total` must be at least 0"


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "payload.total"),
        ({"total": "50"}, "payload.total"),
        ({"total": 0.001}, "payload.total"),
        ({"total": None}, "payload.total"),
    ],
)
def test_a_payload_that_does_not_fit_refuses(payload: dict[str, Any], field: str, shop: Shop) -> None:
    answer = shop.tell("PLACED", **payload)
    assert (answer.applied, answer.code) == (False, "invalid_transition")
    refused = shop.last("transition_refused")
    assert (refused["reason"], refused["field"]) == ("invalid_payload", field)
    assert "total" in answer.message


def test_a_refused_payload_is_not_repeated(shop: Shop) -> None:
    answer = shop.tell("PLACED", total="a secret")
    assert "secret" not in answer.message
    assert "secret" not in json.dumps(shop.last("transition_refused"))


def test_an_event_that_leads_nowhere_is_not_asked_about_its_payload(shop: Shop) -> None:
    shop.tell("REFUNDED", amount="x")
    assert shop.last("transition_refused")["reason"] == "no_transition"


def test_what_a_payload_holds_besides_is_kept_and_not_read(shop: Shop) -> None:
    assert shop.tell("PLACED", total=50, currency="EUR").state == "OPEN"
    assert shop.data == {"total": 50}


def test_the_first_event_sets_and_defaults_are_there_from_the_start(shop: Shop) -> None:
    shop.tell("PLACED", total=49.5)
    assert shop.data == {"total": 49.5}
    shop.tell("PAID")
    assert shop.tell("REFUNDED", amount=49.5).state == "DONE"
    assert shop.data == {"paid_in": 1, "refunded": 49.5, "total": 49.5}


def test_what_is_set_is_recorded_with_its_event_and_nothing_else_is(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    assert shop.last("event_ingested")["set"] == {"total": 50}
    shop.tell("CHECKED", size=1)
    assert "set" not in shop.last("event_ingested")
    shop.tell("REFUNDED", amount=51)
    assert "set" not in shop.last("event_ingested"), "a refused event sets nothing"


def test_money_adds_up_exactly(shop: Shop) -> None:
    shop.tell("PLACED", total=0.3)
    shop.tell("PAID")
    assert shop.tell("REFUNDED", amount=0.1).state == "PARTLY"
    assert shop.tell("REFUNDED", amount=0.2).state == "DONE", "in doubles, 0.1 + 0.2 is more than 0.3"
    assert shop.data["refunded"] == 0.3


def test_values_are_read_off_the_entity_as_it_was() -> None:
    """A swap is only right when everything is set at once."""
    text = """
entity: Pair
attributes: {a: {type: integer, default: 1}, b: {type: integer, default: 2}}
events: [MADE, SWAPPED]
states: [X]
transitions:
  - {on: MADE, to: X}
  - {on: SWAPPED, from: X, set: {a: entity.b, b: entity.a}}
"""
    domain, pair = load(text), EntityState("t", "pair:1", "", "X", 1)
    for expected in ({"a": 2, "b": 1}, {"a": 1, "b": 2}):
        pair = transition(domain, pair, "SWAPPED", {}, 0).entity
        assert json.loads(pair.data) == expected


def test_a_guard_that_asks_the_time_folds_with_the_time_of_the_record() -> None:
    clock = Clock()
    shop = Shop(clock=clock)
    shop.tell("PLACED", total=50)
    assert shop.tell("LATE").applied is False
    clock.at += 4 * 365 * 86_400_000
    assert shop.tell("LATE").state == "DONE"
    assert shop.runtime.read.rebuild(ORDER).match
    assert shop.problems() == []
    shop.runtime.close()


def test_a_large_payload_and_a_large_value_stand_beside_the_log(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    shop.tell("NOTED", note="n" * 7000)
    assert shop.data["note"] == "n" * 7000
    record = shop.last("event_ingested")
    assert set(record) == {"event", "set_beside"}
    assert "payload_beside" in record["event"]
    assert shop.runtime.read.rebuild(ORDER).match
    assert len(shop.store.rows(Blob, "default")) == 1, "both are one text"


def test_a_value_beyond_its_schema_is_refused_whatever_its_size(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    assert shop.tell("NOTED", note="n" * 8001).applied is False
    assert "note" not in shop.data


def test_a_state_of_the_past_has_its_attributes(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    shop.tell("PAID")
    shop.tell("REFUNDED", amount=20)
    seqs = [each["seq"] for each in shop.runtime.read.timeline(ORDER) if each["kind"] == "event_ingested"]
    states = [shop.runtime.read.state_at(ORDER, seq) for seq in seqs]
    assert [json.loads(state.data) for state in states if state] == [
        {"total": 50},
        {"paid_in": 1, "total": 50},
        {"paid_in": 1, "refunded": 20, "total": 50},
    ]


def tampered(shop: Shop, **columns: Any) -> list[str]:
    """What is found once somebody changed the order's row."""
    key = (EntityState, "default", ORDER)
    kept = shop.store._rows[key]
    assert isinstance(kept, EntityState)
    values = {name: getattr(kept, name) for name in EntityState.__struct_fields__}
    shop.store._rows[key] = EntityState(**(values | columns))
    try:
        return shop.problems()
    finally:
        shop.store._rows[key] = kept


def test_attributes_that_somebody_changed_are_found(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    found = tampered(shop, data=b'{"total":500}')
    assert found == [f"entity {ORDER} data"] * 2, "by the rows' check, and by replay"
    assert tampered(shop, timers=1) == [f"entity {ORDER} timers"] * 2
    assert tampered(shop) == [], "the control"


def test_what_a_record_says_was_set_is_folded_again_too(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    rows = shop.store._records["default"]
    at = next(index for index, row in enumerate(rows) if b'"event_ingested"' in row.body)
    kept, changed = rows[at], structs.replace(rows[at], body=rows[at].body.replace(b'"set":{"total":50}', b'"set":{}'))
    assert kept.body != changed.body
    rows[at] = changed
    assert [f"{problem.where} {problem.field}" for problem in replay_store(shop.store).problems] == [
        f"record {kept.seq} data.set"
    ]
    rows[at] = kept


def test_what_an_action_was_asked_fills_the_payloads_of_its_events_but_nothing_sensitive() -> None:
    schema = {"type": "number", "unit": "USD"}
    domain = Domain(
        name="shop",
        entity="Order",
        events=["REFUNDED", "NOTED", "CLOSED"],
        payloads={"REFUNDED": {"amount": schema, "note": {"type": "string"}}, "NOTED": {"amount": schema}},
    )
    contract = ActionContract(
        "REFUND",
        parameters={"amount": schema, "note": {"type": "string", "sensitive": True}, "more": {}},
        emits=Emits(success=("REFUNDED", "CLOSED")),
    )
    asked = {"amount": 49.5, "note": "a secret", "more": 1}
    assert payloads_of(domain, contract, asked) == b'{"REFUNDED":{"amount":49.5}}'
    assert payloads_of(domain, ActionContract("WAIT"), asked) == b"{}"


def test_a_rebuild_compares_the_attributes(shop: Shop) -> None:
    shop.tell("PLACED", total=50)
    kept = shop.store._rows[EntityState, "default", ORDER]
    assert isinstance(kept, EntityState)
    shop.store._rows[EntityState, "default", ORDER] = EntityState("default", ORDER, "shop", "OPEN", 1, b'{"total":51}')
    assert shop.runtime.read.rebuild(ORDER).match is False
    shop.store._rows[EntityState, "default", ORDER] = kept
    assert shop.runtime.read.rebuild(ORDER).match


def test_an_attribute_that_another_version_reads_otherwise_withholds() -> None:
    """A value of the old type is no value for the new guard, and nothing crashes over it."""
    domain = load(SHOP)
    order = EntityState("t", ORDER, "shop", "PAID_UP", 2, b'{"total":"fifty"}')
    folded = transition(domain, order, "REFUNDED", {"amount": 1}, 0)
    assert (folded.entity, folded.refusal and folded.refusal.reason) == (order, "policy_error")


SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_events_fold_the_same_again(seed: int) -> None:
    print(f"seed {seed}")
    draw, domain, shop = random.Random(seed), load(SHOP), Shop()
    state = EntityState("default", ORDER, "shop", None, 0)
    for _ in range(60):
        event = draw.choice(domain.events)
        payload = {draw.choice(("total", "amount", "note", "size")): draw.choice((0, 1, 2.5, 0.001, "x", None, 40, -1))}
        shop.tell(event, **payload)
        state = _folded(domain, state, event, payload).entity
        assert shop.runtime.read.state(ORDER) == (state if state.version else None)
    assert shop.runtime.read.rebuild(ORDER).match
    assert shop.problems() == []
    shop.runtime.close()


def _folded(domain: Domain, state: EntityState, event: str, payload: dict[str, Any]) -> Folded:
    return transition(domain, state, event, admit(payload).value, 1_800_000_000_000)
