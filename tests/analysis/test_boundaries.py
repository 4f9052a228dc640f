"""The calls worth asking about: they stand where answers turn, fit their schemas, and are the same every time."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from governed_cases import DOMAIN, changed, one_action

from kiff import load
from kiff.analysis.boundaries.candidate import Candidate, ask
from kiff.analysis.boundaries.candidates import candidates
from kiff.analysis.boundaries.sample_text import sample_text
from kiff.domain.parameters import searcher


def tried(action: str = "REFUND", **more: Any) -> list[Candidate]:
    return list(candidates(DOMAIN, action, **more)) if more else usual(action)


@cache
def usual(action: str) -> list[Candidate]:
    return list(candidates(DOMAIN, action))


def spoke(candidate: Candidate) -> tuple[str, ...]:
    return ask(DOMAIN, candidate).matched


def test_the_first_call_goes_through() -> None:
    assert ask(DOMAIN, tried(limit=1)[0]).outcome == "allowed"


@pytest.mark.parametrize("rule", ["too_much", "large", "risky", "late"])
def test_there_is_a_call_at_which_each_rule_alone_speaks_up(rule: str) -> None:
    alone = [each for each in tried() if spoke(each) == (rule,)]
    assert any(len(ask(DOMAIN, each).objections) == 1 for each in alone)


@pytest.mark.parametrize("amount", [49.99, 50, 50.01, 1000, 1000.01, 20.01, 5000, 5000.01, 2000, 2000.01])
def test_numbers_of_conditions_schemas_and_caps_are_tried_with_their_neighbours(amount: float) -> None:
    assert amount in {each.parameters.get("amount") for each in tried()}


def test_a_sum_is_tried_where_it_turns_whatever_the_others_are() -> None:
    over = [each for each in tried() if each.attributes["total"] not in (0, 1) and "too_much" in spoke(each)]
    assert any(each.parameters["amount"] == each.attributes["total"] + 0.01 for each in over)


def test_what_is_optional_is_there_and_is_not() -> None:
    assert {"risk" in each.attributes for each in tried()} == {True, False}


def test_every_state_and_every_role_is_tried() -> None:
    assert {each.state for each in tried()} == set(DOMAIN.states)
    assert {(role,) for role in DOMAIN.roles} <= {each.roles for each in tried()}


def test_windows_are_tried_open_and_closed_at_instants_at_which_they_are() -> None:
    office = DOMAIN.schedules["office"]
    assert {each.schedule["office"] for each in tried()} == {True, False}
    assert all(office.is_open(each.at) is each.schedule["office"] for each in tried())


def test_a_pattern_gets_a_text_that_matches_it() -> None:
    valid = [each for each in tried() if not DOMAIN.parameter_checks["REFUND"](each.parameters)]
    assert len(valid) > len(tried()) / 2


def test_the_same_domain_gives_the_same_calls_each_once() -> None:
    first, second = tried(limit=300), tried(limit=300)
    assert first == second
    assert len({repr(each) for each in first}) == len(first) == 300


def test_another_version_brings_its_own_numbers_and_roles() -> None:
    other = changed(
        ("parameters.amount > 50,", "parameters.amount > 77,"), ("{agent:", "{clerk: [orders.refund], agent:")
    )
    assert 77.01 not in {each.parameters.get("amount") for each in tried()}
    both = tried(besides=(other,))
    assert 77.01 in {each.parameters.get("amount") for each in both}
    assert ("clerk",) in {each.roles for each in both}


CONDITIONS = {
    "an item that is listed": '"gift" in parameters.amount',
    "one of the items": 'parameters.amount.exists(t, t == "gift")',
    "how many": "size(parameters.amount) > 2",
    "a beginning": 'parameters.amount.exists(t, t.startsWith("g"))',
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_lists_are_tried_so_that_a_condition_is_true_and_false(name: str) -> None:
    schema = "amount: {type: array, maxItems: 4, items: {type: string, maxLength: 10}}"
    domain = load(one_action(f"{{id: listed, when: '{CONDITIONS[name]}', then: deny}}", parameters=schema))
    spoken = {"listed" in ask(domain, each).matched for each in candidates(domain, "REFUND")}
    assert spoken == {True, False}


PATTERNS = ["^re_[A-Za-z0-9]+$", r"^\d{4}-\d{2}$", "^(eu|us)-[^a-f]{3}$", "^a?b*c+$", r"x\.y", "^[A-Z]{2,}$", "^.{8,}$"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_text_for_a_pattern_matches_it(pattern: str) -> None:
    text = sample_text(pattern, 0, 40)
    assert text is not None
    assert searcher(pattern)(text)


def test_no_text_is_made_up_for_a_pattern_that_matches_nothing_so_short() -> None:
    assert sample_text("^[0-9]{9}$", 0, 5) is None
