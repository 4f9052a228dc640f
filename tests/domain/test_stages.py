"""The seed's four stages and a guard's draft load; only the complete document can be activated."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiff.domain import Domain, check, load
from kiff.domain.way import Way

DOCUMENTS = Path(__file__).with_name("documents")


def document(name: str) -> str:
    return (DOCUMENTS / f"{name}.yaml").read_text()


def missing(text: str) -> list[str]:
    return [f"{issue.line} {issue.path}" for issue in load(text).activation_issues]


def test_stage_1_has_no_states_and_no_rules() -> None:
    assert missing(document("stage1")) == [
        "1 events",
        "1 states",
        "1 transitions",
        "5 actions[0].allowed_states",
        "5 actions[0].required_permissions",
        "5 actions[0].risk",
        "5 actions[0].approval",
    ]


def test_stage_2_has_no_rules() -> None:
    assert missing(document("stage2")) == [
        f"{line} actions[{index}].{key}"
        for index, line in enumerate((16, 18))
        for key in ("required_permissions", "risk", "approval")
    ]


def test_stage_3_alone_has_no_entity_and_no_states() -> None:
    assert missing(document("stage3")) == ["1 domain", "1 entity", "1 events", "1 states", "1 transitions"]


def test_stage_4_alone_is_a_draft() -> None:
    domain = load(document("stage4"))
    assert domain.actions["REFUND_ORDER"].executor == "refund.issue_refund"
    assert "actions[0].allowed_states" in {issue.path for issue in domain.activation_issues}


def test_a_guards_draft_keeps_what_was_seen() -> None:
    domain = load(document("guard_draft"))
    assert domain.actions["cancel_order"].required_parameters == ("order_id",)
    assert {issue.path for issue in domain.activation_issues} == {
        "events",
        "states",
        "transitions",
        *(f"actions[{i}].{key}" for i in (0, 1) for key in ("allowed_states", "required_permissions")),
    }


@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3", "stage4", "guard_draft"])
def test_a_draft_says_so_with_every_issue(name: str) -> None:
    domain, issues = check(document(name))
    assert domain is not None
    assert {issue.level for issue in domain.activation_issues} == {"activation"}
    assert domain.activation_issues == tuple(issue for issue in issues if issue.level != "warning")


def test_a_complete_document_needs_nothing_more() -> None:
    domain, issues = check(document("refund_ops"))
    assert domain is not None
    assert domain.activation_issues == ()
    assert {issue.level for issue in issues} == {"warning"}


def test_an_empty_mapping_is_a_draft_and_no_text_is_not_a_document() -> None:
    assert load("{}").activation_issues
    assert [issue.message for issue in check("")[1]] == ["expected a mapping, found nothing"]


def test_a_draft_stays_a_draft_when_it_is_stored() -> None:
    domain = load(document("stage1"))
    again = Domain.from_content(domain.content)
    assert [i.code for i in again.activation_issues] == [i.code for i in domain.activation_issues]


def test_what_is_not_stated_is_read_strictly() -> None:
    contract = load(document("stage1")).actions["REFUND_ORDER"]
    assert (contract.risk, contract.approval_requirement, contract.lock) == ("high", "required", "entity")
    assert contract.allowed_states == ()


def test_the_table_of_the_complete_document() -> None:
    domain = load(document("refund_ops"))
    assert domain.transitions == {
        (None, "ORDER_PLACED"): (Way("CREATED"),),
        ("CREATED", "ORDER_PAID"): (Way("PAID"),),
        ("PAID", "ORDER_REFUNDED"): (Way("REFUNDED"),),
    }
    assert (domain.name, domain.entity, domain.entity_type) == ("refund-ops", "Order", "order")
    assert domain.version == "refund-ops-v2"
    assert domain.final == ("REFUNDED",)


def test_an_event_without_to_leaves_the_state_and_a_list_of_states_is_one_row_each() -> None:
    text = "events: [A, B]\nstates: [X, Y]\ntransitions:\n- {on: A, to: X}\n- {on: B, from: [X, Y]}\n"
    assert load(text).transitions == {(None, "A"): (Way("X"),), ("X", "B"): (Way("X"),), ("Y", "B"): (Way("Y"),)}


def test_roles_permit_what_they_hold_and_unknown_roles_nothing() -> None:
    domain = load(document("refund_ops"))
    assert domain.permits(["nobody", "ops_agent"], "orders.refund")
    assert not domain.permits(["ops_agent"], "orders.approve")
    assert not domain.permits(["Ops_agent", "ops_agent "], "orders.refund")
    assert not domain.permits([], "orders.refund")
