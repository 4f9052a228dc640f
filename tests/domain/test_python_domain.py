"""The same domain written in Python and in YAML is the same domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kiff.domain import Domain, Transition, load
from kiff.errors import InvalidDomain
from kiff.protocol.action import ActionContract, Approval, ApprovalPolicy, Emits, Risk

REFUND_OPS = (Path(__file__).with_name("documents") / "refund_ops.yaml").read_text()


def issue_refund(**parameters: Any) -> dict[str, Any]:
    return parameters


issue_refund.executor_name = "refund.issue_refund"  # type: ignore[attr-defined]


def amount(maximum: int) -> dict[str, Any]:
    return {"unit": "USD", "type": "number", "maximum": float(maximum), "exclusiveMinimum": 0}


def refund_ops(**changes: Any) -> Domain:
    mark_paid = ActionContract(
        name="MARK_PAID",
        allowed_states=["CREATED"],
        required_parameters=["payment_id"],
        required_permissions=["orders.mark_paid"],
        risk=Risk.LOW,
        approval_requirement=Approval.NEVER,
        emits=Emits(success=["ORDER_PAID"]),
    )
    auto_refund = ActionContract(
        name="AUTO_REFUND",
        allowed_states=["PAID"],
        required_parameters=["amount", "reason"],
        required_permissions=["orders.refund"],
        risk=Risk.MEDIUM,
        approval_requirement=Approval.NEVER,
        executor=issue_refund,
        description="A refund small enough for nobody to look at.",
        parameters={
            "reason": {"type": "string", "minLength": 5, "maxLength": 500},
            "amount": amount(100),
        },
        emits=Emits(success=["ORDER_REFUNDED"]),
    )
    refund_order = ActionContract(
        name="REFUND_ORDER",
        allowed_states=["PAID"],
        required_parameters=["amount", "reason"],
        required_permissions=["orders.refund"],
        risk=Risk.HIGH,
        approval_requirement=Approval.REQUIRED,
        executor="refund.issue_refund",
        description="A refund of any size.",
        parameters={
            "amount": amount(100_000),
            "reason": {"type": "string", "minLength": 5, "maxLength": 500},
        },
        approval_policy=ApprovalPolicy(expires_seconds=86_400),
        emits=Emits(success=["ORDER_REFUNDED"]),
    )
    given: dict[str, Any] = {
        "name": "refund-ops",
        "entity": "Order",
        "version": "v2",
        "events": ["ORDER_PLACED", "ORDER_PAID", "ORDER_REFUNDED"],
        "states": ["CREATED", "PAID", "REFUNDED"],
        "final": ["REFUNDED"],
        "transitions": [
            Transition(on="ORDER_REFUNDED", from_=["PAID"], to="REFUNDED"),
            Transition(on="ORDER_PLACED", to="CREATED"),
            Transition(on="ORDER_PAID", from_="CREATED", to="PAID"),
        ],
        "actions": [mark_paid, auto_refund, refund_order],
        "roles": {
            "ops_operator": ["orders.approve"],
            "ops_agent": ["orders.refund"],
            "admin": ["orders.refund", "orders.approve", "orders.mark_paid"],
        },
        "audit": {"store": "in-memory", "trace_propagation": True},
        "adapters": [{"name": "stripe-webhook", "source": "stripe", "kind": "webhook"}],
    }
    return Domain(**given | changes)


def test_python_and_yaml_give_the_same_digest() -> None:
    domain = refund_ops()
    assert domain == load(REFUND_OPS)
    assert domain.digest == load(REFUND_OPS).digest
    assert domain.activation_issues == ()


CHANGES = [
    ("maximum: 100,", "maximum: 101,"),
    ("from: CREATED", "from: PAID"),
    ("version: v2", "version: v3"),
    ("risk: medium", "risk: high"),
    ("expires: 24h", "expires: 23h"),
    ("on_grant: wait", "on_grant: run"),
    ("lock: entity", "lock: none"),
    ("timeout: 30s", "timeout: 31s"),
    ("emits: [ORDER_PAID]", "emits: []"),
    ("ops_operator: [orders.approve]", "ops_operator: []"),
    ("executor: refund.issue_refund", "executor: refund.other"),
    ("kind: webhook", "kind: poll"),
    ("A refund of any size.", "A refund."),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_every_change_of_meaning_changes_the_digest(old: str, new: str) -> None:
    assert old in REFUND_OPS
    assert load(REFUND_OPS.replace(old, new, 1)).digest != load(REFUND_OPS).digest


SAME = [
    ("spec: kiff/v1\n", ""),
    ("domain: refund-ops\n", "domain:   'refund-ops'   # the slug\n"),
    ("use_within: 15m", "use_within: 900s"),
    ("expires: 24h", "expires: 1d"),
    ("maximum: 100,", "maximum: 100.0,"),
    ("    lock: entity\n", ""),
    ("    timeout: 30s\n", ""),
    ("from: PAID", "from: [PAID]"),
    ("emits: {success: [ORDER_REFUNDED], failure: []}", "emits: [ORDER_REFUNDED]"),
    ("permissions: [orders.approve], expires", "expires"),
    (
        "admin: [orders.mark_paid, orders.refund, orders.approve]",
        "admin: [orders.approve, orders.mark_paid, orders.refund]",
    ),
    ("risk: low\n    approval: never\n", "approval: never\n    risk: low\n"),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_what_says_the_same_has_the_same_digest(old: str, new: str) -> None:
    assert old in REFUND_OPS
    assert load(REFUND_OPS.replace(old, new, 1)).digest == load(REFUND_OPS).digest


def test_emitting_nothing_is_not_the_same_as_not_saying() -> None:
    silent, nothing = (REFUND_OPS.replace("    emits: [ORDER_PAID]\n", new) for new in ("", "    emits: []\n"))
    assert load(silent).digest != load(nothing).digest
    assert load(nothing).actions["MARK_PAID"].emits.declared
    assert not load(silent).actions["MARK_PAID"].emits.declared


def test_content_restores_the_domain() -> None:
    domain = load(REFUND_OPS)
    again = Domain.from_content(domain.content)
    assert again == domain
    assert (again.version, again.actions, again.transitions, again.roles) == (
        domain.version,
        domain.actions,
        domain.transitions,
        domain.roles,
    )


def test_content_is_itself_a_document() -> None:
    domain = load(REFUND_OPS)
    assert load(domain.content) == domain


def test_changed_content_is_refused_or_another_domain() -> None:
    content = load(REFUND_OPS).content
    assert Domain.from_content(content.replace(b'"risk":"low"', b'"risk":"high"')) != load(REFUND_OPS)
    for wrong in (b"", b"{", b"[]", content + b" ", content[:-1], content.replace(b'"risk":"low"', b'"risk":"none"')):
        with pytest.raises(InvalidDomain):
            Domain.from_content(wrong)


def test_without_a_version_the_content_names_it() -> None:
    domain = refund_ops(version=None)
    assert domain.version == f"refund-ops-{domain.digest.removeprefix('sha256:')[:12]}"
    assert domain == load(REFUND_OPS.replace("version: v2\n", ""))


def test_a_function_is_kept_beside_its_name() -> None:
    domain = refund_ops()
    assert domain.actions["AUTO_REFUND"].executor is issue_refund
    assert domain.actions["AUTO_REFUND"].executor_name == "refund.issue_refund"
    assert domain.executors == {"refund.issue_refund": issue_refund}
    assert Domain.from_content(domain.content).executors == {}


WRONG = [
    ({"name": "Refund Ops"}, "domain"),
    ({"entity": ""}, "entity"),
    ({"states": ["CREATED"]}, "final[0]"),
    ({"events": [1]}, "events[0]"),
    ({"actions": [ActionContract(name="A", timeout_seconds=0)]}, "actions[0].timeout"),
    ({"actions": [ActionContract(name="A", executor=lambda: None)]}, "actions[0].executor"),
    (
        {"actions": [ActionContract(name="A", parameters={"a": {"minimum": float("nan")}})]},
        "actions[0].parameters.a.minimum",
    ),
    ({"roles": {"a b": []}}, "permissions.roles.a b"),
    ({"version": ""}, "version"),
    ({"audit": {"where": "x"}}, "audit.where"),
]


@pytest.mark.parametrize(("changes", "path"), WRONG, ids=[path for _, path in WRONG])
def test_python_is_checked_like_yaml(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidDomain) as caught:
        refund_ops(**changes)
    errors = [issue for issue in caught.value.issues if issue.level == "error"]
    assert path in [issue.path for issue in errors]
    assert {issue.line for issue in errors} == {0}


def test_a_domain_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        refund_ops().version = "v9"  # type: ignore[misc]


def test_a_domain_does_not_share_the_authors_dicts() -> None:
    schema = {"type": "number", "maximum": 5}
    domain = refund_ops(actions=[ActionContract(name="A", parameters={"a": schema})])
    schema["maximum"] = 500
    assert domain.parameter_checks["A"]({"a": 6})
    assert domain.actions["A"].parameters == {"a": {"type": "number", "maximum": 5}}
