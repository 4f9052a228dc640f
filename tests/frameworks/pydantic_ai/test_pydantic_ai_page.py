"""docs/guides/frameworks/pydantic-ai.md does what it says, against a real KIFF."""

from __future__ import annotations

from pages import run_page
from pydantic_ai_driver import Script
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_pydantic_ai", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_of_pydantic_ai_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_pydantic_ai")
    first, second = ([ToolCall("refund_order", REFUND, f"c{number}")] for number in (1, 2))
    model = Script([first, [], second]).model  # the held one is not asked for again

    page = run_page("pydantic-ai.md", {"model": model, "grant": at_tower.grant})

    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "allowed" in str(at_tower.timeline("ord_pydantic_ai"))
