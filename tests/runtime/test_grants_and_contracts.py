"""A grant is good for the contract it was given under: whoever may answer now decides, and a final answer stands."""

from __future__ import annotations

from limit_cases import BUDGET, MOVES, TILL, till

from kiff import Caller, Principal
from kiff.errors import Forbidden

BOARD = ("approval_policy: {expires: 1h}", "approval_policy: {expires: 1h, permissions: [till.board]}")
SEATS = ("ops_operator: [till.approve]", "ops_operator: [till.approve], board: [till.board]")
RUNS = MOVES.replace("{expires: 1h}", "{expires: 1h, on_grant: run}")
APART = TILL.replace("permissions:\n", "permissions:\n  separate: [[till.look, till.approve]]\n").replace(
    "ops_agent: [till.pay]", "ops_agent: [till.pay], viewer: [till.look]"
)


def test_a_grant_given_before_the_contract_named_other_reviewers_runs_nothing() -> None:
    with till(approval="required") as shop:
        asked = shop.pay(50)
        shop.grant(asked)
        assert shop.change(BOARD, SEATS).changed
        assert shop.pay(50, approval_id=asked.approval_id).outcome == "approval_required"
        assert shop.payer.paid == []


def test_a_question_from_before_is_not_answered_for_the_new_contract() -> None:
    with till(approval="required") as shop:
        asked = shop.pay(50)
        shop.change(BOARD, SEATS)
        assert shop.grant(asked).status == "granted"
        again = shop.pay(50, approval_id=asked.approval_id)
        assert (again.outcome, again.approval_id != asked.approval_id) == ("approval_required", True)


def test_a_grant_is_still_good_where_the_next_version_asks_the_same_people() -> None:
    """The control."""
    with till(approval="required") as shop:
        asked = shop.pay(50)
        shop.grant(asked)
        assert shop.change(SEATS).changed
        assert shop.pay(50, approval_id=asked.approval_id).executed


def test_a_stricter_kind_of_evidence_makes_an_older_grant_useless() -> None:
    with till(approval="required") as shop:
        asked = shop.pay(50)
        shop.grant(asked)
        shop.change(("{expires: 1h}", "{expires: 1h, evidence: session}"))
        assert shop.pay(50, approval_id=asked.approval_id).outcome == "approval_required"


def test_a_call_that_was_answered_for_good_is_not_run_by_a_later_grant() -> None:
    with till(BUDGET, approval="required", text=RUNS) as shop:
        asked = shop.pay(50, id="call-1")
        shop.told("SHUT")
        assert shop.pay(50, id="call-1").reason == "state_not_allowed"
        assert shop.told("OPENED").applied
        granted = shop.grant(asked)
        assert (granted.status, granted.operation_id) == ("granted", None)
        assert (shop.pay(50, id="call-1").outcome, shop.payer.paid) == ("blocked", [])


def test_a_call_that_still_waits_is_run_by_its_grant() -> None:
    """The control."""
    with till(BUDGET, approval="required", text=RUNS) as shop:
        assert shop.grant(shop.pay(50, id="call-1")).operation_id is not None


def test_whoever_holds_what_must_be_kept_apart_answers_nothing() -> None:
    with till(approval="required", text=APART) as shop:
        asked = shop.pay(50)
        both = Caller(Principal("both", "human"), ("viewer", "ops_operator"))
        refused = shop.grant(asked, who=both)
        assert (type(refused), refused.code) == (Forbidden, "permission_denied")
        assert shop.grant(asked).status == "granted"
