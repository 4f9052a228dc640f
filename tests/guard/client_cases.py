"""A client as most tests want it, and the one question they ask with it."""

from __future__ import annotations

from typing import Any

from hostile import KEY, Hostile

from kiff_guard.client import HTTPClient
from kiff_guard.decision import Decision
from kiff_guard.errors import ClientFailed
from kiff_guard.tool_map import ToolMap

REFUND = {"order_id": "ord_1", "amount": 49.0, "reason": "customer request"}


def tools() -> ToolMap:
    return (
        ToolMap()
        .bind("refund", "AUTO_REFUND", "Order", "order_id")
        .bind("refund_much", "REFUND_ORDER", "Order", "order_id")
    )


def client(url: str, key: str = KEY, **more: Any) -> HTTPClient:
    return HTTPClient(key, tools(), url, **{"timeout": 20.0, **more})


def ask(server: Hostile, **more: Any) -> Decision:
    """Asks once, with a client of its own."""
    asking = client(server.url, **more)
    try:
        return asking.decide("acme", "ops-agent", "refund", REFUND)
    finally:
        asking.close()


def outcome(server: Hostile, **more: Any) -> str:
    """What came of asking once: the outcome, or the code of what was raised."""
    try:
        return ask(server, **more).outcome
    except ClientFailed as failed:
        return failed.code
