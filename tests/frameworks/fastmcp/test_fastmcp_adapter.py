"""The guard as a middleware of FastMCP: what the framework's own ways could get past it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.client.elicitation import ElicitResult
from fastmcp.server import create_proxy
from fastmcp.server.middleware import Middleware
from fastmcp_driver import PAUSES
from mcp_callers import ENDS, text

from kiff_guard import Guard
from kiff_guard.adapters.fastmcp import attach
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import ConfigurationError

REFUND = {"order_id": "ord_1", "amount": 50.0}


class Shop:
    """A server, the guard in front of its tools, and what they did."""

    def __init__(self, outcomes: Any = "allowed", *, mode: str = "enforce", guarded: bool = True, **guard: Any) -> None:
        self.kiff = ScriptedClient(outcomes)
        self.guard = Guard(self.kiff, agent="agent-1", mode=mode, **guard)
        self.ran: list[Any] = []
        self.server: FastMCP = FastMCP("shop")

        @self.server.tool
        def refund(order_id: str, amount: float) -> dict[str, float]:
            """Gives money back."""
            self.ran.append((order_id, amount))
            return {"refunded": amount}

        @self.server.tool
        async def wait(order_id: str) -> str:
            """Takes its time."""
            self.ran.append("wait")
            await asyncio.sleep(20)
            return "done"

        if guarded:
            attach(self.guard, self.server)

    def talk(self, talk: Callable[[Any], Awaitable[Any]], server: Any = None, **client: Any) -> Any:
        async def session() -> Any:
            async with Client(server or self.server, **client) as each:
                return await talk(each)

        return asyncio.run(session())

    def call(self, tool: str = "refund", arguments: Any = REFUND, server: Any = None, **client: Any) -> Any:
        return self.talk(lambda each: each.call_tool(tool, arguments, raise_on_error=False), server, **client)

    def ends(self) -> list[tuple[str, str]]:
        return [(each.outcome, each.execution) for each in self.guard.receipts]


def says(action: str, shop: Shop, review: str = "") -> Any:
    """A client's user, and a reviewer who decides meanwhile."""

    async def elicit(message: str, response_type: Any, params: Any, context: Any) -> Any:
        if review:
            getattr(shop.kiff, review)(shop.kiff.waiting()[0])
        content = {"granted": True} if PAUSES else {"value": True}
        return ElicitResult(action=action, content=content if action == "accept" else None)

    return elicit


def test_a_refusal_is_told_where_the_tool_has_an_output_schema_that_no_refusal_fits() -> None:
    result = Shop("blocked").call()
    assert result.is_error and "KIFF withheld `refund`" in text(result)


