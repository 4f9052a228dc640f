"""The guard as an extension of an `mcp` server: what the framework's own ways could get past it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.server import Server
from mcp.server.extension import Extension, compose_tool_call_handler
from mcp.server.mcpserver import Context, MCPServer
from mcp_callers import ENDS, text

from kiff_guard import Guard
from kiff_guard.adapters.mcp import IDENTIFIER, attach, hook
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import ConfigurationError

REFUND = {"order_id": "ord_1", "amount": 50.0}
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


class Shop:
    """A server, the guard in front of its tools, and what they did."""

    def __init__(self, outcomes: Any = "allowed", *, mode: str = "enforce", options: Any = None, **server: Any) -> None:
        self.kiff = ScriptedClient(outcomes)
        self.guard = Guard(self.kiff, agent="agent-1", mode=mode, **(options or {}))
        self.ran: list[Any] = []
        extensions = [*server.pop("extensions", []), hook(self.guard)]
        self.server = MCPServer("shop", extensions=extensions, log_level="CRITICAL", **server)

        @self.server.tool()
        def refund(order_id: str, amount: float) -> str:
            """Gives money back."""
            self.ran.append((order_id, amount))
            return "refunded"

        @self.server.tool()
        async def wait(order_id: str) -> str:
            """Takes its time."""
            self.ran.append("wait")
            await asyncio.sleep(20)
            return "done"

    def talk(self, talk: Callable[[Client], Awaitable[Any]], mode: str = "auto", **client: Any) -> Any:
        async def session() -> Any:
            async with Client(self.server, mode=mode, **client) as each:
                return await talk(each)

        return asyncio.run(session())

    def call(self, tool: str = "refund", arguments: Any = REFUND, mode: str = "auto", **client: Any) -> Any:
        return self.talk(lambda each: each.call_tool(tool, arguments), mode, **client)

    def ends(self) -> list[tuple[str, str]]:
        return [(each.outcome, each.execution) for each in self.guard.receipts]


def says(action: str, shop: Shop, review: str = "") -> Any:
    """A client's user, and a reviewer who decides meanwhile."""

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        if review:
            getattr(shop.kiff, review)(shop.kiff.waiting()[0])
        return types.ElicitResult(action=action, content={"granted": True} if action == "accept" else None)

    return elicit


@ERAS
def test_a_withheld_call_is_an_error_with_the_decision_beside_its_text(mode: str) -> None:
    result = Shop("limit_exceeded").call(mode=mode)
    assert result.is_error and "KIFF withheld `refund`" in text(result)
    assert result.meta["dev.kiff/decision"]["outcome"] == "limit_exceeded"


