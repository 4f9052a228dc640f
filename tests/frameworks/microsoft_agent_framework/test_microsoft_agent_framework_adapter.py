"""The middleware on real agents of Microsoft Agent Framework: what is refused, what is held, and the traps of it."""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from agent_framework import AgentSession, FunctionMiddleware, Message, WorkflowBuilder, tool
from guards import RAN, asks, enforcing, executions, explode, refund
from maf_driver import agent_with, as_tool, scripted

from kiff_guard import Guard
from kiff_guard.adapters.microsoft_agent_framework import attach, hook, kiff_guard_middleware
from kiff_guard.conformance import ScriptedClient, ToolCall


class Edits(FunctionMiddleware):
    """Middleware of somebody else's that changes what a function is called with."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
        context.arguments = {**dict(context.arguments), **self.changes}
        await call_next()


class Retries(FunctionMiddleware):
    """Middleware of somebody else's that calls again when a call failed."""

    async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
        for _ in range(3):
            try:
                await call_next()
            except Exception:  # noqa: BLE001  # as such middleware does
                context.result = "it failed"
            else:
                return


def play(guard: Guard, *turns: list[ToolCall], middleware: Any = None, tools: Any = (refund, explode)) -> list[str]:
    """Runs an agent over the tools of this file; what the model was told."""
    return go(agent_with(scripted(*turns), *tools, middleware=middleware or [hook(guard)]))


def go(agent: Any, said: Any = "go", **more: Any) -> list[str]:
    ended = asyncio.run(agent.run(said, **more))
    agent.client.reads(ended.messages)
    return list(agent.client.said())


def held(agent: Any, session: Any) -> Any:
    """What waits for a person, of a run whose one call does."""
    [request] = asyncio.run(agent.run("go", session=session)).user_input_requests
    return request


def yes(request: Any) -> Message:
    return Message("user", [request.to_function_approval_response(True)])


# Refused


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    guard, _ = enforcing(ConnectionError("refused"))
    play(guard, [asks()], middleware=[hook(guard, fail_closed=False)])
    assert len(RAN) == 1
    assert [(each.outcome, each.state) for each in guard.receipts] == [("failed_open", "ungoverned")]


def test_kiff_is_asked_about_what_will_run_not_about_what_the_model_wrote() -> None:
    guard, client = enforcing(lambda args: "invalid" if isinstance(args["amount"], str) else "allowed")
    play(guard, [ToolCall("refund", {"order_id": "o-1", "amount": "49.0"}, "c1")])
    assert ([asked.args["amount"] for asked in client.decides], RAN) == ([49.0], [("o-1", 49.0)])


def test_what_is_left_out_is_decided_on() -> None:
    guard, client = enforcing(lambda args: "allowed" if args["amount"] < 100 else "blocked")
    play(guard, [asks(order_id="o-1")])
    assert (RAN, client.decides[0].args) == ([], {"order_id": "o-1", "amount": 500.0})


def test_tools_given_to_one_run_are_guarded() -> None:
    guard, _ = enforcing("blocked")
    go(agent_with(scripted([asks()]), explode, middleware=[hook(guard)]), tools=[as_tool(refund)])
    assert RAN == []


@pytest.mark.parametrize("guard_first", [True, False])
def test_arguments_that_other_middleware_changes_are_those_that_kiff_decides_on(guard_first: bool) -> None:
    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    ours, theirs = hook(guard), Edits(amount=9000.0)
    play(guard, [asks()], middleware=[ours, theirs] if guard_first else [theirs, ours])
    assert [asked.args["amount"] for asked in client.decides] == [9000.0]
    assert RAN == []


def test_middleware_of_one_run_that_changes_arguments_does_not_get_behind_the_guard() -> None:
    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    go(agent_with(scripted([asks()]), refund, middleware=[hook(guard)]), middleware=[Edits(amount=9000.0)])
    assert (RAN, [asked.args["amount"] for asked in client.decides]) == ([], [9000.0])


