"""docs/guides/frameworks/openai-agents.md does what it says, against a real KIFF."""

from __future__ import annotations

from openai_driver import Script
from pages import run_page
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_openai", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_openai")
    model = Script([[ToolCall("refund_order", REFUND, "c1")], [], [ToolCall("refund_order", REFUND, "c2")]])
    page = run_page("openai-agents.md", {"model": model, "grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "allowed" in str(at_tower.timeline("ord_openai"))
