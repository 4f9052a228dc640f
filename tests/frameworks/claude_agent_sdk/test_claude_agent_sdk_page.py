"""docs/guides/frameworks/claude-agent-sdk.md does what it says, against a real KIFF."""

from __future__ import annotations

from pathlib import Path

from claude_driver import MODEL, PREFIX, environment
from claude_model import Asks, ClaudeModel
from pages import run_page
from towers import Tower


def refund(order: str, number: int) -> list[Asks]:
    args = {"order_id": order, "amount": 250.0, "reason": "it arrived broken"}
    return [Asks(f"{PREFIX}refund_order", args, f"toolu_{number}")]


def test_the_page_of_the_claude_agent_sdk_does_what_it_says(at_tower: Tower, tmp_path: Path) -> None:
    at_tower.paid("ord_1")
    at_tower.paid("ord_2")
    turns: list[list[Asks]] = [refund("ord_1", 1), [], refund("ord_1", 2), [], refund("ord_2", 3)]
    with ClaudeModel(turns) as model:
        home = str(tmp_path)
        settings = {"cwd": home, "env": environment(model, home), "model": MODEL, "setting_sources": []}
        page = run_page("claude-agent-sdk.md", {"settings": settings, "grant": at_tower.grant})

    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert "allowed" in str(at_tower.timeline("ord_2"))
