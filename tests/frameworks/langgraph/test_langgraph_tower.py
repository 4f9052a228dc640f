"""LangGraph against a real KIFF: a held refund that another process takes up again."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from langgraph_driver import GO, script_of
from towers import Tower

from kiff_guard import Guard, HTTPClient, ToolMap
from kiff_guard.adapters.langgraph import hook
from kiff_guard.conformance import ToolCall

RAN: list[Any] = []
TOOLS = ToolMap().bind("refund_order", "REFUND_ORDER", "order", "order_id")


def refund_order(order_id: str, amount: float, reason: str) -> str:
    """Refund an order."""
    RAN.append((order_id, amount))
    return f"refunded {order_id}"


def refunds(order: str, call_id: str = "c1", amount: float = 250.0) -> ToolCall:
    return ToolCall("refund_order", {"order_id": order, "amount": amount, "reason": "it broke"}, call_id)


def a_process(tower: Tower, script: Any, saver: Any) -> tuple[Guard, Any]:
    guard = Guard(HTTPClient(tower.keys["agent"], TOOLS, tower.url), mode="enforce")
    return guard, create_agent(script, [refund_order], middleware=[hook(guard)], checkpointer=saver)


def test_a_refund_that_one_process_held_is_made_by_another_and_once(tower: Tower) -> None:
    tower.paid("ord_lg_1")
    thread = {"configurable": {"thread_id": "lg-1"}}
    script, saver = script_of([[refunds("ord_lg_1")]]), InMemorySaver()
    _, agent = a_process(tower, script, saver)
    [waiting] = agent.invoke(GO, thread)["__interrupt__"]

    early, agent = a_process(tower, script, saver)
    tower.grant(waiting.value["approval_id"])
    agent.invoke(Command(resume=True), thread)

    assert [order for order, _ in RAN].count("ord_lg_1") == 1
    assert early.receipts[-1].approval_id == waiting.value["approval_id"]
    assert early.receipts[-1].execution == "succeeded"


def test_a_resume_without_a_grant_makes_no_refund(tower: Tower) -> None:
    tower.paid("ord_lg_2")
    thread = {"configurable": {"thread_id": "lg-2"}}
    script, saver = script_of([[refunds("ord_lg_2")]]), InMemorySaver()
    _, agent = a_process(tower, script, saver)
    [waiting] = agent.invoke(GO, thread)["__interrupt__"]

    _, agent = a_process(tower, script, saver)
    agent.invoke(Command(resume={"approved": True}), thread)

    assert "ord_lg_2" not in str(RAN)
    assert waiting.value["approval_id"] in script.said()[0]


def test_a_grant_is_for_the_amount_that_was_shown(tower: Tower) -> None:
    tower.paid("ord_lg_3")
    thread = {"configurable": {"thread_id": "lg-3"}}
    script = script_of([[refunds("ord_lg_3")], [refunds("ord_lg_3", "c2", 9999.0)]])
    _, agent = a_process(tower, script, InMemorySaver())
    [waiting] = agent.invoke(GO, thread)["__interrupt__"]
    tower.deny(waiting.value["approval_id"])

    state = agent.invoke(Command(resume=True), thread)

    assert "ord_lg_3" not in str(RAN)
    assert state["__interrupt__"][0].value["approval_id"] != waiting.value["approval_id"]
