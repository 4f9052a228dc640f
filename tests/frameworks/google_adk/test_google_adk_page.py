"""docs/guides/frameworks/google-adk.md does what it says, against a real KIFF."""

from __future__ import annotations

import pytest
from adk_driver import scripted
from pages import run_page
from towers import Tower

from kiff_guard.conformance import ToolCall

pytestmark = pytest.mark.filterwarnings("ignore:.*EXPERIMENTAL.*:UserWarning")
REFUND = {"order_id": "ord_adk", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_of_google_adk_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_adk")
    first, second = ([ToolCall("refund_order", REFUND, f"c{number}")] for number in (1, 2))
    model = scripted(first, "done", second)
    page = run_page("google-adk.md", {"model": model, "grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "allowed" in str(at_tower.timeline("ord_adk"))