@ERAS
def test_a_guard_that_breaks_stops_nothing_in_observe(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(mode="observe")
    monkeypatch.setattr(shop.guard, "aevaluate", lambda *_, **__: 1 / 0)
    assert not shop.call(mode=mode).is_error
    assert shop.ran == [("ord_1", 50.0)]


def test_what_a_middleware_makes_of_a_call_is_what_is_decided() -> None:
    async def doubles(ctx: Any, call_next: Any) -> Any:
        if ctx.method == "tools/call":
            arguments = {**ctx.params["arguments"], "amount": 9999.0}
            ctx = replace(ctx, params={**ctx.params, "arguments": arguments})
        return await call_next(ctx)

    shop = Shop(lambda args: "blocked" if args["amount"] > 100 else "allowed", middleware=[doubles])
    assert shop.call().is_error
    assert shop.ran == []


@pytest.mark.parametrize("place", ["before", "behind"])
def test_another_extension_cannot_change_what_was_decided(place: str) -> None:
    """One in front cannot either: the tool is given what was validated."""

    class Changes(Extension):
        identifier = "com.example/changes"

        async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
            return await call_next(replace(ctx, params={"name": "refund", "arguments": {"order_id": "x", "amount": 9}}))

    shop = Shop(extensions=[Changes()] if place == "before" else [])
    if place == "behind":
        shop.server = MCPServer("shop", extensions=[hook(shop.guard), Changes()], log_level="CRITICAL")
        shop.server.tool(name="refund")(lambda order_id, amount: shop.ran.append((order_id, amount)))
    shop.call()
    assert shop.ran == [("ord_1", 50.0)]


class Keeps(Extension):
    """Has what it was given, after it gave it on."""

    identifier = "com.example/keeps"

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
        self.seen.append(params)
        return await call_next(ctx)


def test_arguments_changed_in_place_while_kiff_was_asked_do_not_run() -> None:
    keeps = Keeps()

    def decide(args: Any) -> str:
        keeps.seen[0].arguments["amount"] = 9999.0
        return "allowed"

    shop = Shop(decide, extensions=[keeps])
    assert "integrity_violation" in text(shop.call())
    assert shop.ran == []


class Edits(Extension):
    """Changes the arguments of a call in place."""

    identifier = "com.example/edits"

    async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
        params.arguments["amount"] = 9999.0
        return await call_next(ctx)


class Twice(Extension):
    """Has each call a second time."""

    identifier = "com.example/twice"

    async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
        await call_next(ctx)
        return await call_next(ctx)


def beside(other: Extension, place: str, outcomes: Any) -> Shop:
    """A shop with another extension, and the guard before it, behind it or attached later."""
    shop = Shop(outcomes)
    guarded = {"behind": [hook(shop.guard), other], "before": [other, hook(shop.guard)], "there first": [other]}
    shop.server = MCPServer("shop", extensions=guarded[place], log_level="CRITICAL")

    def refund(order_id: str, amount: float) -> None:
        shop.ran.append((order_id, amount))

    shop.server.add_tool(refund)
    if place == "there first":
        attach(shop.guard, shop.server)
    return shop


PLACES = pytest.mark.parametrize("place", ["behind", "before", "there first"])


@PLACES
def test_what_another_extension_makes_of_a_call_is_what_is_decided(place: str) -> None:
    shop = beside(Edits(), place, lambda args: "allowed" if args["amount"] == 50.0 else "blocked")
    assert shop.call().is_error
    assert shop.ran == [] and shop.ends() == [("blocked", "not_run")]


@PLACES
def test_what_another_extension_made_of_an_allowed_call_is_what_runs(place: str) -> None:
    shop = beside(Edits(), place, "allowed")
    assert not shop.call().is_error
    assert shop.ran == [("ord_1", 9999.0)]
    assert [each.args["amount"] for each in shop.kiff.decides] == [9999.0]


@pytest.mark.parametrize("place", ["behind", "there first"])
def test_an_extension_that_repeats_a_call_has_each_decided(place: str) -> None:
    asked: list[Any] = []

    def once(args: Any) -> str:
        asked.append(args)
        return "allowed" if len(asked) == 1 else "blocked"

    shop = beside(Twice(), place, once)
    assert shop.call().is_error
    assert shop.ran == [("ord_1", 50.0)]
    assert shop.ends() == [("allowed", "succeeded"), ("blocked", "not_run")]


@pytest.mark.parametrize(("mode", "ran"), [("enforce", []), ("observe", [("ord_1", 50.0)])])
def test_a_guard_that_cannot_see_what_stands_behind_it_runs_nothing_in_enforce(mode: str, ran: list[Any]) -> None:
    class Holds(Extension):
        identifier = "com.example/holds"

        async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
            async def edits(ctx: Any) -> Any:
                return await call_next(ctx)

            return await inner[0].intercept_tool_call(params, ctx, edits)

    inner: list[Any] = []
    shop = Shop(mode=mode)
    inner.append(hook(shop.guard))
    shop.server = MCPServer("shop", extensions=[Holds()], log_level="CRITICAL")
    shop.server.tool(name="refund")(lambda order_id, amount: shop.ran.append((order_id, amount)))
    assert ("guard_not_last" in text(shop.call())) is (mode == "enforce")
    assert shop.ran == ran
    assert shop.ends() == [("error", "not_run") if mode == "enforce" else ("observed", "succeeded")]


def test_other_arguments_put_in_place_while_kiff_was_asked_do_not_run() -> None:
    keeps = Keeps()

    def decide(args: Any) -> str:
        keeps.seen[0].arguments = {**keeps.seen[0].arguments, "amount": 9999.0}
        keeps.seen[0].name = "wait"
        return "allowed"

    shop = Shop(decide, extensions=[keeps])
    shop.call()
    assert shop.ran == [("ord_1", 50.0)]


def test_arguments_changed_in_place_while_the_tool_runs_are_not_the_tool_s() -> None:
    async def talk() -> None:
        began, changed = asyncio.Event(), asyncio.Event()

        class Later(Extension):
            identifier = "com.example/later"

            async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
                async def later() -> None:
                    await began.wait()
                    params.arguments["amount"] = 9999.0
                    changed.set()

                task = asyncio.create_task(later())
                result = await call_next(ctx)
                await task
                return result

        async def tool(ctx: Any, params: Any) -> types.CallToolResult:
            began.set()
            await changed.wait()
            ran.append(params.arguments)
            return types.CallToolResult(content=[])

        server = low_level(ran)
        composed = compose_tool_call_handler([Later()], tool)
        server.add_request_handler("tools/call", types.CallToolRequestParams, composed)
        attach(Guard(ScriptedClient("allowed"), agent="agent-1", mode="enforce"), server)
        async with Client(server) as client:
            await client.call_tool("refund", {"amount": 50})

    ran: list[Any] = []
    asyncio.run(talk())
    assert ran == [{"amount": 50}]


def composed(extensions: list[Any], ran: list[Any]) -> Server:
    """A low-level server whose extensions were put around its handler by hand."""
    server = low_level(ran)
    entry = server.get_request_handler("tools/call")
    assert entry is not None
    server.add_request_handler("tools/call", entry.params_type, compose_tool_call_handler(extensions, entry.handler))
    return server


def call_low_level(server: Server, amount: float) -> bool:
    async def talk() -> bool:
        async with Client(server) as client:
            return (await client.call_tool("refund", {"amount": amount})).is_error

    return asyncio.run(talk())


@pytest.mark.parametrize(
    ("first", "second", "runs"), [("allowed", "allowed", 1), ("blocked", "allowed", 0), ("allowed", "blocked", 0)]
)
def test_two_guards_both_decide_on_what_an_extension_between_them_made(first: str, second: str, runs: int) -> None:
    ran: list[Any] = []
    kiffs = [ScriptedClient(first), ScriptedClient(second)]
    one, two = (hook(Guard(kiff, agent="agent-1", mode="enforce")) for kiff in kiffs)
    assert call_low_level(composed([one, Edits(), two], ran), 50) is not bool(runs)
    assert ran == [{"amount": 9999.0}] * runs
    assert {each.args["amount"] for kiff in kiffs for each in kiff.decides} == {9999.0}


def test_a_handler_that_only_looks_like_the_sdk_s_is_not_taken_apart() -> None:
    def checks(extensions: str, handler: Any) -> Any:
        async def wrapped(ctx: Any, params: Any) -> Any:
            seen.append(extensions)
            return await handler(ctx, params)

        return wrapped

    ran: list[Any] = []
    seen: list[Any] = []
    server = low_level(ran)
    entry = server.get_request_handler("tools/call")
    assert entry is not None
    server.add_request_handler("tools/call", entry.params_type, checks("my own", entry.handler))
    attach(Guard(ScriptedClient(), agent="agent-1", mode="enforce"), server)
    assert not call_low_level(server, 50)
    assert seen == ["my own"] and ran == [{"amount": 50}]


def test_extensions_that_cannot_be_told_from_the_tools_are_refused() -> None:
    server = MCPServer("shop", extensions=[Edits()], log_level="CRITICAL")
    entry = server._lowlevel_server.get_request_handler("tools/call")
    assert entry is not None
    kept = [entry.handler]
    server._lowlevel_server.add_request_handler(
        "tools/call", entry.params_type, lambda ctx, params: kept[0](ctx, params)
    )
    with pytest.raises(ConfigurationError, match="`Edits`"):
        attach(Guard(ScriptedClient(), mode="enforce"), server)


def test_the_hook_is_no_middleware_and_says_so_by_failing() -> None:
    guard = Guard(ScriptedClient(), mode="enforce")
    server = MCPServer("shop", middleware=[hook(guard)], log_level="CRITICAL")

    async def talk() -> None:
        async with Client(server) as client:
            await client.call_tool("refund", REFUND)

    with pytest.raises((MCPError, TypeError, BaseExceptionGroup)):
        asyncio.run(talk())


def test_clients_that_count_alike_are_told_apart() -> None:
    """Each begins to number its requests anew, and a guard with a session of its own remembers ids."""
    shop = Shop(options={"session": "conversation-1"})
    for _ in range(3):
        assert not shop.call().is_error
    assert len(shop.ran) == 3


@ERAS
def test_a_call_that_its_client_gave_up_is_cancelled(mode: str) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.call_tool("wait", {"order_id": "o"}), 0.3)
        await asyncio.sleep(0.2)

    shop = Shop()
    shop.talk(talk, mode)
    assert shop.ran == ["wait"] and shop.ends() == [("allowed", "cancelled")]


