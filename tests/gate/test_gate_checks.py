"""One class per question the gate asks. Refusals first; then the case next to it, which passes."""

from __future__ import annotations

import pytest
from gate_cases import DOMAIN, FACTS, asked, codes, proposal

from kiff import Domain


class TestIntent:
    def test_a_type_that_nobody_governs_is_invalid(self) -> None:
        decision = asked(domain=None)
        assert (decision.outcome, codes(decision)) == ("invalid", ["unknown_entity_type"])
        assert decision.objections[0].detail == {"entity": "order:ord_1"}

    def test_an_action_that_nobody_declared_is_invalid_and_told_what_there_is(self) -> None:
        decision = asked(proposal("REFUNDS"))
        assert (decision.outcome, codes(decision)) == ("invalid", ["unknown_action"])
        assert decision.objections[0].detail["actions"] == ["LOOK", "REFUND", "REFUND_MUCH", "REFUND_PERHAPS"]

    @pytest.mark.parametrize("name", ["refund", "REFUND ", "", "__class__"])
    def test_a_name_that_is_nearly_an_action_is_none(self, name: str) -> None:
        assert codes(asked(proposal(name))) == ["unknown_action"]

    def test_without_a_contract_nothing_else_is_asked(self) -> None:
        assert codes(asked(proposal("REFUNDS"), state="OPEN", roles=(), holder="clr_1")) == ["unknown_action"]


class TestParameters:
    @pytest.mark.parametrize(
        ("parameters", "found"),
        [
            ({}, ["missing_parameter", "missing_parameter"]),
            ({"amount": 49}, ["missing_parameter"]),
            ({"amount": 49, "reason": None}, ["missing_parameter"]),
            ({"amount": 101, "reason": "asked"}, ["invalid_parameter"]),
            ({"amount": "49", "reason": "asked"}, ["invalid_parameter"]),
            ({"amount": True, "reason": "asked"}, ["invalid_parameter"]),
            ({"amount": 49, "reason": "x" * 21}, ["invalid_parameter"]),
            ({"amount": 49, "reason": "asked", "to": "me"}, ["invalid_parameter"]),
        ],
    )
    def test_parameters_that_do_not_fit_are_invalid(self, parameters: dict[str, object], found: list[str]) -> None:
        decision = asked(proposal(parameters=parameters))
        assert (decision.outcome, codes(decision)) == ("invalid", found)

    def test_every_wrong_parameter_is_named(self) -> None:
        decision = asked(proposal(parameters={"amount": 101, "to": "me"}))
        assert {objection.detail["parameter"] for objection in decision.objections} == {"amount", "reason", "to"}

    def test_a_contract_without_schemas_takes_any(self) -> None:
        assert asked(proposal("REFUND_MUCH", {"what": ["ever"]}), approval="granted").outcome == "allowed"


class TestState:
    @pytest.mark.parametrize("state", ["OPEN", None, "paid", ""])
    def test_another_state_is_blocked_and_told_which(self, state: str | None) -> None:
        decision = asked(state=state)
        assert (decision.outcome, codes(decision)) == ("blocked", ["state_not_allowed"])
        assert decision.objections[0].detail == {"current_state": state, "allowed_states": ["PAID"]}

    def test_an_allowed_state_passes(self) -> None:
        assert asked(state="PAID").outcome == "allowed"


class TestPermissions:
    @pytest.mark.parametrize(
        ("roles", "missing"),
        [
            ((), ["orders.refund", "orders.see"]),
            (("agent",), ["orders.see"]),
            (("viewer",), ["orders.refund"]),
            (("Agent", "VIEWER"), ["orders.refund", "orders.see"]),
            (("orders.refund", "orders.see"), ["orders.refund", "orders.see"]),
            (("nobody",), ["orders.refund", "orders.see"]),
        ],
    )
    def test_roles_that_lack_one_are_blocked_and_told_which(self, roles: tuple[str, ...], missing: list[str]) -> None:
        decision = asked(roles=roles)
        assert (decision.outcome, codes(decision)) == ("blocked", ["permission_denied"])
        assert decision.objections[0].detail == {"missing_permissions": missing, "roles": list(roles)}

    def test_several_roles_add_up(self) -> None:
        assert asked(roles=("viewer", "agent")).outcome == "allowed"