@pytest.mark.parametrize("guard_first", [True, False])
def test_middleware_that_calls_again_cannot_call_past_the_guard(guard_first: bool) -> None:
    guard, client = enforcing("blocked")
    middleware = [hook(guard), Retries()] if guard_first else [Retries(), hook(guard)]
    [said] = play(guard, [asks()], middleware=middleware)
    assert RAN == []
    assert ("blocked" in said, client.calls) == (True, 3 if guard_first else 1)


def test_middleware_that_calls_again_after_an_error_is_asked_for_each_time() -> None:
    answers = iter(["allowed", "blocked", "blocked"])
    guard, client = enforcing(lambda args: next(answers))
    play(guard, [asks("explode", order_id="o-1")], middleware=[hook(guard), Retries()])
    assert (len(RAN), client.calls) == (1, 3)
    assert executions(guard)[0] == ("explode", "failed")


@pytest.mark.parametrize("attached", [True, False])
def test_a_guard_that_is_there_twice_asks_once(attached: bool) -> None:
    guard, client = enforcing()
    agent = agent_with(scripted([asks()]), refund, middleware=[hook(guard)])
    go(attach(guard, attach(guard, agent)), **({} if attached else {"middleware": [hook(guard)]}))
    assert (len(RAN), client.calls, executions(guard)) == (1, 1, [("refund", "succeeded")])


@pytest.mark.parametrize("attached", [False, True])
def test_an_agent_that_is_a_tool_is_guarded_with_the_one_above(attached: bool) -> None:
    guard, _ = enforcing({"payer": "allowed", "refund": "blocked"})
    payer = agent_with(scripted([asks()]), refund).as_tool(name="payer", arg_name="task")
    agent = agent_with(scripted([asks("payer", "c0", task="pay")]), payer)
    go(attach(guard, agent) if attached else agent)
    assert len(RAN) == (0 if attached else 1)  # guarded by nobody it runs: the control
    assert executions(guard) == ([("refund", "not_run"), ("payer", "succeeded")] if attached else [])


class Swaps(FunctionMiddleware):
    """Middleware of somebody else's that says another function is called."""

    def __init__(self, other: Any) -> None:
        self.other = other

    async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
        context.function = self.other
        await call_next()


@pytest.mark.parametrize("guard_first", [True, False])
def test_middleware_that_puts_a_function_in_the_place_of_another_hides_nothing(guard_first: bool) -> None:
    guard, client = enforcing("blocked")
    swaps = Swaps(as_tool(explode))
    play(guard, [asks()], middleware=[hook(guard), swaps] if guard_first else [swaps, hook(guard)])
    assert (RAN, client.calls, executions(guard)) == ([], 1, [("refund", "not_run")])


def test_middleware_that_goes_on_in_a_context_of_its_own_loses_no_guard() -> None:
    class Elsewhere(FunctionMiddleware):
        async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
            await asyncio.create_task(call_next(), context=contextvars.Context())

    first, _ = enforcing()
    second, client = enforcing("blocked")
    play(first, [asks()], middleware=[hook(second), Elsewhere(), hook(first), Elsewhere()])
    assert (RAN, client.calls, executions(second)) == ([], 1, [("refund", "not_run")])


def test_middleware_before_the_guard_that_goes_on_twice_is_answered_each_time() -> None:
    guard, client = enforcing("blocked")
    [told] = play(guard, [asks()], middleware=[Twice(), hook(guard)])
    assert (RAN, client.calls) == ([], 2)
    assert told.count("KIFF withheld") == 1


class Twice(FunctionMiddleware):
    async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
        await call_next()
        await call_next()


def test_the_agents_of_a_workflow_are_guarded_once_it_is_attached() -> None:
    guard, _ = enforcing("blocked")

    def workflow() -> Any:
        return WorkflowBuilder(start_executor=agent_with(scripted([asks()]), refund)).build()

    asyncio.run(workflow().run("go"))
    assert len(RAN) == 1  # the control
    asyncio.run(attach(guard, workflow()).run("go"))
    assert (len(RAN), executions(guard)) == (1, [("refund", "not_run")])


