"""Permissions that nobody may hold together: it makes no difference how they come by them."""

from __future__ import annotations

from gate_cases import asked, codes, proposal

from kiff import load
from kiff.domain import Domain

APART: Domain = load(
    """
domain: shop
version: v1
entity: Order
events: [PAID]
states: [PAID]
transitions:
  - {on: PAID, to: PAID}
actions:
  - name: REFUND
    allowed_states: [PAID]
    required_parameters: [amount, reason]
    required_permissions: [orders.refund]
    risk: low
    approval: never
    executor: shop.refund
    parameters:
      amount: {type: number, maximum: 100}
      reason: {type: string, maxLength: 20}
permissions:
  separate: [[orders.refund, orders.approve]]
  grants:
    - {role: viewer, permissions: [orders.refund], when: parameters.amount < 50}
  roles: {agent: [orders.refund], viewer: [orders.see], boss: [orders.approve]}
"""
)


def test_a_permission_that_is_given_under_a_condition_counts_as_held() -> None:
    decision = asked(domain=APART, roles=("viewer", "boss"))
    assert (decision.outcome, codes(decision)) == ("blocked", ["permission_denied"])
    assert decision.objections[0].detail["held_together"] == ["orders.refund", "orders.approve"]


def test_a_permission_that_a_role_always_has_counts_as_held() -> None:
    assert codes(asked(domain=APART, roles=("agent", "boss"))) == ["permission_denied"]


def test_where_its_condition_is_not_met_it_is_lacking_and_nothing_is_held_together() -> None:
    over = proposal(parameters={"amount": 50, "reason": "asked"})
    decision = asked(over, domain=APART, roles=("viewer", "boss"))
    assert [each.detail["missing_permissions"] for each in decision.objections] == [["orders.refund"]]


def test_one_of_them_alone_passes() -> None:
    assert asked(domain=APART, roles=("viewer",)).outcome == "allowed"
