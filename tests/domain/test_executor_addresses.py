"""`executor:` as an address: two shapes, and nothing that could mean something else."""

from __future__ import annotations

import json

import pytest

from kiff import ActionContract
from kiff.domain import check

DOCUMENT = """\
domain: shop
version: v1
entity: Order
events: [PLACED, REFUNDED]
states: [OPEN, REFUNDED]
transitions:
  - {{on: PLACED, to: OPEN}}
  - {{on: REFUNDED, from: OPEN, to: REFUNDED}}
actions:
  - name: REFUND
    allowed_states: [OPEN]
    required_permissions: [orders.refund]
    risk: low
    approval: never
    emits: [REFUNDED]
    executor: {executor}
permissions:
  roles: {{agent: [orders.refund]}}
"""
LINE = DOCUMENT.splitlines().index("    executor: {executor}") + 1


@pytest.mark.parametrize(
    "executor",
    [
        "http://refunds.example/",
        "HTTPS://refunds.example/",
        "https://",
        "https:///refund",
        "https:/refunds.example/",
        "https://user@refunds.example/",
        "https://user:secret@refunds.example/",
        "https://refunds.example@169.254.169.254/",
        "https://refunds.example/?to=https://169.254.169.254/",
        "https://refunds.example/#refund",
        "https://refunds.example:0/",
        "https://refunds.example:port/",
        "https://refunds.example:443443/",
        "https://refunds example/",
        "https://refunds.example/a b",
        "https://refunds.example/\n",
        "https://refunds.example/\r\nX-Evil: 1",
        "https://refunds.example\\@169.254.169.254/",
        "https://refunds.example/%0d%0a",
        "https://réfunds.example/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://017700000001/",
        "https://127.0.0.01/",
        "https://refunds.example./",
        "https://.refunds.example/",
        "https://-refunds.example/",
        "https://[::1]/",
        "https://*.example/",
        "mcp://",
        "mcp://payments",
        "mcp://payments/",
        "mcp:///refund",
        "mcp://Payments/refund",
        "mcp://payments/refund/again",
        "mcp://payments/refund?x=1",
        "mcp://user@payments/refund",
        "mcp://payments:80/refund",
        "mcp://../refund",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/",
        "//refunds.example/",
    ],
)
def test_an_address_of_another_shape_is_an_issue_with_its_place(executor: str) -> None:
    domain, issues = check(DOCUMENT.format(executor=json.dumps(executor)))
    (issue,) = (each for each in issues if each.level == "error")
    assert (domain, issue.path, issue.line) == (None, "actions[0].executor", LINE)
    assert "https://host/path" in issue.message
    assert "mcp://server/tool" in issue.message


@pytest.mark.parametrize(
    "executor",
    [
        "https://refunds.example",
        "https://refunds.example/",
        "https://Refunds.Example:8443/v1/refund-order_2.x~",
        "https://localhost:9000/refund",
        "https://10.0.0.7/refund",
        "https://xn--bcher-kva.example/refund",
        "mcp://payments/refund",
        "mcp://payments-eu_2/refund.order-v2",
    ],
)
def test_control_an_address_of_either_shape_is_an_executor(executor: str) -> None:
    domain, issues = check(DOCUMENT.format(executor=executor), executors=["orders.mark_paid"])
    assert domain is not None, issues
    assert [each for each in issues if each.code == "executor_missing"] == []
    assert (domain.actions["REFUND"].executor_name, domain.actions["REFUND"].runs_elsewhere) == (executor, True)


@pytest.mark.parametrize("executor", ["refund.issue_refund", "https:refund", "mcp", "a-b:c"])
def test_a_name_stays_a_name(executor: str) -> None:
    domain, issues = check(DOCUMENT.format(executor=json.dumps(executor)), executors=["orders.mark_paid"])
    assert domain is not None
    assert not domain.actions["REFUND"].runs_elsewhere
    assert [each.code for each in issues if each.code == "executor_missing"] == ["executor_missing"]


def test_a_contract_in_python_runs_elsewhere_as_well() -> None:
    assert ActionContract("REFUND", executor="mcp://payments/refund").runs_elsewhere
    assert not ActionContract("REFUND", executor=print).runs_elsewhere
