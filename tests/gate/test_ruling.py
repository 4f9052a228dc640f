"""Which rules speak up about a call: those that hold, and those that have no answer, each by itself."""

from __future__ import annotations

from typing import Any

import pytest

from kiff import ActionContract, Domain, Rule
from kiff.gate.case import Ruled, ruling

PARAMETERS = {"x": {"type": "integer"}, "y": {"type": "integer"}}


def rules(*conditions: str) -> Any:
    """The terms of an action whose rules are called after their places."""
    asked = [Rule(id=f"rule_{n}", when=condition, then="deny") for n, condition in enumerate(conditions)]
    action = ActionContract(name="GO", required_parameters=["x", "y"], parameters=PARAMETERS, rules=asked)
    return Domain(name="shop", entity="Order", actions=[action]).terms["GO"]


def spoke(found: tuple[Ruled, ...]) -> list[tuple[str, bool]]:
    """(reason code, whether it had no answer) of each."""
    return [(each.bound.code, each.error is not None) for each in found]


def test_rules_that_hold_are_found_in_the_order_of_the_contract() -> None:
    terms = rules("parameters.x > 5", "parameters.x > 1", "parameters.y == 2", "parameters.x > 2")
    assert spoke(ruling(terms, {"parameters": {"x": 3, "y": 2}})) == [
        ("rule_1", False),
        ("rule_2", False),
        ("rule_3", False),
    ]


def test_where_none_holds_none_is_found() -> None:
    assert ruling(rules("parameters.x > 5", "parameters.y > 5"), {"parameters": {"x": 5, "y": 5}}) == ()


@pytest.mark.parametrize("facts", [{"x": 3}, {"x": 3, "y": True}, {"x": 3, "y": "2"}, {"x": 3, "y": None}])
def test_a_rule_without_an_answer_is_found_and_hides_no_other(facts: dict[str, Any]) -> None:
    terms = rules("parameters.x > 1", "parameters.y == 2", "parameters.x > 5", "parameters.x > 2")
    found = ruling(terms, {"parameters": facts})
    assert spoke(found) == [("rule_0", False), ("rule_1", True), ("rule_3", False)]
    assert found[1].error is not None and found[1].error.path == "parameters.y"


def test_a_condition_that_breaks_says_why() -> None:
    found = ruling(rules("parameters.x / parameters.y > 1", "parameters.x == 3"), {"parameters": {"x": 3, "y": 0}})
    assert spoke(found) == [("rule_0", True), ("rule_1", False)]
    assert found[0].error is not None and found[0].error.message == "division by zero"


def test_facts_of_no_shape_at_all_leave_every_rule_without_an_answer() -> None:
    assert spoke(ruling(rules("parameters.x > 1", "parameters.y > 1"), {})) == [("rule_0", True), ("rule_1", True)]
