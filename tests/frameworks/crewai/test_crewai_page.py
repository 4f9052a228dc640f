"""docs/guides/frameworks/crewai.md does what it says, against a real KIFF."""

from __future__ import annotations

from crew_driver import scripted
from crewai.hooks import get_before_tool_call_hooks
from pages import run_page
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_crewai", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_of_crewai_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_crewai")
    call = [ToolCall("refund_order", REFUND, "c1")]
    model = scripted(call, "done", call, "done", call, "done")
    page = run_page("crewai.md", {"model": model, "grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "allowed" in str(at_tower.timeline("ord_crewai"))
    assert get_before_tool_call_hooks() == []
