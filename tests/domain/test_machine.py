"""What a transition table lets happen, beside the plainest way to find it out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kiff.domain.machine import Transitions, closed_groups, leading_to, reachable
from kiff.domain.way import Way

STATES = ("A", "B", "C", "D", "E")
ENDS = st.lists(st.sampled_from(STATES), min_size=1, max_size=2)
TABLES = st.dictionaries(
    st.tuples(st.sampled_from((None, *STATES)), st.sampled_from(("x", "y"))),
    ENDS.map(lambda ends: tuple(map(Way, ends))),
    max_size=12,
)


def table(*rows: tuple[str | None, str]) -> Transitions:
    """Every row an event of its own."""
    return {(start, f"e{number}"): (Way(end),) for number, (start, end) in enumerate(rows)}


def naively(transitions: Transitions, start: str | None) -> set[str]:
    """Adds what one more event leads to, until that adds nothing."""
    found: set[str | None] = {start}
    while True:
        more = found | {way.to for (begin, _), ways in transitions.items() if begin in found for way in ways}
        if more == found:
            return {state for state in found if state is not None}
        found = more


def test_nothing_leads_nowhere() -> None:
    assert reachable({}) == frozenset()
    assert reachable({}, "A") == {"A"}
    assert closed_groups({}, ["A", "B"]) == [("A",), ("B",)]


def test_a_state_without_a_way_into_it_is_not_reached() -> None:
    assert reachable(table((None, "A"), ("B", "C"))) == {"A"}


def test_every_way_of_an_event_leads_on_whatever_guards_say() -> None:
    assert reachable({(None, "x"): (Way("A"), Way("B")), ("B", "x"): (Way("C"),)}) == {"A", "B", "C"}


def test_the_way_back_begins_with_the_states_themselves() -> None:
    assert leading_to(table((None, "A"), ("A", "B"), ("C", "C")), ["B"]) == {"A", "B"}


def test_a_circle_is_one_group_and_what_leads_into_it_is_none() -> None:
    circle = table(("A", "B"), ("B", "C"), ("C", "B"), ("D", "D"))
    assert closed_groups(circle, STATES) == [("B", "C"), ("D",), ("E",)]


@given(TABLES, st.sampled_from((None, *STATES)))
def test_reachability_is_the_plain_fixpoint(machine: Transitions, start: str | None) -> None:
    assert reachable(machine, start) == naively(machine, start)


@given(TABLES, st.sets(st.sampled_from(STATES)))
def test_the_way_back_is_reachability_seen_from_the_other_end(machine: Transitions, ends: set[str]) -> None:
    assert leading_to(machine, ends) == {state for state in STATES if naively(machine, state) & ends}


@given(TABLES)
def test_whatever_is_entered_ends_in_a_closed_group(machine: Transitions) -> None:
    groups = [set(group) for group in closed_groups(machine, STATES)]
    assert all(naively(machine, state) == group for group in groups for state in group)
    assert all(any(group <= naively(machine, state) for group in groups) for state in STATES)