# Held


@pytest.mark.parametrize(("action", "review", "runs"), ENDS)
def test_a_call_held_in_its_middle_runs_on_a_grant_alone(action: str, review: str, runs: int) -> None:
    """The older protocol asks while the call goes on."""
    shop = Shop("approval_required")
    result = shop.call(mode="legacy", elicitation_callback=says(action, shop, review))
    assert len(shop.ran) == runs and result.is_error is not bool(runs)


def test_a_state_that_was_not_given_is_refused() -> None:
    """The SDK seals what a server gives its clients to send back."""
    shop = Shop("approval_required")

    async def talk(client: Client) -> Any:
        answers = {"kiff": types.ElicitResult(action="accept", content={})}
        with pytest.raises(MCPError, match="requestState"):
            await client.session.call_tool("refund", REFUND, input_responses=answers, request_state="kiff:appr_1")

    shop.talk(talk)
    assert shop.ran == []


def test_other_arguments_than_approved_are_refused() -> None:
    shop = Shop("approval_required")

    async def talk(client: Client) -> Any:
        held = await client.session.call_tool("refund", REFUND, allow_input_required=True)
        shop.kiff.grant(shop.kiff.waiting()[0])
        answers = {"kiff": types.ElicitResult(action="accept", content={})}
        more = {**REFUND, "amount": 9999.0}
        with pytest.raises(MCPError, match="requestState"):
            await client.session.call_tool("refund", more, input_responses=answers, request_state=held.request_state)

    shop.talk(talk, elicitation_callback=says("accept", shop))
    assert shop.ran == []


