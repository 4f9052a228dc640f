"""What a transition table lets happen, beside the plainest way to find it out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kiff.domain.machine import Transitions, closed_groups, leading_to, reachable

STATES = ("A", "B", "C", "D", "E")
TABLES = st.dictionaries(
    st.tuples(st.sampled_from((None, *STATES)), st.sampled_from(("x", "y"))), st.sampled_from(STATES), max_size=12
)


def naively(transitions: Transitions, start: str | None) -> set[str]:
    """Adds what one more event leads to, until that adds nothing."""
    found: set[str | None] = {start}
    while True:
        more = found | {end for (begin, _), end in transitions.items() if begin in found}
        if more == found:
            return {state for state in found if state is not None}
        found = more


def test_nothing_leads_nowhere() -> None:
    assert reachable({}) == frozenset()
    assert reachable({}, "A") == {"A"}
    assert closed_groups({}, ["A", "B"]) == [("A",), ("B",)]


def test_a_state_without_a_way_into_it_is_not_reached() -> None:
    assert reachable({(None, "x"): "A", ("B", "x"): "C"}) == {"A"}


def test_the_way_back_begins_with_the_states_themselves() -> None:
    assert leading_to({(None, "x"): "A", ("A", "x"): "B", ("C", "x"): "C"}, ["B"]) == {"A", "B"}


def test_a_circle_is_one_group_and_what_leads_into_it_is_none() -> None:
    table = {("A", "x"): "B", ("B", "x"): "C", ("C", "x"): "B", ("D", "x"): "D"}
    assert closed_groups(table, STATES) == [("B", "C"), ("D",), ("E",)]


@given(TABLES, st.sampled_from((None, *STATES)))
def test_reachability_is_the_plain_fixpoint(table: Transitions, start: str | None) -> None:
    assert reachable(table, start) == naively(table, start)


@given(TABLES, st.sets(st.sampled_from(STATES)))
def test_the_way_back_is_reachability_seen_from_the_other_end(table: Transitions, ends: set[str]) -> None:
    assert leading_to(table, ends) == {state for state in STATES if naively(table, state) & ends}


@given(TABLES)
def test_whatever_is_entered_ends_in_a_closed_group(table: Transitions) -> None:
    groups = [set(group) for group in closed_groups(table, STATES)]
    assert all(naively(table, state) == group for group in groups for state in group)
    assert all(any(group <= naively(table, state) for group in groups) for state in STATES)
