"""docs/guides/frameworks/strands.md does what it says, against a real KIFF."""

from __future__ import annotations

from pages import run_page
from strands_driver import ScriptedModel
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_strands", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_strands")
    model = ScriptedModel([[ToolCall("refund_order", REFUND, "c1")], [], [ToolCall("refund_order", REFUND, "c2")]])
    page = run_page("strands.md", {"model": model, "grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "allowed" in str(at_tower.timeline("ord_strands"))
