"""docs/guides/remote-executors.md means what it says: its files are read, its receiver verifies, its lists are ours."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from kiff import check
from kiff.server.circuit import FAILURES, OPEN_SECONDS
from kiff.server.egress_policy import policy_of
from kiff.server.https_executor import AGAIN, DECLINED
from kiff.server.remote_settings import AT_ONCE, remote_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "remote-executors.md").read_text("utf-8")
NUMBERS = {5: "five", 10: "ten"}


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def tables(name: str) -> dict[str, Any]:
    return tomllib.loads(block(f"toml title={name}"))


def test_the_domain_has_no_issues_and_names_two_addresses() -> None:
    domain, issues = check(block("yaml"))
    assert domain is not None
    assert [each for each in issues if each.level != "warning"] == []
    assert all(action.runs_elsewhere for action in domain.actions.values())


def test_the_files_allow_what_the_domain_names() -> None:
    said = remote_settings(tables("executors.toml"), tables("mcp.toml"))
    assert said.executor("acme", "refunds.acme.example", 443) is not None
    assert said.server("acme", "parcels") is not None
    assert said.server("zebra", "parcels") is None
    assert policy_of(**tables("egress.toml")).target("https://refunds.internal:8443/refund")


def test_the_receiver_takes_a_signed_request_and_no_other() -> None:
    made: dict[str, Any] = {}
    exec(block("python"), made)
    body, now = block("json").encode(), datetime.now(UTC)
    [secret, other] = tables("executors.toml")["acme/refunds.acme.example"]["secrets"]
    signed = Webhook(secret).sign("clr_1", now, body.decode())
    headers = {"webhook-id": "clr_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signed}
    assert made["receive"](secret, headers, body) == {"status": "succeeded", "message": "refunded 999"}
    with pytest.raises(WebhookVerificationError):
        made["receive"](other, headers, body)
    assert json.loads(body)["deadline"]


def test_the_statuses_and_figures_on_the_page_are_ours() -> None:
    assert f"| {' '.join(map(str, sorted(DECLINED)))} | `failed`" in PAGE
    [again] = re.findall(r"or one of ([\d, \nand]+) is sent again", PAGE)
    assert {int(each) for each in re.findall(r"\d{3}", again)} == AGAIN
    assert f"After {NUMBERS[FAILURES]} calls in a row" in PAGE
    assert f"left alone for {NUMBERS[int(OPEN_SECONDS)]}" in " ".join(PAGE.split())
    assert PAGE.count(f"| `at_once` | `{AT_ONCE}` |") == 2
