"""docs/guides/frameworks/agno.md does what it says, against a real KIFF."""

from __future__ import annotations

from agno_driver import Script
from pages import run_page
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_agno", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_of_agno_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_agno")
    first, second, third = ([ToolCall("refund_order", REFUND, f"c{number}")] for number in (1, 2, 3))
    model = Script(turns=[first, [], second, [], third])

    page = run_page("agno.md", {"model": model, "grant": at_tower.grant})

    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "allowed" in str(at_tower.timeline("ord_agno"))
