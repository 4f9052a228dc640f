"""How objections become a decision: all of them are collected, and the most severe one decides."""

from __future__ import annotations

import ast
import inspect
import itertools

import pytest
from gate_cases import DOMAIN, FACTS, asked, codes, proposal
from msgspec.structs import replace

from kiff.gate import CHECKS, MESSAGES, checks, decide, explain
from kiff.protocol.decision import SEVERITY, Decision, Facts, Objection

ORDER = ("state", "permissions", "conditions", "rules", "limits", "executor", "runway", "approval")
WRONG = {
    "state": {"state": "OPEN"},
    "permissions": {"roles": ()},
    "executor": {"executor_ready": False},
    "runway": {"holder": "clr_9"},
    "approval": {"approval": "mismatch", "approval_id": "appr_1"},
}
CODE = {
    "state": "state_not_allowed",
    "permissions": "permission_denied",
    "executor": "executor_missing",
    "runway": "entity_busy",
    "approval": "approval_mismatch",
}


def test_the_order_of_the_checks_is_the_protocol() -> None:
    assert tuple(check.__name__ for check in CHECKS) == ORDER


@pytest.mark.parametrize("count", range(1, 6))
def test_every_objection_is_collected_in_gate_order(count: int) -> None:
    for wrong in itertools.combinations(WRONG, count):
        facts = {name: value for check in wrong for name, value in WRONG[check].items()}
        assert codes(asked(**facts)) == [CODE[check] for check in wrong]


def test_what_is_invalid_comes_before_what_is_blocked_and_a_hold_comes_last() -> None:
    """In gate order the parameters come first and the approval last; here the hold must not lead either."""
    decision = asked(proposal(parameters={}), approval="pending", state="OPEN", holder="clr_9")
    assert decision.outcome == "invalid"
    assert codes(decision) == [
        "missing_parameter",
        "missing_parameter",
        "state_not_allowed",
        "entity_busy",
        "approval_required",
    ]


def test_a_hold_is_not_opened_for_what_would_be_refused_anyway() -> None:
    decision = asked(proposal("REFUND_MUCH"), holder="clr_9")
    assert decision.outcome == "blocked"
    assert codes(decision) == ["entity_busy", "approval_required"]


def test_a_grant_gets_past_nothing_but_the_demand_for_it() -> None:
    for facts in (WRONG["state"], WRONG["permissions"], WRONG["executor"], WRONG["runway"]):
        assert asked(proposal("REFUND_MUCH"), approval="granted", **facts).outcome == "blocked"


def test_the_outcome_is_that_of_the_most_severe_objection(monkeypatch: pytest.MonkeyPatch) -> None:
    """With checks made for it: every mixture of outcomes, in every order."""
    module = inspect.getmodule(decide)
    outcomes = ("approval_required", "limit_exceeded", "blocked", "invalid")
    for mixture in itertools.product(outcomes, repeat=3):
        given = tuple(
            (lambda *_, o=outcome, n=number: (Objection(f"c{n}", o),)) for number, outcome in enumerate(mixture)
        )
        monkeypatch.setattr(module, "CHECKS", given)
        decision = decide(DOMAIN, proposal(), FACTS)
        assert decision.outcome == max(mixture, key=SEVERITY.__getitem__)
        severities = [SEVERITY[objection.outcome] for objection in decision.objections]
        assert severities == sorted(severities, reverse=True)
        same = [o.code for o in decision.objections if o.outcome == decision.outcome]
        assert same == sorted(same), "within one severity the order of the gate stays"


def test_deciding_twice_decides_the_same() -> None:
    facts = replace(FACTS, state="OPEN", roles=(), holder="clr_9", approval="denied", approval_id="appr_1")
    assert decide(DOMAIN, proposal(), facts) == decide(DOMAIN, proposal(), facts)


def emitted() -> set[str]:
    """Every text in the checks that is a reason code: first arguments of Objection, and the table beside it."""
    tree = ast.parse(inspect.getsource(checks))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Objection" and isinstance(call.args[0], ast.Constant)
    }
    return {str(code) for code in named} | set(checks._SPENT.values()) | {"missing_parameter", "invalid_parameter"}


def test_every_reason_the_gate_can_give_has_a_sentence() -> None:
    assert len(emitted()) >= 12
    assert emitted() <= MESSAGES.keys()


@pytest.mark.parametrize("facts", WRONG.values(), ids=WRONG)
def test_a_refusal_explains_itself_in_one_line(facts: dict[str, object]) -> None:
    told = explain(asked(**facts))
    assert told
    assert told[0].islower()
    assert "\n" not in told
    assert not told.endswith(".")


def test_the_explanation_says_what_would_have_to_change() -> None:
    assert "needs PAID" in explain(asked(state="OPEN"))
    assert "orders.refund" in explain(asked(roles=("viewer",)))
    assert "clr_9" in explain(asked(holder="clr_9"))
    assert "`reason`" in explain(asked(proposal(parameters={"amount": 1})))
    assert "denied" in explain(asked(proposal("REFUND_MUCH"), approval="denied"))


def test_the_gate_reads_nothing_but_its_arguments() -> None:
    """Facts that are equal decide alike, however they came about."""
    again = Facts(**{name: getattr(FACTS, name) for name in Facts.__struct_fields__})
    assert decide(DOMAIN, proposal(), again) == decide(DOMAIN, proposal(), FACTS) == Decision("allowed")
