"""docs/guides/frameworks/dspy.md does what it says, against a real KIFF."""

from __future__ import annotations

from typing import Any

from dspy.utils import DummyLM
from pages import run_page
from towers import Tower

REFUND = {"order_id": "ord_dspy", "amount": 250.0, "reason": "it arrived broken"}
RUN: list[dict[str, Any]] = [
    {"next_thought": "go", "next_tool_name": "refund_order", "next_tool_args": REFUND},
    {"next_thought": "go", "next_tool_name": "finish", "next_tool_args": {}},
    {"reasoning": "told", "answer": "done"},
]


def test_the_page_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_dspy")
    page = run_page("dspy.md", {"model": DummyLM(RUN * 3), "grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "action_executed" in str(at_tower.timeline("ord_dspy"))
