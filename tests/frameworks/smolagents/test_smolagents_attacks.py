"""Attacks on the guard in smolagents: code that a model wrote, and what it does to a tool and its arguments."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from guards import RAN
from smolagents import CodeAgent, LogLevel, Tool
from smolagents_driver import Code

from kiff_guard import Guard
from kiff_guard.adapters.smolagents import attach
from kiff_guard.conformance import ScriptedClient


class Pay(Tool):
    """Takes what comes after its first argument by place, or by any name."""

    name = "pay"
    description = "Pay."
    inputs = {  # noqa: RUF012
        "amount": {"type": "number", "description": "how much"},
        "rest": {"type": "any", "description": "what else"},
    }
    output_type = "string"
    skip_forward_signature_validation = True

    def forward(self, amount: float, *rest: Any, **more: Any) -> str:
        RAN.append(amount)
        return "paid"


def up_to_ten(args: dict[str, Any]) -> str:
    return "allowed" if args["amount"] <= 10 else "blocked"


def written(code: str, tool: Tool | None = None) -> Guard:
    guard = Guard(ScriptedClient(up_to_ten), agent="a", mode="enforce")
    agent = CodeAgent(tools=[tool or Pay()], model=Code([code]), max_steps=2, verbosity_level=LogLevel.OFF)
    attach(guard, agent).run("go")
    return guard


def test_what_comes_after_the_amount_is_not_decided_on_in_its_place() -> None:
    guard = written("pay(1000000, 5)")
    assert RAN == []
    [receipt] = guard.receipts
    assert (receipt.outcome, receipt.args) == ("blocked", {"amount": 1000000, "rest": [5]})


def test_an_amount_by_place_and_another_by_name_does_not_run() -> None:
    written("pay(1000000, rest=1, **{'amount': 5})")
    assert RAN == []


@pytest.mark.parametrize(
    "code",
    [
        "pay.name = 'look'\npay(1000000)",
        "pay.kiff_guard._core.mode = 'observe'\npay(1000000)",
        "pay.forward.__wrapped__(1000000)",
        "pay.forward(1000000)",
        "[pay][0].func(1000000)",
        "for each in [pay]:\n    each(1000000)",
        "(lambda again: again(1000000))(pay)",
    ],
)
def test_code_reaches_no_way_around(code: str) -> None:
    written(code)
    assert RAN == []


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_guarded_tool_is_guarded(copied: Any) -> None:
    tool = Pay()
    written("1", tool)
    with pytest.raises(Exception, match="KIFF withheld"):
        copied(tool)(1000000.0)
    assert RAN == []


class Asks(Tool):
    name = "ask"
    description = "Ask the one who knows."
    inputs = {"question": {"type": "string", "description": "what"}}  # noqa: RUF012
    output_type = "string"

    def __init__(self, agent: Any) -> None:
        super().__init__()
        self.agent = agent

    def forward(self, question: str) -> str:
        return str(self.agent.run(question))


def test_an_agent_that_a_tool_holds_is_guarded() -> None:
    inner = CodeAgent(
        tools=[Pay()], model=Code(["pay(1000000)"]), max_steps=2, verbosity_level=LogLevel.OFF, name="inner"
    )
    guard = Guard(ScriptedClient(lambda args: "allowed" if "question" in args else "blocked"), mode="enforce")
    outer = CodeAgent(
        tools=[Asks(inner)], model=Code(["ask('go')"]), max_steps=2, verbosity_level=LogLevel.OFF, name="outer"
    )
    attach(guard, outer).run("go")
    assert (RAN, [each.outcome for each in guard.receipts]) == ([], ["blocked", "allowed"])