class TestExecutor:
    @pytest.mark.parametrize("ready", [False, None])
    def test_nothing_to_run_is_blocked(self, ready: bool | None) -> None:
        decision = asked(executor_ready=ready)
        assert (decision.outcome, codes(decision)) == ("blocked", ["executor_missing"])
        assert decision.objections[0].detail == {"executor": "shop.refund"}

    def test_the_app_runs_its_own_tool(self) -> None:
        assert asked(proposal(mode="decide"), executor_ready=None).outcome == "allowed"


class TestRunway:
    def test_an_entity_that_is_held_is_busy_and_told_by_whom(self) -> None:
        decision = asked(holder="clr_9")
        assert (decision.outcome, codes(decision)) == ("blocked", ["entity_busy"])
        assert decision.objections[0].detail == {"operation_id": "clr_9"}

    def test_an_action_without_a_lock_does_not_wait(self) -> None:
        assert asked(proposal("LOOK"), holder="clr_9").outcome == "allowed"

    def test_a_free_entity_passes(self) -> None:
        assert asked(holder=None).outcome == "allowed"


class TestApproval:
    @pytest.mark.parametrize("action", ["REFUND_MUCH", "REFUND_PERHAPS"])
    @pytest.mark.parametrize("standing", [None, "pending"])
    def test_without_a_yes_it_is_held(self, action: str, standing: str | None) -> None:
        decision = asked(proposal(action), approval=standing)
        assert (decision.outcome, codes(decision)) == ("approval_required", ["approval_required"])

    @pytest.mark.parametrize(
        ("standing", "code"),
        [("expired", "approval_expired"), ("mismatch", "approval_mismatch")],
    )
    @pytest.mark.parametrize("action", ["REFUND_MUCH", "REFUND"])
    def test_a_yes_that_is_not_good_here_is_blocked(self, action: str, standing: str, code: str) -> None:
        """Also where none was needed: whoever names an approval means it."""
        decision = asked(proposal(action), approval=standing, approval_id="appr_1")
        assert (decision.outcome, codes(decision)) == ("blocked", [code])
        assert decision.objections[0].detail == {"approval_id": "appr_1"}

    @pytest.mark.parametrize("action", ["REFUND_MUCH", "REFUND"])
    def test_a_yes_that_was_used_names_the_operation_that_used_it(self, action: str) -> None:
        used = {"approval": "used", "approval_id": "appr_1", "operation_id": "clr_1", "operation_status": "succeeded"}
        decision = asked(proposal(action), **used)
        assert (decision.outcome, codes(decision)) == ("blocked", ["approval_used"])
        assert decision.objections[0].detail == {
            "approval_id": "appr_1",
            "operation_id": "clr_1",
            "status": "succeeded",
        }

    def test_a_no_is_terminal_and_answers_as_the_state(self) -> None:
        decision = asked(proposal("REFUND_MUCH"), approval="denied", approval_id="appr_1")
        assert (decision.outcome, codes(decision)) == ("blocked", ["state_not_allowed", "approval_denied"])

    def test_a_no_is_not_told_twice_that_the_state_is_wrong(self) -> None:
        decision = asked(proposal("REFUND_MUCH"), approval="denied", state="OPEN")
        assert codes(decision) == ["state_not_allowed", "approval_denied"]

    def test_a_pending_approval_holds_also_where_none_was_needed(self) -> None:
        assert asked(approval="pending").outcome == "approval_required"

    def test_a_yes_passes(self) -> None:
        assert asked(proposal("REFUND_MUCH"), approval="granted", approval_id="appr_1").outcome == "allowed"

    def test_a_contract_that_asks_none_passes_without(self) -> None:
        assert asked(approval=None).outcome == "allowed"


def test_the_case_that_every_test_changes_is_allowed() -> None:
    """The control: without it a refusal would prove nothing."""
    decision = asked()
    assert (decision.outcome, decision.objections, decision.reason) == ("allowed", (), "allowed")
    assert FACTS.approval is None
    assert isinstance(DOMAIN, Domain)
