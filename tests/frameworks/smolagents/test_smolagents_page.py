"""docs/guides/frameworks/smolagents.md does what it says, against a real KIFF."""

from __future__ import annotations

from pages import run_page
from smolagents_driver import Calls
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_smol", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_smol")
    asked = [[ToolCall("refund_order", REFUND, f"c{number}")] for number in (1, 2, 3)]
    model = Calls([asked[0], None, asked[1], None, asked[2], None])
    page = run_page("smolagents.md", {"model": model, "grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "action_executed" in str(at_tower.timeline("ord_smol"))
