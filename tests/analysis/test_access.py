"""What a version lets through that another does not: found, and shown with a call that both gates decided."""

from __future__ import annotations

from functools import cache

import pytest
from governed_cases import DOMAIN, TEXT, changed

from kiff import load
from kiff.analysis.access.calls import Access, access, access_json, pair
from kiff.analysis.access.governed import governed
from kiff.analysis.access.moves import moves
from kiff.analysis.prove import prove_access
from kiff.domain import load_policy
from kiff.errors import InvalidInput

pytestmark = pytest.mark.slow

Edit = tuple[str, str]
CALLS = 500
RISKY = "      - {id: risky, when: has(entity.risk) && entity.risk >= 60, then: require_approval}\n"
LOOSER: dict[str, tuple[Edit, set[tuple[str, str]]]] = {
    "a threshold that is raised": (("amount > 50,", "amount > 80,"), {("new_access", "large")}),
    "an edge that moves by a cent": (("amount > 50,", "amount > 50.01,"), {("new_access", "large")}),
    "a rule that is gone": ((RISKY, ""), {("new_access", "risky")}),
    "a rule that only shadows": (
        ("when: parameters.amount > 50,", "mode: shadow, when: parameters.amount > 50,"),
        {("new_access", "large")},
    ),
    "a refusal that became a question": (("then: deny", "then: require_approval"), {("approvable", "too_much")}),
    "a condition that is gone": (('    when: entity.currency == "USD"\n', ""), {("new_access", "condition_not_met")}),
    "a wider schema": (("maxLength: 40", "maxLength: 60"), {("new_access", "invalid_parameter")}),
    "a state more": (
        ("allowed_states: [PAID, PARTLY]", "allowed_states: [PAID, PARTLY, OPEN]"),
        {("new_access", "state_not_allowed")},
    ),
    "a role more": (
        ("finance: [orders.approve]", "finance: [orders.approve], clerk: [orders.refund]"),
        {("new_access", "permission_denied"), ("approvable", "permission_denied")},
    ),
    "fewer people": ((", quorum: 2, roles", ", roles"), {("fewer_people", "larger")}),
    "other people": (("roles: [boss, finance]", "roles: [boss, finance, agent]"), {("fewer_people", "larger")}),
    "no approval": (("approval: required", "approval: never"), {("new_access", "approval_required")}),
    "a cap that is raised": (("max: 2000", "max: 3000"), {("new_access", "budget_exceeded")}),
    "a shorter window": (("per: day", "per: hour"), {("new_access", "budget_exceeded")}),
    "a key that counts apart": ((", key: actor.id", ", key: entity.id"), {("new_access", "budget_exceeded")}),
    "longer hours": (("08:00-20:00", "08:00-22:00"), {("new_access", "late")}),
    "no lock": (
        ("    emits: [REFUNDED]\n", "    emits: [REFUNDED]\n    lock: none\n"),
        {("new_access", "entity_busy")},
    ),
    "more reviewers": (
        ("finance: [orders.approve]", "finance: [orders.approve], clerk: [orders.approve]"),
        {("weaker_review", "large"), ("weaker_review", "approval_required")},
    ),
}
TIGHTER: dict[str, Edit] = {
    "nothing": ("version: v1", "version: v2"),
    "a threshold that is lowered": ("amount > 50,", "amount > 49.99,"),
    "the same in other words": (
        "parameters.amount > entity.total - entity.refunded",
        "parameters.amount + entity.refunded > entity.total",
    ),
    "a question that became a refusal": ("entity.risk >= 60, then: require_approval", "entity.risk >= 60, then: deny"),
    "more people": ("quorum: 2", "quorum: 3"),
    "fewer roles": ("roles: [boss, finance]", "roles: [boss]"),
    "a narrower schema": ("maximum: 5000", "maximum: 4000"),
    "a longer window": ("per: day", "per: month"),
    "one count for all": (", key: actor.id", ""),
    "a lower cap": ("max: 2000", "max: 100"),
    "a role less": ("boss: [orders.refund, orders.approve]", "boss: [orders.approve]"),
    "shorter hours": ("08:00-20:00", "09:00-20:00"),
    "a new rule": (RISKY, RISKY + RISKY.replace("risky", "riskier").replace("60", "40")),
    "a new parameter": ("      note:", "      memo: {type: string, maxLength: 9}\n      note:"),
}


