"""docs/guides/frameworks/hermes.md does what it says, against a real KIFF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import run_agent
from hermes_driver import TOOLSET, forget_plugins, give
from hermes_model import Model
from pages import run_page
from towers import Tower

from kiff_guard.conformance import ToolCall

REFUND = {"order_id": "ord_hermes", "amount": 250.0, "reason": "it arrived broken"}


def refund_order(order_id: str, amount: float, reason: str) -> str:
    """Refund an order."""
    return f"refunded {amount} of {order_id}"


class WithOurTool(run_agent.AIAgent):
    """An agent that has this test's tool, and no other."""

    def __init__(self, **given: Any) -> None:
        super().__init__(enabled_toolsets=[TOOLSET], tool_delay=0, skip_memory=True, **given)


@pytest.fixture
def model() -> Iterator[Model]:
    forget_plugins()
    give({"refund_order": refund_order})
    first, second, third = ([ToolCall("refund_order", REFUND, f"c{number}")] for number in (1, 2, 3))
    model = Model([first, [], second, [], third])
    yield model
    model.close()
    forget_plugins()


def test_the_page_of_hermes_does_what_it_says(at_tower: Tower, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    at_tower.paid("ord_hermes")
    monkeypatch.setattr(run_agent, "AIAgent", WithOurTool)

    page = run_page("hermes.md", {"model": model.url, "grant": at_tower.grant})

    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert callable(page["register"])
    assert "allowed" in str(at_tower.timeline("ord_hermes"))