def test_a_guard_that_breaks_stops_nothing_in_observe(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(mode="observe")
    monkeypatch.setattr(shop.guard, "aevaluate", lambda *_, **__: 1 / 0)
    assert not shop.call().is_error
    assert len(shop.ran) == 1


class Changes(Middleware):
    """A middleware that makes of each refund a large one."""

    def __init__(self, way: str) -> None:
        self._way = way

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        if self._way == "in place":
            context.message.arguments["amount"] = 9999.0
            return await call_next(context)
        message = context.message.model_copy(update={"arguments": {**context.message.arguments, "amount": 9999.0}})
        return await call_next(context.copy(message=message))


@pytest.mark.parametrize("way", ["in place", "by a copy"])
def test_what_a_middleware_in_front_makes_of_a_call_is_what_is_decided(way: str) -> None:
    shop = Shop(lambda args: "blocked" if args["amount"] > 100 else "allowed", guarded=False)
    shop.server.add_middleware(Changes(way))
    attach(shop.guard, shop.server)
    assert shop.call().is_error
    assert shop.ran == []


@pytest.mark.parametrize("way", ["in place", "by a copy"])
def test_with_a_middleware_behind_it_nothing_runs(way: str) -> None:
    shop = Shop(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    shop.server.add_middleware(Changes(way))
    assert "add the guard last" in text(shop.call())
    assert shop.ran == [] and shop.ends() == [("error", "not_run")]


def test_a_middleware_behind_it_that_sees_no_calls_is_no_harm() -> None:
    class Lists(Middleware):
        async def on_list_tools(self, context: Any, call_next: Any) -> Any:
            return await call_next(context)

    shop = Shop()
    shop.server.add_middleware(Lists())
    assert not shop.call().is_error


@pytest.mark.skipif(not PAUSES, reason="FastMCP has extensions since 4.0")
def test_with_an_extension_that_intercepts_calls_nothing_runs() -> None:
    from fastmcp.server.extensions import ServerExtension

    class Larger(ServerExtension):
        identifier = "com.example/larger"

        async def intercept_tool_call(self, params: Any, context: Any, call_next: Any) -> Any:
            params.arguments["amount"] = 9999.0
            return await call_next()

    shop = Shop()
    shop.server.add_extension(Larger())
    assert "add the guard last" in text(shop.call())
    assert shop.ran == []


def test_in_observe_the_order_is_no_reason_to_stop_a_tool() -> None:
    shop = Shop(mode="observe")
    shop.server.add_middleware(Changes("in place"))
    assert not shop.call().is_error


def test_clients_that_count_alike_are_told_apart() -> None:
    shop = Shop(session="conversation-1")
    for _ in range(3):
        assert not shop.call().is_error
    assert len(shop.ran) == 3


def test_a_call_that_its_client_gave_up_is_no_success() -> None:
    async def talk(client: Any) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.call_tool("wait", {"order_id": "o"}), 0.3)
        await asyncio.sleep(0.2)

    shop = Shop()
    shop.talk(talk)
    shop.guard.flush()
    assert shop.ran == ["wait"]
    assert [(outcome, end) for outcome, end in shop.ends() if end == "succeeded"] == []
    assert len(shop.guard.receipts) == 1


@pytest.mark.parametrize(("action", "review", "runs"), ENDS)
def test_a_held_call_runs_on_a_grant_alone(action: str, review: str, runs: int) -> None:
    shop = Shop("approval_required")
    result = shop.call(elicitation_handler=says(action, shop, review))
    assert len(shop.ran) == runs and result.is_error is not bool(runs)


def test_a_client_that_cannot_be_asked_is_told_and_may_come_again() -> None:
    shop = Shop("approval_required")
    assert "appr" in text(shop.call())
    shop.kiff.grant(shop.kiff.waiting()[0])
    assert not shop.call().is_error
    assert len(shop.ran) == 1


# More servers than one


def test_what_is_mounted_is_guarded_under_its_name() -> None:
    inner = Shop(guarded=False)
    shop = Shop({"kitchen_refund": "blocked"}, guarded=False)
    shop.server.mount(inner.server, "kitchen")
    attach(shop.guard, shop.server)
    assert shop.call("kitchen_refund").is_error
    assert inner.ran == []


def mounted(way: str, middleware: Any, outcomes: Any = "allowed", **options: Any) -> tuple[Shop, Shop]:
    """A guarded shop, and one that is mounted in it and has a middleware of its own; `take_back` is its refund."""
    inner = Shop(guarded=False)
    inner.server.add_middleware(middleware)
    shop = Shop(outcomes, **options)
    if way == "mounted":
        shop.server.mount(inner.server, tool_names={"refund": "take_back"})
    elif way == "in a namespace":
        shop.server.mount(inner.server, "take", tool_names={"refund": "back"})
    else:
        between: FastMCP = FastMCP("between")
        between.mount(inner.server, tool_names={"refund": "take_back"})
        shop.server.mount(between)
    return shop, inner


WAYS = pytest.mark.parametrize("way", ["mounted", "in a namespace", "two deep"])


@WAYS
@pytest.mark.parametrize("changes", ["in place", "by a copy"])
def test_with_a_mounted_server_s_own_middleware_nothing_runs(way: str, changes: str) -> None:
    shop, inner = mounted(way, Changes(changes))
    said = text(shop.call("take_back"))
    assert "guard_not_last" in said and "`Changes` of the mounted server `shop`" in said
    assert inner.ran == [] and shop.ends() == [("error", "not_run")] and shop.kiff.calls == 0


@WAYS
def test_a_mounted_server_s_middleware_that_sees_no_calls_is_no_harm(way: str) -> None:
    class Lists(Middleware):
        async def on_list_tools(self, context: Any, call_next: Any) -> Any:
            return await call_next(context)

    shop, inner = mounted(way, Lists())
    assert not shop.call("take_back").is_error
    assert inner.ran == [("ord_1", 50.0)]


@WAYS
@pytest.mark.parametrize(("limit", "ran"), [(100, []), (10_000, [("ord_1", 9999.0)])])
def test_a_mounted_server_that_is_guarded_too_decides_what_its_middleware_made(
    way: str, limit: float, ran: list[Any]
) -> None:
    shop, inner = mounted(way, Changes("in place"))
    kiff = ScriptedClient(lambda args: "allowed" if args["amount"] <= limit else "blocked")
    attach(Guard(kiff, agent="agent-1", mode="enforce"), inner.server)
    assert shop.call("take_back").is_error is not bool(ran)
    assert inner.ran == ran and [each.args["amount"] for each in kiff.decides] == [9999.0]


@pytest.mark.parametrize("late", [False, True])
def test_a_guard_of_the_mounted_server_that_does_not_decide_on_it_is_none(late: bool) -> None:
    """It only looks on, or its server's middleware stands behind it as well."""
    shop, inner = mounted("mounted", Changes("in place"))
    attach(Guard(ScriptedClient(), agent="agent-1", mode="enforce" if late else "observe"), inner.server)
    if late:
        inner.server.add_middleware(Changes("in place"))
    assert "guard_not_last" in text(shop.call("take_back"))
    assert inner.ran == []


def test_in_observe_a_mounted_server_s_middleware_is_no_reason_to_stop_a_tool() -> None:
    shop, inner = mounted("mounted", Changes("in place"), mode="observe")
    assert not shop.call("take_back").is_error
    assert len(inner.ran) == 1


@pytest.mark.skipif(not PAUSES, reason="FastMCP has extensions since 4.0")
def test_with_a_mounted_server_s_extension_that_intercepts_calls_nothing_runs() -> None:
    from fastmcp.server.extensions import ServerExtension

    class Larger(ServerExtension):
        identifier = "com.example/larger"

        async def intercept_tool_call(self, params: Any, context: Any, call_next: Any) -> Any:
            return await call_next()

    shop, inner = mounted("mounted", Middleware())
    inner.server.add_extension(Larger())
    assert "`Larger` of the mounted server" in text(shop.call("take_back"))
    assert inner.ran == []


def test_a_middleware_behind_two_guards_is_seen() -> None:
    shop = Shop()
    attach(Guard(ScriptedClient(), agent="agent-2", mode="enforce"), shop.server)
    shop.server.add_middleware(Changes("in place"))
    assert "guard_not_last" in text(shop.call())
    assert shop.ran == []


def test_a_proxy_guards_a_server_that_knows_of_nothing() -> None:
    inner = Shop(guarded=False)
    shop = Shop({"refund": "blocked", "*": "allowed"}, guarded=False)
    proxy = attach(shop.guard, create_proxy(inner.server))
    assert shop.call(server=proxy).is_error
    assert inner.ran == []


@pytest.mark.parametrize(("review", "runs"), [("grant", 1), ("", 0)])
def test_a_call_held_in_front_of_a_proxy_reaches_the_server_once_granted(review: str, runs: int) -> None:
    inner = Shop(guarded=False)
    shop = Shop("approval_required", guarded=False)
    proxy = attach(shop.guard, create_proxy(inner.server))
    shop.call(server=proxy, elicitation_handler=says("accept", shop, review))
    assert len(inner.ran) == runs


def test_a_tool_that_calls_a_tool_is_no_way_around() -> None:
    shop = Shop({"refund": "blocked", "*": "allowed"})

    @shop.server.tool
    async def helper(context: Context) -> str:
        result = await context.fastmcp.call_tool("refund", REFUND)
        return str(result)

    assert shop.call("helper", {}).is_error
    assert shop.ran == []


def test_a_tool_under_another_name_is_decided_under_that_name() -> None:
    shop = Shop(guarded=False)
    kiff = ScriptedClient(maps=frozenset({"refund"}))
    attach(Guard(kiff, agent="agent-1", mode="enforce"), shop.server)
    for name in ("Refund", "refund ", "__0123456789abcdef_refund"):
        assert shop.call(name).is_error
    assert shop.ran == []


def test_something_else_is_nothing_to_guard() -> None:
    with pytest.raises(ConfigurationError, match="FastMCP"):
        attach(Guard(ScriptedClient(), mode="enforce"), object())