@cache
def found(name: str) -> list[Access]:
    return access(DOMAIN, changed(LOOSER[name][0]), calls=CALLS)


def told(found: list[Access]) -> set[tuple[str, str]]:
    return {(each.kind, each.reason) for each in found}


@pytest.mark.parametrize("name", LOOSER)
def test_what_is_looser_is_found_by_its_reason(name: str) -> None:
    assert told(found(name)) == LOOSER[name][1]


@pytest.mark.parametrize("name", LOOSER)
def test_the_same_change_backwards_gives_nothing(name: str) -> None:
    edit, _ = LOOSER[name]
    back = access(changed(edit), DOMAIN, calls=CALLS)
    assert told(back) <= ({("new_access", "budget_exceeded")} if name == "a key that counts apart" else set())


@pytest.mark.parametrize("name", TIGHTER)
def test_what_is_tighter_or_the_same_gives_nothing(name: str) -> None:
    assert access(DOMAIN, changed(TIGHTER[name]), calls=CALLS) == []


@pytest.mark.parametrize("name", LOOSER)
def test_a_call_that_is_shown_is_decided_by_both_gates_again(name: str) -> None:
    after = changed(LOOSER[name][0])
    for each in found(name):
        again = pair(DOMAIN, after, each.candidate)
        assert (again.before, again.after) == (each.before, each.after)
        assert each.before.outcome != "allowed"


def test_several_changes_are_told_apart_and_the_worst_comes_first() -> None:
    after = changed(LOOSER["fewer people"][0], LOOSER["a rule that is gone"][0], LOOSER["no approval"][0])
    assert [(each.kind, each.reason) for each in access(DOMAIN, after)] == [
        ("new_access", "risky"),
        ("new_access", "approval_required"),
        ("fewer_people", "larger"),
    ]


def test_a_new_action_is_new_access() -> None:
    action = TEXT[TEXT.index("  - name: VOID") : TEXT.index("permissions:\n")].replace("VOID", "ERASE")
    after = changed(
        ("\npermissions:\n", "\n" + action.replace("approval: required", "approval: never") + "permissions:\n")
    )
    assert told(access(DOMAIN, after)) == {("new_access", "unknown_action")}


def test_what_is_told_holds_a_test_of_the_earlier_version() -> None:
    [cap] = found("a cap that is raised")
    said = access_json(DOMAIN, cap)
    [case] = said["case"]["cases"]
    assert (said["before"]["outcome"], said["after"]["outcome"]) == ("limit_exceeded", "allowed")
    assert case["expect"] == {"outcome": "limit_exceeded", "reasons": ["budget_exceeded"]}
    assert case["given"] == {"used": {"spend": 2000}}


def test_versions_of_different_entities_are_not_compared() -> None:
    with pytest.raises(InvalidInput, match="found `Order` and `Parcel`"):
        access(DOMAIN, changed(("entity: Order", "entity: Parcel")))


HOUSE = "policy: house\nrules: [{id: careful, when: has(parameters.amount) && parameters.amount > 10, then: deny}]\n"


def test_a_policy_that_is_relaxed_is_new_access_though_the_domain_stays_what_it_is() -> None:
    strict, relaxed = (governed(DOMAIN, load_policy(HOUSE.replace("10", limit))) for limit in ("10", "30"))
    assert told(access(strict, relaxed, calls=CALLS)) == {("new_access", "careful")}
    assert access(relaxed, strict, calls=CALLS) == []
    assert told(access(strict, DOMAIN, calls=CALLS)) == {("new_access", "careful")}
    assert prove_access(DOMAIN, strict, calls=100).proved


def test_a_transition_more_is_a_move() -> None:
    after = changed(("{on: CLOSED, from: OPEN,", "{on: CLOSED, from: [OPEN, PAID],"))
    assert [each.message for each in moves(DOMAIN, after)] == ["`CLOSED` in PAID leads to SHUT, where it was refused"]
    assert moves(after, DOMAIN) == []


def test_a_guard_that_turns_elsewhere_is_a_move() -> None:
    edits = (
        ("event.amount >= entity.total\n", "event.amount > entity.total\n"),
        ("event.amount < entity.total\n", "event.amount <= entity.total\n"),
    )
    turned = moves(DOMAIN, changed(*edits))
    assert {(each.occurrence.state, each.before, each.to) for each in turned} == {("PAID", "DONE", "PARTLY")}
    assert moves(DOMAIN, load(TEXT)) == []