def test_a_tool_that_is_shared_with_an_unguarded_agent_stays_what_it_was_there() -> None:
    guard, client = enforcing("blocked")
    shared = as_tool(refund)
    kind, written = type(shared), shared.to_dict()
    play(guard, [asks()], tools=[shared])
    assert RAN == []
    go(agent_with(scripted([asks()]), shared))
    asyncio.run(copy.copy(shared).invoke(arguments={"order_id": "o-1"}))
    assert (len(RAN), client.calls) == (2, 1)
    assert (isinstance(shared, kind), shared.to_dict()["type"]) == (True, written["type"])


def test_a_function_that_middleware_itself_calls_is_not_taken_for_the_guarded_call() -> None:
    guard, client = enforcing()
    audit = tool(lambda order_id: RAN.append(("audit", order_id)), name="audit")

    class Audits(FunctionMiddleware):
        async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
            if context.function is not audit:
                await audit.invoke(arguments={"order_id": "o-1"})
            await call_next()

    play(guard, [asks("audit", "c1", order_id="o-0")], [asks(call_id="c2")], tools=[audit, refund],
         middleware=[hook(guard), Audits()])  # fmt: skip
    assert [asked.tool for asked in client.decides] == ["audit", "refund"]
    assert RAN == [("audit", "o-0"), ("audit", "o-1"), ("o-1", 5.0)]


# Held


def test_arguments_that_are_edited_after_the_approval_do_not_run() -> None:
    guard, client = enforcing("approval_required")
    edits = Edits()
    agent = agent_with(scripted([asks()]), refund, middleware=[hook(guard), edits])
    session = agent.create_session()
    request = held(agent, session)
    client.grant(client.waiting()[0])
    edits.changes = {"amount": 9000.0}
    asyncio.run(agent.run(yes(request), session=session))
    assert RAN == []
    assert client.approvals[request.additional_properties["approval_id"]].status == "granted"


def test_a_function_that_the_framework_itself_asks_about_is_decided_by_kiff_all_the_same() -> None:
    guard, _ = enforcing("blocked")
    agent = agent_with(scripted([asks()]), tool(refund, approval_mode="always_require"), middleware=[hook(guard)])
    session = agent.create_session()
    [said] = go(agent, yes(held(agent, session)), session=session)
    assert (RAN, "blocked" in said) == ([], True)


def test_another_process_that_resumes_the_conversation_needs_no_second_approval() -> None:
    client = ScriptedClient("approval_required")

    def process(turns: Any) -> Any:
        return agent_with(scripted(*turns), refund, middleware=[hook(Guard(client, agent="agent-1", mode="enforce"))])

    first = process([[asks()]])
    session = first.create_session(session_id="conversation-1")
    request = held(first, session)
    kept = session.to_dict()
    client.grant(client.waiting()[0])
    go(process([]), yes(request), session=AgentSession.from_dict(kept))
    assert (len(RAN), len(client.approvals)) == (1, 1)


# What came of it


def test_arguments_that_do_not_fit_the_tool_are_no_success() -> None:
    guard, client = enforcing()
    play(guard, [asks(wrong="o-1")])
    assert RAN == []
    assert [each.execution for each in guard.receipts] in ([], ["failed"])  # older versions look before the guard does
    assert {each.status for each in client.settles} <= {"failed"}  # nothing happened: the order is not closed


def test_a_tool_that_does_not_exist_is_refused_by_the_framework_alone() -> None:
    guard, client = enforcing()
    play(guard, [asks("no_such_tool")])
    assert (client.calls, guard.receipts) == (0, [])


def test_the_middleware_of_kiff_guard_1_guards() -> None:
    guard, _ = enforcing("blocked")
    play(guard, [asks()], middleware=[kiff_guard_middleware(guard)])
    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])
