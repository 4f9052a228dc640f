"""What an author says must always hold: read strictly, proved, or shown to be broken by a call that was decided."""

from __future__ import annotations

import pytest
from governed_cases import DOMAIN, TEXT, changed

from kiff import load
from kiff.analysis.prove import Invariant, Remark, broken_by, parse
from kiff.analysis.prove.invariants import prove
from kiff.domain import Domain
from kiff.errors import InvalidInput

pytestmark = pytest.mark.slow

READ = {
    "parameters.amount > 50 => withheld": Invariant("", condition="parameters.amount > 50"),
    "REFUND: parameters.amount >= 1 => allowed": Invariant(
        "", action="REFUND", condition="parameters.amount >= 1", expected="allowed"
    ),
    "entity.risk > 1 ? true : false => blocked": Invariant(
        "", condition="entity.risk > 1 ? true : false", expected="blocked"
    ),
    "no path to DONE without approval": Invariant("", state="DONE"),
    "DONE needs approval": Invariant("", state="DONE"),
}


@pytest.mark.parametrize("text", READ)
def test_an_invariant_is_read(text: str) -> None:
    expected = READ[text]
    found = parse(f"  {text} ")
    assert (found.state, found.action, found.condition, found.expected) == (
        expected.state,
        expected.action,
        expected.condition,
        expected.expected,
    )


@pytest.mark.parametrize("text", ["", "amount > 50", "=> withheld", "x => denied", "no path to DONE", "x -> withheld"])
def test_what_is_no_invariant_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"expected `condition => allowed \| withheld \| approval_required \| blocked`"
    ):
        parse(text)


UNFIT = {
    "NOTHING: true => withheld": "expected an action of the domain, found `NOTHING`",
    "parameters.weight > 1 => withheld": "fits no action: `parameters` has no field `weight`",
    "parameters.amount > 'a' => withheld": "fits no action",
    "NOWHERE needs approval": "expected a state of the domain, found `NOWHERE`",
}


@pytest.mark.parametrize("text", UNFIT)
def test_an_invariant_that_does_not_fit_the_domain_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=UNFIT[text]):
        prove(DOMAIN, parse(text))


PLAIN = "entity.refunded == 0 && entity.currency == 'USD' && parameters.amount <= entity.total"
HOLDS = [
    "parameters.amount > 50 => withheld",
    "parameters.amount > entity.total => blocked",
    f"REFUND: {PLAIN} && parameters.amount > 50 && parameters.amount <= 2000 => approval_required",
    f"REFUND: {PLAIN} && parameters.amount <= 20 && !has(entity.risk) => allowed",
    "VOID: true => approval_required",
    "entity.currency == 'EUR' => withheld",
]
BROKEN = {
    "parameters.amount >= 50 => withheld": {"allowed"},
    "parameters.amount >= entity.total => blocked": {"allowed", "approval_required"},
    "REFUND: parameters.amount > 50 => approval_required": {"blocked", "limit_exceeded"},
    f"REFUND: {PLAIN} && parameters.amount <= 20.01 => allowed": {"approval_required"},
    "parameters.amount > 0 => withheld": {"allowed"},
    "REFUND: has(entity.risk) && entity.risk > 59 => blocked": {"approval_required"},
}


@pytest.mark.parametrize("text", HOLDS)
def test_an_invariant_that_holds_is_proved(text: str) -> None:
    assert prove(DOMAIN, parse(text), 10) == []
    assert broken_by(DOMAIN, parse(text), calls=300) == []


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_invariant_is_shown_by_a_call(text: str) -> None:
    [remark] = prove(DOMAIN, parse(text), 10)
    assert (remark.code, remark.level) == ("invariant_broken", "error")
    [case] = remark.example["cases"]  # type: ignore[index]
    assert case["expect"]["outcome"] in BROKEN[text]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_invariant_is_found_without_a_solver_too(text: str) -> None:
    assert [each.code for each in broken_by(DOMAIN, parse(text))][:1] == ["invariant_broken"]


def reached(domain: Domain, state: str) -> list[tuple[str, str]]:
    return [(each.code, each.level) for each in prove(domain, parse(f"{state} needs approval"), 5)]


def test_a_state_that_is_reached_by_an_action_which_runs_outright_is_found_with_its_path() -> None:
    [remark] = prove(DOMAIN, parse("no path to DONE without approval"), 5)
    assert (remark.code, remark.level) == ("unapproved_path", "error")
    assert remark.reason.endswith("`PLACED` to `OPEN`, `PAID` to `PAID`, `REFUNDED` by `REFUND` to `DONE`")
    [case] = remark.example["cases"]  # type: ignore[index]
    assert case["expect"] == {"outcome": "allowed"}


def test_a_state_behind_actions_that_always_ask_needs_approval() -> None:
    asks = changed(("parameters.amount > 50,", "parameters.amount > 0,"))
    assert reached(asks, "DONE") == []
    assert reached(asks, "PARTLY") == []


def test_an_approval_anywhere_on_the_way_is_enough() -> None:
    """SETTLE runs outright, and only behind REFUND, which always asks."""
    action = TEXT[TEXT.index("  - name: VOID") : TEXT.index("permissions:\n")]
    settle = action.replace("VOID", "SETTLE").replace("emits: []", "emits: [CLOSED]").replace("DONE]", "PARTLY]")
    settle = (
        settle.replace("[PARTLY, PARTLY]", "[PARTLY]")
        .replace("required", "never", 2)
        .replace("never_perm", "required_perm")
    )
    edits = (
        ("parameters.amount > 50,", "parameters.amount > 0,"),
        ("{on: CLOSED, from: OPEN,", "{on: CLOSED, from: PARTLY,"),
        ("\npermissions:\n", "\n" + settle + "permissions:\n"),
    )
    assert reached(changed(*edits), "SHUT") == []
    assert reached(changed(*edits[1:]), "SHUT") == [("unapproved_path", "error")]


def test_an_event_from_outside_is_told_with_where_it_comes_from() -> None:
    [remark] = prove(DOMAIN, parse("SHUT needs approval"), 5)
    assert (remark.code, remark.level) == ("outside_event", "info")
    assert remark.reason == "`CLOSED` leads to `SHUT` from `OPEN`, and comes from callers with the role `feed`"


def test_a_path_is_not_looked_for_without_a_solver() -> None:
    with pytest.raises(InvalidInput, match="takes a proof"):
        broken_by(load(TEXT), parse("DONE needs approval"))


def test_remarks_have_no_example_that_was_not_tried() -> None:
    assert Remark("x", "unknown", (), "").example is None
