"""What the tests of adapters share: two tools and what ran, a guard with a scripted KIFF, a call as a model asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiff_guard import Guard
from kiff_guard.conformance import ScriptedClient, ToolCall

RAN: list[Any] = []
"""What the tools of a test did: their bodies write it, and each test begins with none."""


def refund(order_id: str, amount: float = 500.0) -> str:
    """Refund an order."""
    RAN.append((order_id, amount))
    return f"refunded {order_id}"


def explode(order_id: str) -> str:
    """Fail."""
    RAN.append(order_id)
    raise RuntimeError("card network down")


def enforcing(outcomes: Any = "allowed", **more: Any) -> tuple[Guard, ScriptedClient]:
    """A guard that enforces, and the KIFF it asks; `more` is for that KIFF."""
    client = ScriptedClient(outcomes, **more)
    return Guard(client, agent="agent-1", mode="enforce"), client


def asks(tool: str = "refund", call_id: str = "c1", **args: Any) -> ToolCall:
    """A call as the model asks for it: a refund of five for `o-1`, if it is not said what of."""
    return ToolCall(tool, args or {"order_id": "o-1", "amount": 5.0}, call_id)


def executions(guard: Guard) -> list[tuple[str, str]]:
    """How each call ended, oldest first."""
    return [(each.tool, each.execution) for each in guard.receipts]


def ends(guard: Guard) -> list[tuple[str, str, str]]:
    """The same, with what was decided."""
    return [(each.tool, each.outcome, each.execution) for each in guard.receipts]


def fails_open(play: Callable[[Guard], Any]) -> None:
    """An adapter that was told to let tools run while KIFF is down does so, and the receipt says it.

    Args:
        play: one refund by an agent with this guard, which the adapter got with `fail_closed=False`.
    """
    guard, _ = enforcing(ConnectionError("refused"))
    play(guard)
    assert RAN == [("o-1", 5.0)]
    assert [(each.outcome, each.state, each.execution) for each in guard.receipts] == [
        ("failed_open", "ungoverned", "succeeded")
    ]
