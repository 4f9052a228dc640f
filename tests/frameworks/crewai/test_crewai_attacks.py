"""Attacks on the guard in CrewAI: other code that calls the tools of an attached crew, in every way they have."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from crewai.hooks import get_before_tool_call_hooks
from crewai.tools import BaseTool
from guards import RAN
from pydantic import BaseModel

from kiff_guard import Guard, Hold
from kiff_guard.adapters.crewai import attach
from kiff_guard.conformance import ScriptedClient


class Order(BaseModel):
    order_id: str


class Refund(BaseTool):
    name: str = "refund"
    description: str = "Refund an order."
    args_schema: type[BaseModel] = Order

    def _run(self, order_id: str) -> str:
        RAN.append(order_id)
        return "refunded"

    async def _arun(self, order_id: str) -> str:
        RAN.append(order_id)
        return "refunded"


class Anything(BaseTool):
    name: str = "anything"
    description: str = "Takes arguments of any name."
    args_schema: type[BaseModel] = Order

    def _run(self, **more: Any) -> str:
        RAN.append(more)
        return "done"


WAYS: dict[str, Callable[[Any], Any]] = {
    "run": lambda tool: tool.run(order_id="o-1"),
    "by place": lambda tool: tool.run("o-1"),
    "_run": lambda tool: tool._run(order_id="o-1"),
    "arun": lambda tool: asyncio.run(tool.arun(order_id="o-1")),
    "invoke": lambda tool: tool.to_structured_tool().invoke({"order_id": "o-1"}),
    "ainvoke": lambda tool: asyncio.run(tool.to_structured_tool().ainvoke({"order_id": "o-1"})),
    "copy": lambda tool: copy.copy(tool).run(order_id="o-1"),
    "model_copy": lambda tool: asyncio.run(tool.model_copy().arun(order_id="o-1")),
}


@pytest.fixture(autouse=True)
def no_hooks_stay() -> Iterator[None]:
    yield
    for each in list(get_before_tool_call_hooks()):
        each.__self__.unregister()


def attached(outcomes: Any, tool: Any) -> Guard:
    guard = Guard(ScriptedClient(outcomes), agent="agent-1", mode="enforce")
    attach(guard, SimpleNamespace(tools=[tool]))
    return guard


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_way_to_call_a_tool_goes_past_the_guard(way: Callable[[Any], Any]) -> None:
    tool = Refund()
    guard = attached("blocked", tool)
    with pytest.raises(Hold):
        way(tool)
    assert (RAN, [each.args for each in guard.receipts]) == ([], [{"order_id": "o-1"}])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_allowed_runs_once(way: Callable[[Any], Any]) -> None:
    tool = Refund()
    guard = attached("allowed", tool)
    assert (way(tool), RAN) == ("refunded", ["o-1"])
    assert [each.execution for each in guard.receipts] == ["succeeded"]


def test_arguments_of_any_name_are_decided_on_by_their_names() -> None:
    tool = Anything()
    guard = attached("blocked", tool)
    with pytest.raises(Hold):
        tool.run(order_id="o-1")
    assert [each.args for each in guard.receipts] == [{"order_id": "o-1"}]


def test_a_tool_without_an_asynchronous_body_is_not_asked_about() -> None:
    tool = Anything()
    guard = attached("allowed", tool)
    with pytest.raises(NotImplementedError):
        asyncio.run(tool.arun(order_id="o-1"))
    assert guard.receipts == []


def test_without_the_hooks_the_tools_are_what_they_were() -> None:
    tool = Refund()
    attached("blocked", tool)
    for each in list(get_before_tool_call_hooks()):
        each.__self__.unregister()
    assert asyncio.run(tool.arun(order_id="o-1")) == "refunded"
