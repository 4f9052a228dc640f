"""Every problem at once, in document order, with its line and what to do about it."""

from __future__ import annotations

import pytest

from kiff.domain import check, load
from kiff.errors import InvalidDomain

BROKEN = """\
domain: Refund Ops
entitty: Order
version: 2
events: [ORDER_PLACED, ORDER_PAID, ORDER_PAID]
states: [CREATED, PAID]
transitions:
  - {on: ORDER_PLACED, to: CREATED}
  - {on: ORDER_PIAD, from: CREATED, to: PAID}
  - {on: ORDER_PAID, from: PAID, to: CREATED}
  - {on: ORDER_PAID, from: [PAID], to: PAID}
  - from: PAID
actions:
  - name: MARK_PAID
    allowed_states: CREATED
    risk: hihg
    required_permissions: [orders.mark_paid]
  - name: REFUND_ORDER
    allowed_states: [PIAD]
    timeout: 30
    when: parameters.amount < 50
    emits: {success: [ORDER_REFUNDED], sucess: []}
    parameters:
      amount: {type: nubmer, minimum: 0}
      reason: {type: string, minlength: 5}
      state: {type: string, minLength: 9, maxLength: 5}
  - name: REFUND_ORDER
    approval_policy: {quorum: 2}
limits: []
"""

EXPECTED = [
    (1, "malformed", "domain"),
    (2, "unknown_key", "entitty"),
    (3, "wrong_type", "version"),
    (4, "duplicate_name", "events[2]"),
    (8, "unknown_event", "transitions[1].on"),
    (10, "ambiguous_transition", "transitions[3]"),
    (11, "missing_key", "transitions[4]"),
    (14, "wrong_type", "actions[0].allowed_states"),
    (15, "not_one_of", "actions[0].risk"),
    (18, "unknown_state", "actions[1].allowed_states[0]"),
    (19, "wrong_type", "actions[1].timeout"),
    (21, "unknown_event", "actions[1].emits.success[0]"),
    (21, "unknown_key", "actions[1].emits.sucess"),
    (23, "not_one_of", "actions[1].parameters.amount.type"),
    (24, "unknown_key", "actions[1].parameters.reason.minlength"),
    (25, "bad_schema", "actions[1].parameters.state.minLength"),
    (25, "reserved_parameter", "actions[1].parameters.state"),
    (26, "duplicate_name", "actions[2].name"),
    (28, "unknown_key", "limits"),
]


def errors(text: str) -> list[tuple[int, str, str]]:
    domain, issues = check(text)
    found = [(issue.line, issue.code, issue.path) for issue in issues if issue.level == "error"]
    assert (domain is None) == bool(found)
    return found


def activation(text: str) -> list[tuple[int, str, str]]:
    domain = load(text)
    return [(issue.line, issue.code, issue.path) for issue in domain.activation_issues]


def test_all_problems_at_once() -> None:
    assert sorted(errors(BROKEN)) == sorted(EXPECTED)


def test_problems_come_in_document_order() -> None:
    lines = [line for line, _, _ in errors(BROKEN)]
    assert lines == sorted(lines)


def test_what_is_missing_is_said_beside_what_is_wrong() -> None:
    _, issues = check(BROKEN)
    missing = {issue.path for issue in issues if issue.level == "activation"}
    assert "entity" in missing
    assert "actions[2].risk" in missing
    assert "actions[0].risk" not in missing, "it is there, only misspelt"


def test_the_error_carries_the_issues_and_counts_them() -> None:
    with pytest.raises(InvalidDomain, match=f"ops.yaml cannot be used: line 1 domain: .* {len(EXPECTED) - 1} more"):
        load(BROKEN, source="ops.yaml")


FIXES = [
    ("entitty: Order", "did you mean `entity`?"),
    ("states: PAID", "write `[PAID]`"),
    ("version: 2", "put it in quotes"),
    ("states:", "give it a value or remove the key"),
    ("actions: [{name: A, risk: hihg}]", "did you mean `high`?"),
    ("states: [PAID]\nfinal: [piad]", "did you mean `PAID`?"),
    ("states: [PAID]\nfinal: [OTHER]", "add it to `states`"),
]


@pytest.mark.parametrize(("text", "fix"), FIXES)
def test_an_issue_says_what_to_do(text: str, fix: str) -> None:
    issues = [issue for issue in check(text)[1] if issue.level == "error"]
    assert [issue.fix for issue in issues] == [fix]


