"""The contract: the seed's fields, in the seed's order, strict where nothing is said."""

from __future__ import annotations

import pytest

from kiff.protocol.action import ActionContract, Approval, ApprovalPolicy, Emits, Risk


def issue_refund() -> None: ...


def test_a_bare_text_is_not_a_list_of_letters() -> None:
    with pytest.raises(TypeError, match="expected a list for `allowed_states`, found the text `PAID`"):
        ActionContract(name="A", allowed_states="PAID")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Emits(success="ORDER_PAID")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ApprovalPolicy(permissions="orders.approve")  # type: ignore[arg-type]


def test_an_unknown_risk_is_refused() -> None:
    with pytest.raises(ValueError, match="hihg"):
        ActionContract(name="A", risk="hihg")  # type: ignore[arg-type]


def test_the_seeds_contract_in_the_seeds_order() -> None:
    contract = ActionContract(
        "REFUND_ORDER",
        ["PAID"],  # type: ignore[arg-type]
        ["amount", "reason"],  # type: ignore[arg-type]
        ["orders.refund"],  # type: ignore[arg-type]
        Risk.HIGH,
        Approval.REQUIRED,
        issue_refund,
    )
    assert contract.allowed_states == ("PAID",)
    assert contract.required_parameters == ("amount", "reason")
    assert contract.executor_name == "test_action_contract.issue_refund"


def test_what_is_not_stated_is_strict() -> None:
    contract = ActionContract(name="A")
    assert (contract.allowed_states, contract.risk, contract.approval_requirement, contract.lock) == (
        (),
        Risk.HIGH,
        Approval.REQUIRED,
        "entity",
    )
    assert not contract.emits.declared


def test_an_executor_goes_by_its_own_name_when_it_has_one() -> None:
    def named() -> None: ...

    named.executor_name = "refund.issue_refund"  # type: ignore[attr-defined]
    assert ActionContract(name="A", executor=named).executor_name == "refund.issue_refund"
    assert ActionContract(name="A", executor="refund.other").executor_name == "refund.other"
    assert ActionContract(name="A").executor_name == ""


REVIEWERS = [
    (("orders.refund",), (), ("orders.approve",)),
    (("orders.refund", "orders.void"), (), ("orders.approve",)),
    (("orders.refund", "stock.move"), (), ("orders.approve", "stock.approve")),
    (("orders.eu.refund",), (), ("orders.eu.approve",)),
    (("refund",), (), ("refund.approve",)),
    ((), (), ()),
    (("orders.refund",), ("finance.sign",), ("finance.sign",)),
]


@pytest.mark.parametrize(("required", "stated", "expected"), REVIEWERS)
def test_who_may_review(required: tuple[str, ...], stated: tuple[str, ...], expected: tuple[str, ...]) -> None:
    policy = ApprovalPolicy(permissions=stated)
    contract = ActionContract(name="A", required_permissions=required, approval_policy=policy)
    assert contract.reviewer_permissions == expected