def test_the_tool_sees_nothing_of_the_guard_s_question() -> None:
    shop = Shop("approval_required")

    @shop.server.tool()
    def look(context: Context) -> str:
        params = context._input_params
        shop.ran.append((getattr(params, "request_state", None), getattr(params, "input_responses", None)))
        return ""

    shop.call("look", {}, elicitation_callback=says("accept", shop, "grant"))
    assert shop.ran == [(None, None)]


def test_a_tool_that_asks_by_itself_is_decided_twice_and_ends_once() -> None:
    shop = Shop()

    @shop.server.tool()
    def book(seat: int, context: Context) -> Any:
        if context.input_responses is None:
            params = types.ElicitRequestFormParams(
                message="sure?", requested_schema={"type": "object", "properties": {}}
            )
            return types.InputRequiredResult(input_requests={"sure": types.ElicitRequest(params=params)})
        shop.ran.append(seat)
        return "booked"

    assert not shop.call("book", {"seat": 1}, elicitation_callback=says("accept", shop)).is_error
    assert shop.ran == [1]
    assert shop.ends() == [("allowed", "failed"), ("allowed", "succeeded")]


# Attached


def low_level(ran: list[Any]) -> Server:
    async def call(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        ran.append(params.arguments)
        return types.CallToolResult(content=[])

    async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[])

    return Server("low", on_call_tool=call, on_list_tools=list_tools)


@ERAS
def test_a_low_level_server_is_guarded(mode: str) -> None:
    ran: list[Any] = []
    kiff = ScriptedClient(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    guard = Guard(kiff, agent="agent-1", mode="enforce")
    server = attach(guard, low_level(ran))

    async def talk() -> list[bool]:
        async with Client(server, mode=mode) as client:
            results = [await client.call_tool("refund", {"amount": amount}) for amount in (50, 9999)]
            return [each.is_error for each in results]

    assert asyncio.run(talk()) == [False, True]
    assert ran == [{"amount": 50}]


def test_a_server_without_tools_is_nothing_to_guard() -> None:
    guard = Guard(ScriptedClient(), mode="enforce")
    for server in (Server("low"), object()):
        with pytest.raises(ConfigurationError, match="tools/call"):
            attach(guard, server)


def test_the_server_says_that_it_is_guarded() -> None:
    async def talk(client: Client) -> Any:
        return client.server_capabilities

    capabilities = Shop().talk(talk)
    assert IDENTIFIER in (capabilities.extensions or {})


def test_the_trace_of_a_call_is_kept() -> None:
    async def talk(client: Client) -> Any:
        return await client.call_tool("refund", REFUND, meta={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})

    shop = Shop()
    shop.talk(talk)
    assert shop.guard.receipts[0].trace_id == "a" * 32
