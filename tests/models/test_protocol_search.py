"""Approvals, clearances, runways and budgets in every order (DESIGN section 9: 1, 2, 3, 9, 10, 11, 12, 16, 21).

A search that finds nothing is worth what it would find: every mutant must be found, with the way to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from mutants import MUTANTS, planted
from reliability import note_run
from universe import Universe, search
from universes import (
    UNIVERSES,
    one_grant,
    own_proposal,
    races,
    retries,
    runs_on_grant,
    runway,
    services_agents,
    two_people,
)

SOAK = os.environ.get("KIFF_SOAK") == "1"
pytestmark = pytest.mark.soak if SOAK else pytest.mark.slow

MOST = 15_000 if SOAK else 1_500
"""How many states of one universe are visited."""
WITHIN = 2_500
"""How many states it may take to find a mutant."""

FOUND_IN: dict[Callable[[], Universe], tuple[str, ...]] = {
    two_people: (
        "approval_is_not_consumed",
        "grant_is_good_for_ever",
        "grant_outlives_the_entity",
        "one_person_counts_twice",
        "a_person_is_their_principal",
        "one_yes_is_enough",
        "votes_never_lapse",
        "grant_outlives_its_votes",
        "runway_is_not_taken",
        "answered_twice",
    ),
    own_proposal: (
        "proposer_reviews",
        "proposer_reviews_in_another_name",
        "anybody_reviews",
        "answered_after_its_time",
        "denial_keeps_the_budget",
        "pending_holds_no_budget",
    ),
    services_agents: ("anything_reviews", "budget_is_not_reserved"),
    one_grant: (
        "grant_fits_any_call",
        "digest_leaves_the_amount_out",
        "unknown_frees_the_runway",
        "unknown_gives_the_budget_back",
        "review_is_not_remembered",
    ),
    retries: (
        "unknown_is_sent_again",
        "final_answer_is_decided_again",
        "same_id_other_call",
        "settled_again_and_again",
        "failure_keeps_the_budget",
        "dispute_leaves_the_runway_free",
        "dispute_gives_the_budget_back",
    ),
    runway: (
        "a_late_report_frees_anothers_runway",
        "clearance_ends_before_its_time",
        "anybody_says_what_happened",
    ),
    runs_on_grant: ("grant_runs_what_has_its_answer", "unknown_is_decided_again"),
    races: ("stale_batches_are_written",),
}


@pytest.mark.parametrize("universe", UNIVERSES, ids=lambda universe: universe.__name__)
def test_no_order_of_commands_breaks_a_promise(universe: Callable[[], Universe]) -> None:
    nothing_is_found(universe.__name__, universe, MOST)


@pytest.mark.parametrize("universe", UNIVERSES, ids=lambda universe: universe.__name__)
def test_no_order_of_replicas_that_lose_replies_and_die_breaks_a_promise(universe: Callable[[], Universe]) -> None:
    apart = lambda: universe()._replace(replicas=2, losses=2 if SOAK else 1)  # noqa: E731
    nothing_is_found(f"{universe.__name__}-replicas", apart, MOST)


def nothing_is_found(name: str, universe: Callable[[], Universe], most: int) -> None:
    found = search(universe, most=most)
    seen = "all of them" if found.complete else "the nearest"
    print(f"{name}: {found.states} states ({seen}), {found.moves} moves")
    note_run(f"search-{name}", 0, {"states": found.states, "moves": found.moves})
    assert (found.broken, found.trace) == ("", ())
    assert found.states > 10


@pytest.mark.parametrize(
    ("universe", "name"),
    [(universe, name) for universe, names in FOUND_IN.items() for name in names],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_control_a_broken_rule_is_found(universe: Callable[[], Universe], name: str) -> None:
    with planted(MUTANTS[name]):
        found = search(universe, most=WITHIN)
    print(f"{name}, after {found.states} states: {found.broken}")
    print("\n".join(f"  {number}. {move}" for number, move in enumerate(found.trace, 1)))
    assert found.broken
    assert found.trace


def test_every_mutant_is_looked_for() -> None:
    assert sorted(name for names in FOUND_IN.values() for name in names) == sorted(MUTANTS)


def test_a_mutant_leaves_nothing_behind() -> None:
    name = "approval_is_not_consumed"
    before = MUTANTS[name].function.__code__
    with planted(MUTANTS[name]):
        assert MUTANTS[name].function.__code__ is not before
    assert MUTANTS[name].function.__code__ is before
