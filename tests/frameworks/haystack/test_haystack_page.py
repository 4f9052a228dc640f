"""docs/guides/frameworks/haystack.md does what it says, against a real KIFF."""

from __future__ import annotations

from haystack_driver import ScriptedModel
from pages import run_page
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_haystack", "amount": 250.0, "reason": "it arrived broken"}


def test_the_page_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_haystack")
    calls = [ToolCall("refund_order", REFUND, f"c{number}") for number in (1, 2, 3)]
    model = ScriptedModel([[calls[0]], [], [calls[1]], [], [calls[2]]])
    page = run_page("haystack.md", {"model": model, "grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
