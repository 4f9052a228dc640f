"""What an agent may say of its own effect: that what it was cleared for happened, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from lane_cases import AGENT, SIGNER, STRIPE, told

from kiff import Runtime, load
from kiff.errors import Forbidden, InvalidInput
from kiff.stores.memory import MemoryStore

SHOP = """
domain: shop
version: v1
entity: Order
attributes: {refunded: {type: number, default: 0, unit: USD}}
events: [PAID, REFUNDED]
payloads: {REFUNDED: {amount: {type: number, unit: USD}}}
states: [PAID_UP]
transitions:
  - {on: PAID, to: PAID_UP}
  - {on: REFUNDED, from: PAID_UP, set: {refunded: entity.refunded + event.amount}}
actions:
  - name: REFUND
    allowed_states: [PAID_UP]
    required_parameters: [amount]
    required_permissions: [orders.refund]
    risk: low
    approval: never
    parameters: {amount: {type: number, minimum: 0, maximum: 1000, unit: USD}}
    emits: {success: [REFUNDED], failure: []}
permissions: {roles: {ops_agent: [orders.refund], event_source: [events.ingest]}}
"""


@pytest.fixture
def shop() -> Iterator[Runtime]:
    with Runtime(MemoryStore(), SIGNER, domains=[load(SHOP)]) as runtime:
        told(runtime.ingest(STRIPE, type="PAID", entity="order:1"))
        yield runtime


def cleared(shop: Runtime) -> str:
    answer = told(shop.propose(AGENT, entity="order:1", action="REFUND", parameters={"amount": 50}, settles=True))
    assert answer.outcome == "allowed"
    return str(answer.clearance_id)


def refunded(shop: Runtime) -> Any:
    state = shop.read.state("order:1")
    assert state is not None
    return json.loads(state.data).get("refunded", 0)


def test_an_agent_may_not_post_another_amount_than_it_was_cleared_for(shop: Runtime) -> None:
    cleared(shop)
    event = {"type": "REFUNDED", "entity": "order:1", "payload": {"amount": 5}}
    assert isinstance(told(shop.ingest(AGENT, **event)), Forbidden)
    assert refunded(shop) == 0


def test_an_agent_may_not_settle_with_another_amount_than_it_was_cleared_for(shop: Runtime) -> None:
    operation = cleared(shop)
    events = [{"type": "REFUNDED", "payload": {"amount": 5}}]
    refused = told(shop.settle(AGENT, operation, "succeeded", events=events))
    assert (type(refused), refused.detail["field"]) == (InvalidInput, "events.payload.amount")
    assert refunded(shop) == 0


@pytest.mark.parametrize("payload", [{"amount": 50}, {"amount": 50, "reference": "re_1"}])
def test_control_what_it_was_cleared_for_it_may_tell(shop: Runtime, payload: dict[str, Any]) -> None:
    cleared(shop)
    assert told(shop.ingest(AGENT, type="REFUNDED", entity="order:1", payload=payload)).applied
    assert refunded(shop) == 50


def test_a_success_that_says_nothing_of_the_amount_is_what_was_cleared(shop: Runtime) -> None:
    assert told(shop.settle(AGENT, cleared(shop), "succeeded")).status == "succeeded"
    assert refunded(shop) == 50


def test_whoever_may_say_what_happened_may_say_another_amount(shop: Runtime) -> None:
    cleared(shop)
    assert told(shop.ingest(STRIPE, type="REFUNDED", entity="order:1", payload={"amount": 5})).applied
    assert refunded(shop) == 5
