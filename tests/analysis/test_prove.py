"""Proofs: planted defects are found, sound domains give nothing, and what is not known is never said to be proved."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from governed_cases import DOMAIN, TEXT, changed, one_action

from kiff import Domain, load
from kiff.analysis.prove import Remark, Report, parse, prove, prove_access
from kiff.domain import loader
from kiff.errors import InvalidInput

pytestmark = pytest.mark.slow
Found = set[tuple[str, str, str]]


def report(text: str, *invariants: str, seconds: float = 5.0) -> Report:
    return prove(load(text), loader.read(text).value, [parse(each) for each in invariants], seconds)


def told(remarks: tuple[Remark, ...]) -> Found:
    """Code, level, and the name that is said first."""
    return {(each.code, each.level, each.reason.split("`")[1]) for each in remarks}


def about(rules: str, **more: Any) -> Found:
    """What is said about these rules, beside one that is in order."""
    return told(report(one_action(rules, **more)).remarks)


DEAD: dict[str, str] = {
    "beyond the schema": "{id: a, when: parameters.amount > 500, then: deny}",
    "by a cent": "{id: a, when: parameters.amount < 1, then: deny}",
    "against itself": "{id: a, when: parameters.amount > 100 && parameters.amount < 50, then: deny}",
    "between two cents": "{id: a, when: parameters.amount > 50 && parameters.amount < 50.01, then: deny}",
    "in a state where it may not start": '{id: a, when: entity.state == "BACK", then: deny}',
    "no value of an enum is left": '{id: a, when: entity.tier != "gold" && entity.tier != "silver", then: deny}',
    "a product that is never odd": "{id: a, when: parameters.amount * 2 == 99.99, then: deny}",
    "an absent one that is there": '{id: a, when: "!has(parameters.amount)", then: deny}',
    "a role that comes and goes": '{id: a, when: "\\"x\\" in actor.roles && !(\\"x\\" in actor.roles)", then: deny}',
}


@pytest.mark.parametrize("name", DEAD)
def test_a_rule_that_is_never_true_is_found(name: str) -> None:
    assert about(DEAD[name]) == {("dead_rule", "warning", "a")}


def test_a_rule_that_is_dead_only_beside_when_says_so() -> None:
    text = one_action("{id: a, when: parameters.amount > 400, then: deny}", when="parameters.amount <= 400")
    [remark] = report(text).remarks
    assert (remark.code, remark.reason) == ("dead_rule", "`a` is never true where `when` is")


ALIVE = [
    "{id: a, when: parameters.amount >= 500, then: deny}",
    "{id: a, when: parameters.amount > 50 && parameters.amount < 50.02, then: deny}",
    "{id: a, when: parameters.amount * 2 == 99.98, then: deny}",
    '{id: a, when: entity.tier == "gold" && parameters.amount > 499.98, then: deny}',
]


@pytest.mark.parametrize("rule", ALIVE)
def test_a_rule_that_is_true_for_one_call_gives_nothing(rule: str) -> None:
    assert about(rule) == set()


ALWAYS = [
    "parameters.amount >= 1",
    "parameters.amount > 0.99",
    '"entity.tier == \\"gold\\" || entity.tier == \\"silver\\""',
]


@pytest.mark.parametrize("condition", ALWAYS)
def test_a_rule_that_is_always_true_is_found(condition: str) -> None:
    assert about(f"{{id: a, when: {condition}, then: deny}}") == {("always_true_rule", "warning", "a")}


DENY = "{id: a, when: parameters.amount > 100, then: deny}"
ASK = DENY.replace("deny", "require_approval")
PAIRS: dict[str, tuple[str, Found]] = {
    "deny under deny": (
        "{id: a, when: parameters.amount > 100, then: deny}\n{id: b, when: parameters.amount > 50, then: deny}",
        {("shadowed_rule", "warning", "a")},
    ),
    "ask under deny": (
        ASK + "\n{id: b, when: parameters.amount > 50, then: deny}",
        {("shadowed_rule", "warning", "a")},
    ),
    "ask under as strict an ask": (
        "{id: a, when: parameters.amount > 100, then: require_approval}\n"
        "{id: b, when: parameters.amount > 50, then: require_approval, quorum: 2}",
        {("shadowed_rule", "warning", "a")},
    ),
    "the same": (
        "{id: a, when: parameters.amount > 100, then: deny}\n{id: b, when: parameters.amount >= 100.01, then: deny}",
        {("same_rules", "warning", "a")},
    ),
    "deny under ask": (
        DENY + "\n{id: b, when: parameters.amount > 50, then: require_approval}",
        set(),
    ),
    "an ask for more people": (
        "{id: a, when: parameters.amount > 100, then: require_approval, quorum: 2}\n"
        "{id: b, when: parameters.amount > 50, then: require_approval}",
        set(),
    ),
    "an ask for other people": (
        "{id: a, when: parameters.amount > 100, then: require_approval, roles: [boss]}\n"
        "{id: b, when: parameters.amount > 50, then: require_approval, quorum: 2}",
        set(),
    ),
    "under one that only shadows": (
        DENY + "\n{id: b, when: parameters.amount > 50, then: deny, mode: shadow}",
        set(),
    ),
    "apart by a cent": (
        DENY + "\n{id: b, when: parameters.amount > 100.01, then: require_approval}",
        {("shadowed_rule", "warning", "b")},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_rule_that_another_one_makes_needless_is_found(name: str) -> None:
    rules, expected = PAIRS[name]
    assert about(rules) == expected


def test_an_error_withholds_as_a_refusal_does() -> None:
    """`a` divides by nothing at 0, which withholds; only where `b` is true there too, it is needless."""
    schema = "amount: {type: integer, minimum: 0, maximum: 9}"
    rules = "{id: a, when: 100 / parameters.amount > 60, then: deny}\n{id: b, when: parameters.amount == 1, then: deny}"
    assert about(rules, parameters=schema) == {("shadowed_rule", "warning", "b")}
    assert about(rules.replace("== 1", "<= 1"), parameters=schema) == {("same_rules", "warning", "a")}


@pytest.mark.parametrize(
    ("when", "code"), [("parameters.amount > 500", "never_runs"), ("parameters.amount <= 500", "idle_condition")]
)
def test_a_precondition_that_says_nothing_or_always_no_is_found(when: str, code: str) -> None:
    [remark] = [r for r in report(one_action("", when=when)).remarks if r.path == ("actions", 0, "when")]
    assert (remark.code, remark.level) == (code, "warning")


GUARDS = ("when: entity.refunded + event.amount < entity.total", "when: entity.refunded + event.amount <= entity.total")


def test_guards_that_are_true_at_once_are_found_with_an_event_that_is_refused() -> None:
    text = TEXT.replace(*GUARDS)
    overlaps = [each for each in report(text).remarks if each.code == "guards_overlap"]
    assert {each.level for each in overlaps} == {"error"}
    assert {each.path for each in overlaps} == {("transitions", 4, "when")}
    [case] = overlaps[0].example["cases"]  # type: ignore[index]
    assert case["then"][0]["expect"] == {"error": "policy_error"}


def test_a_gap_between_guards_is_told_and_may_be_meant() -> None:
    text = TEXT.replace(GUARDS[0], "when: entity.refunded + event.amount < entity.total - 1")
    assert {(each.code, each.level) for each in report(text).remarks} == {("guards_gap", "info")}


def test_a_guard_that_is_never_true_is_found() -> None:
    text = TEXT.replace("{on: CLOSED, from: OPEN,", "{on: CLOSED, from: OPEN, when: entity.total > 10000,")
    found = [each for each in report(text).remarks if each.code == "dead_transition"]
    assert [(each.level, each.path) for each in found] == [("warning", ("transitions", 5, "when"))]


def test_a_sound_domain_gives_nothing_and_everything_about_it_is_proved() -> None:
    found = report(TEXT)
    assert found.remarks == ()
    assert found.asked == found.proved > 20


SPURIOUS = (
    "{id: a, when: 'parameters.amount.all(n, n > 5) && parameters.amount.exists(n, n < 3)', then: deny}",
    "amount: {type: array, maxItems: 3, items: {type: integer}}",
)


def test_an_example_that_the_evaluator_does_not_confirm_is_not_shown() -> None:
    """No list is like that, but of what is in lists the solver knows nothing."""
    [remark] = report(one_action(SPURIOUS[0], parameters=SPURIOUS[1])).remarks
    assert (remark.code, remark.level, remark.example) == ("dead_rule", "unknown", None)
    assert "the evaluator disagrees" in remark.reason


def test_a_list_for_which_a_rule_is_true_is_found_all_the_same() -> None:
    rule = "{id: a, when: 'parameters.amount.all(n, n > 5) && size(parameters.amount) == 2', then: deny}"
    assert about(rule, parameters=SPURIOUS[1]) == set()


HARD = "parameters.{0} * parameters.{0} * parameters.{0}"
FERMAT = f"{HARD.format('x')} + {HARD.format('y')} == {HARD.format('z')}"
THREE = "\n      ".join(f"{name}: {{type: integer, minimum: 2, maximum: 1000000}}" for name in "xyz")


def test_what_takes_too_long_is_unknown_and_not_proved() -> None:
    condition = " && ".join(f"has(parameters.{name})" for name in "yz") + f" && {FERMAT}"
    found = report(one_action(f"{{id: a, when: '{condition}', then: deny}}", parameters=THREE), seconds=0.2)
    assert [(each.code, each.level) for each in found.remarks] == [("dead_rule", "unknown")]
    assert "not decided in 0.2 s" in found.remarks[0].reason
    assert found.proved == found.asked - 1


def test_reals_are_said_to_be_what_numbers_were_taken_as() -> None:
    schema = "amount: {type: number, minimum: 0, maximum: 1}"
    [remark] = report(one_action("{id: a, when: parameters.amount > 1, then: deny}", parameters=schema)).remarks
    assert remark.reason.endswith("numbers without a unit are taken as reals")


def test_without_the_solver_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    with pytest.raises(InvalidInput, match=r"pip install 'kiff\[prove\]'"):
        report(TEXT)


# Two versions

SQUARE = "amount: {type: integer, minimum: 2, maximum: 10000}\n      other: {type: integer, minimum: 2, maximum: 10000}"
PRIMES = "has(parameters.other) && parameters.amount < parameters.other && parameters.amount * parameters.other == 3953"


def primes(rules: str) -> Domain:
    return load(one_action(rules, parameters=SQUARE))


def test_the_solver_finds_a_call_that_trying_does_not() -> None:
    """59 * 67 stands nowhere in the rule."""
    proof = prove_access(primes(f"{{id: a, when: '{PRIMES}', then: deny}}"), primes(""), seconds=20, calls=200)
    assert [(each.kind, each.reason) for each in proof.found] == [("new_access", "a")]
    assert proof.found[0].candidate.parameters == {"amount": 59, "other": 67}
    assert not proof.proved


PROVED = [
    (("amount > 50,", "amount > 49.99,"),),
    (("parameters.amount > entity.total - entity.refunded", "parameters.amount + entity.refunded > entity.total"),),
    (("has(entity.risk) && entity.risk >= 60", "'!has(entity.risk) || entity.risk > 59'"),),
    (("per: day", "per: month"), ("max: 2000", "max: 1999.99")),
    (("!schedule.office && ", ""), ("quorum: 2", "quorum: 3")),
    (("08:00-20:00", "09:00-19:00"),),
    (("boss: [orders.refund, orders.approve]", "boss: [orders.approve]"),),
]


@pytest.mark.parametrize("edits", PROVED)
def test_a_version_that_only_tightens_is_proved_to(edits: tuple[tuple[str, str], ...]) -> None:
    proof = prove_access(DOMAIN, changed(*edits), calls=200)
    assert (proof.proved, proof.found, proof.unknown) == (True, (), ())


@pytest.mark.parametrize("edits", [PROVED[0], *PROVED[2:-1]])
def test_backwards_it_is_not(edits: tuple[tuple[str, str], ...]) -> None:
    assert not prove_access(changed(*edits), DOMAIN, calls=200).proved


def test_a_version_about_which_nobody_knows_is_not_proved() -> None:
    spurious, plain = (load(one_action(rule, parameters=SPURIOUS[1])) for rule in (SPURIOUS[0], ""))
    proof = prove_access(spurious, plain, calls=200)
    assert (proof.found, proof.proved) == ((), False)
    assert proof.unknown[0].startswith("`REFUND`, whether it runs where it did not: ")


ENUM, CURRENCY = "note: {type: string, enum: [a, b]}", "enum: [USD, EUR], default: "
MEANINGS: dict[str, tuple[str, str]] = {
    "hours": ('hours: "08:00-20:00"', 'hours: "06:00-22:00"'),
    "an enum": (ENUM, ENUM.replace("b]", "b, c]")),
    "a default": (CURRENCY + "EUR", CURRENCY + "USD"),
    "a zone": ("America/New_York", "Europe/Lisbon"),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_two_versions_that_mean_another_thing_by_one_name_are_not_taken_for_the_same(name: str) -> None:
    """Nearly nothing is tried, so it is the solver that answers."""
    text = TEXT.replace("note: {type: string, maxLength: 40}", ENUM).replace(CURRENCY + "USD", CURRENCY + "EUR")
    old, new = MEANINGS[name]
    assert old in text
    assert not prove_access(load(text), load(text.replace(old, new)), calls=1).proved


UNSET = TEXT.replace("unit: USD, default: 0}\n  refunded", "unit: USD}\n  refunded")
NEEDLESS = "      - {id: much, when: parameters.amount > entity.total + 1, then: deny}\n"


def test_a_rule_that_fails_where_an_attribute_was_never_set_is_not_proved_needless() -> None:
    """`much` is implied by another rule; where that one does not read the total, only for orders that have one."""
    rest = "      - {id: too_much, when: parameters.amount > entity.total - entity.refunded, then: deny}\n"
    assert rest in UNSET
    has_both = load(UNSET.replace(rest, rest + NEEDLESS))
    asks = UNSET.replace(rest, rest.replace("entity.total - entity.refunded", "1") + NEEDLESS)
    assert prove_access(has_both, load(UNSET), calls=1).proved
    proof = prove_access(load(asks), load(asks.replace(NEEDLESS, "")), calls=1)
    assert [each.reason for each in proof.found] == ["policy_error"]
    assert "total" not in proof.found[0].candidate.attributes
