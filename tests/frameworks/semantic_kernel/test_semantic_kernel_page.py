"""docs/guides/frameworks/semantic-kernel.md does what it says, against a real KIFF."""

from __future__ import annotations

from pages import run_page
from sk_driver import Script
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_sk", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_sk")
    asked = [[ToolCall("Shop-refund_order", REFUND, f"c{number}")] for number in (1, 2, 3)]
    model = Script(ai_model_id="scripted", turns=[asked[0], [], asked[1], [], asked[2], []])
    page = run_page("semantic-kernel.md", {"model": model, "grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "action_executed" in str(at_tower.timeline("ord_sk"))