STRUCTURE = [
    ("states: [A, A]", (1, "duplicate_name", "states[1]")),
    ("actions: [{name: A}, {name: A}]", (1, "duplicate_name", "actions[1].name")),
    ("actions: [{name: A, required_parameters: [a, a]}]", (1, "duplicate_name", "actions[0].required_parameters[1]")),
    ("permissions: {roles: {a: [b.c, b.c]}}", (1, "duplicate_name", "permissions.roles.a[1]")),
    ("states: [A]\nfinal: [B]", (2, "unknown_state", "final[0]")),
    ("states: [A]\nactions: [{name: X, allowed_states: [B]}]", (2, "unknown_state", "actions[0].allowed_states[0]")),
    ("events: [A]\nactions: [{name: X, emits: [B]}]", (2, "unknown_event", "actions[0].emits[0]")),
    ("events: [A]\ntransitions: [{on: A}]", (2, "empty_transition", "transitions[0]")),
    ("transitions: [{on: A, to: B},\n{on: A, to: C}]", (2, "ambiguous_transition", "transitions[1]")),
    ("transitions: [{on: A, to: B},\n{on: A, to: B}]", (2, "duplicate_name", "transitions[1]")),
    ("transitions: [{on: A, from: B},\n{on: A, from: B, to: C}]", (2, "ambiguous_transition", "transitions[1]")),
    (
        "actions: [{name: A, required_parameters: [roles]}]",
        (1, "reserved_parameter", "actions[0].required_parameters[0]"),
    ),
    ("actions: [{name: A, parameters: {kiff_x: {}}}]", (1, "reserved_parameter", "actions[0].parameters.kiff_x")),
    ("actions: [{name: A, timeout: 367d}]", (1, "too_long", "actions[0].timeout")),
    (
        f"actions: [{{name: A, required_permissions: [{'a' * 60}]}}]",
        (1, "too_long", "actions[0].required_permissions"),
    ),
    ("entity: Or.der", (1, "malformed", "entity")),
    ("actions: [{name: A, approval_policy: {expires: 0s}}]", (1, "malformed", "actions[0].approval_policy.expires")),
    ("actions: [{name: A, timeout: 1.5h}]", (1, "malformed", "actions[0].timeout")),
    ("actions: [{name: 9A}]", (1, "malformed", "actions[0].name")),
    ("domain: -x", (1, "malformed", "domain")),
    ('entity: "Order\\n"', (1, "malformed", "entity")),
    ("entity: Οrder", (1, "malformed", "entity")),
    ("spec: kiff/v2", (1, "not_one_of", "spec")),
    (f"entity: {'x' * 65}", (1, "malformed", "entity")),
    ("permissions: {roles: {'a b': []}}", (1, "malformed", "permissions.roles.a b")),
    ("actions: [{name: A, parameters: {'a b': {}}}]", (1, "malformed", "actions[0].parameters.a b")),
    ("- a", (1, "wrong_type", "")),
]


@pytest.mark.parametrize(("text", "issue"), STRUCTURE, ids=[text for text, _ in STRUCTURE])
def test_structure(text: str, issue: tuple[int, str, str]) -> None:
    assert errors(text) == [issue]


COMPLETE = """\
domain: refund-ops
entity: Order
events: [ORDER_PAID]
states: [PAID]
transitions: [{on: ORDER_PAID, to: PAID}]
actions:
  - name: REFUND_ORDER
    allowed_states: [PAID]
    required_permissions: [orders.refund]
    risk: high
    approval: required
permissions: {roles: {ops_agent: [orders.refund], admin: [orders.approve]}}
"""

UNFINISHED = [
    ("domain: refund-ops\n", "", (1, "no_domain", "domain")),
    ("entity: Order\n", "", (1, "no_entity", "entity")),
    ("[{on: ORDER_PAID, to: PAID}]", "[{on: ORDER_PAID, from: PAID}]", (5, "no_initial_transition", "transitions")),
    ("    allowed_states: [PAID]\n", "", (7, "no_allowed_states", "actions[0].allowed_states")),
    ("risk: high", "description: x", (7, "no_risk", "actions[0].risk")),
    ("approval: required", "description: x", (7, "no_approval", "actions[0].approval")),
    ("approval: required", "approval: conditional", (11, "no_asking_rule", "actions[0].approval")),
    ("admin: [orders.approve]", "admin: []", (11, "nobody_can_approve", "actions[0].approval")),
    ("[orders.refund], admin", "[], admin", (9, "nobody_can_propose", "actions[0].required_permissions[0]")),
]


def test_the_control_is_complete() -> None:
    assert activation(COMPLETE) == []


@pytest.mark.parametrize(("old", "new", "issue"), UNFINISHED, ids=[row[2][1] for row in UNFINISHED])
def test_unfinished(old: str, new: str, issue: tuple[int, str, str]) -> None:
    assert old in COMPLETE
    assert activation(COMPLETE.replace(old, new)) == [issue]


def test_an_action_that_never_asks_needs_no_reviewer() -> None:
    text = COMPLETE.replace("approval: required", "approval: never").replace("[orders.approve]", "[]")
    assert activation(text) == []


def test_a_hostile_name_is_shown_on_one_line_and_bounded() -> None:
    (issue,) = [i for i in check('entity: "a\\n\\e[31m\\u202E' + "x" * 500 + '"')[1] if i.level == "error"]
    assert issue.message.isprintable()
    assert len(issue.message) < 200
