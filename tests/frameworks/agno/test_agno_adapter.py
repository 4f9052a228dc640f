"""The tool hook on real agents of Agno: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from agno.agent import Agent
from agno.team import Team
from agno.tools import Toolkit, tool
from agno.tools.function import Function, FunctionCall, ToolResult
from agno.workflow import Parallel, Step, Workflow
from agno_driver import Script, agent_with
from guards import RAN, asks, enforcing, executions, explode, fails_open, refund

from kiff_guard import Guard
from kiff_guard.adapters.agno import agno_hook, attach, hook
from kiff_guard.errors import ConfigurationError


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)  # Agno logs each tool that fails
    yield
    logging.disable(logging.NOTSET)


async def apieces(order_id: str) -> AsyncIterator[str]:
    """Tell it piece by piece."""
    RAN.append("begun")
    yield "one, "
    yield "two"
    RAN.append("ended")


def run(agent: Any) -> Any:
    return agent.run("go")


def arun(agent: Any) -> Any:
    return asyncio.run(agent.arun("go"))


def stream(agent: Any) -> Any:
    return list(agent.run("go", stream=True, stream_events=True))


def astream(agent: Any) -> Any:
    async def all_of_it() -> list[Any]:
        return [event async for event in agent.arun("go", stream=True, stream_events=True)]

    return asyncio.run(all_of_it())


WAYS = [run, arun, stream, astream]
IN_A_LOOP = [arun, astream]


# Refused


def test_an_async_hook_is_left_out_by_agno_and_ours_is_not() -> None:
    async def asynchronous(function_name: str, func: Any, args: Any) -> str:
        return "withheld"

    guard, _ = enforcing("blocked")
    agent_with([[asks()]], refund, tool_hooks=[asynchronous])[0].run("go")
    assert len(RAN) == 1  # the control: this is why ours is a plain function
    agent_with([[asks()]], refund, tool_hooks=[hook(guard)])[0].run("go")
    assert len(RAN) == 1


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    def play(guard: Guard) -> None:
        run(agent_with([[asks()]], refund, tool_hooks=[hook(guard, fail_closed=False)])[0])

    fails_open(play)


def test_kiff_is_asked_about_what_is_left_out_and_reads_text_as_text() -> None:
    guard, client = enforcing("blocked")
    turns = [[asks(order_id="o-1")], [asks(call_id="c2", order_id="o-1", amount="49.0")]]
    agent, _ = agent_with(turns, refund, tool_hooks=[hook(guard)])

    agent.run("go")

    assert [asked.args for asked in client.decides] == [
        {"order_id": "o-1", "amount": 500.0},
        {"order_id": "o-1", "amount": "49.0"},
    ]
    assert RAN == []


@pytest.mark.parametrize("guard_first", [True, False])
@pytest.mark.parametrize("way", [run, arun])
def test_arguments_that_another_hook_changes_are_decided_on_as_the_tool_gets_them(
    guard_first: bool, way: Callable[..., Any]
) -> None:
    def harmless_words(function_name: str, func: Any, args: Any) -> Any:
        return func(**{**args, "amount": 1.0})  # Agno drops what a hook passes on: the tool gets the call's own

    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    hooks = [hook(guard), harmless_words] if guard_first else [harmless_words, hook(guard)]
    agent, _ = agent_with([[asks(order_id="o-1", amount=9000.0)]], refund, tool_hooks=hooks)

    way(agent)

    assert [asked.args["amount"] for asked in client.decides] == [9000.0]
    assert RAN == []


def test_a_hook_that_edits_the_call_before_ours_is_decided_on() -> None:
    def edit(function_name: str, func: Any, args: Any) -> Any:
        args["amount"] = 9000.0
        return func(**args)

    guard, client = enforcing("blocked")
    agent, _ = agent_with([[asks()]], refund, tool_hooks=[edit, hook(guard)])

    agent.run("go")

    assert client.decides[0].args["amount"] == 9000.0
    assert RAN == []


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_behind_the_guard_cannot_edit_the_call_after_the_decision(way: Callable[..., Any]) -> None:
    def edit(function_name: str, func: Any, args: Any, fc: Any) -> Any:
        fc[0].arguments = {"order_id": "o-1", "amount": 9000.0}
        return func(**args)

    found: list[Any] = []

    def find(fc: Any) -> None:
        found[:] = [fc]

    def behind(function_name: str, func: Any, args: Any) -> Any:
        return edit(function_name, func, args, found)

    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    agent, _ = agent_with([[asks()]], tool(pre_hook=find)(refund))
    attach(guard, agent)
    agent.tool_hooks.append(behind)

    way(agent)

    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])
    assert client.decides[0].args["amount"] == 9000.0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_hook_behind_the_guard_that_runs_a_tool_again_asks_again(way: Callable[..., Any], asynchronous: bool) -> None:
    def again(function_name: str, func: Any, args: Any) -> Any:
        try:
            return func(**args)
        except RuntimeError:
            return func(**args)

    async def aagain(function_name: str, func: Any, args: Any) -> Any:
        try:
            return await func(**args)
        except RuntimeError:
            return await func(**args)

    if asynchronous and way not in IN_A_LOOP:
        pytest.skip("Agno leaves out an async hook there")
    guard, client = enforcing()
    behind = aagain if asynchronous else again
    agent, _ = agent_with([[asks("explode", order_id="o-1")]], explode, tool_hooks=[hook(guard), behind])

    way(agent)

    assert len(RAN) == client.calls == len(guard.receipts) > 0
    assert [each.execution for each in guard.receipts] == ["failed"] * len(RAN)


@pytest.mark.parametrize("way", WAYS)
def test_of_two_guards_with_a_hook_between_each_asks_once_about_the_call(way: Callable[..., Any]) -> None:
    def between(function_name: str, func: Any, args: Any) -> Any:
        return func(**args)

    first, asked = enforcing()
    second, also = enforcing()
    hooks = [between, hook(first), between, hook(second), between]
    agent, script = agent_with([[asks(order_id="o-1")]], refund, tool_hooks=hooks)

    ended = way(agent)

    if way in (run, arun):
        script.reads(ended.messages)
        assert script.said() == ["refunded o-1"]
    assert RAN == [("o-1", 500.0)]
    assert [each.args for each in asked.decides + also.decides] == [{"order_id": "o-1", "amount": 500.0}] * 2
    assert [each.call_id for each in first.receipts + second.receipts] == ["c1", "c1"]


# Held


@pytest.mark.parametrize("way", [run, arun])
def test_a_run_ends_at_a_held_call_if_told_so(way: Callable[..., Any]) -> None:
    guard, _ = enforcing("approval_required")
    agent, script = agent_with([[asks()], [asks(call_id="c2")]], refund, tool_hooks=[hook(guard, pause=True)])

    ended = way(agent)

    assert RAN == []
    assert script.next == 1  # the model was not asked again
    assert "appr_0001" in str(ended.messages[-1].content)


def test_a_blocked_call_does_not_end_the_run() -> None:
    guard, _ = enforcing("blocked")
    agent, script = agent_with([[asks()], [asks(call_id="c2")]], refund, tool_hooks=[hook(guard, pause=True)])

    agent.run("go")

    assert script.next == 3


def test_a_call_belongs_to_its_session() -> None:
    guard, _ = enforcing()
    agent, _ = agent_with([[asks()]], refund, tool_hooks=[hook(guard)])

    agent.run("go", session_id="session-7")

    assert [(each.session, each.call_id, each.adapter) for each in guard.receipts] == [("session-7", "c1", "agno")]


def paused_natively(guard: Guard) -> tuple[Agent, Any]:
    confirmed = tool(requires_confirmation=True)(refund)
    agent, _ = agent_with([[asks()]], confirmed, tool_hooks=[hook(guard)])
    return agent, agent.run("go")


def confirm(agent: Agent, paused: Any, yes: bool) -> Any:
    for each in paused.tools:
        each.confirmed = yes
    return agent.continue_run(run_response=paused)


def test_a_confirmation_in_agno_wakes_the_call_and_kiff_decides() -> None:
    guard, client = enforcing("blocked")
    agent, paused = paused_natively(guard)
    assert paused.is_paused
    assert client.calls == 0  # Agno pauses before the hooks

    confirm(agent, paused, True)

    assert client.calls == 1
    assert RAN == []


def test_a_confirmed_call_that_kiff_allows_runs_once() -> None:
    guard, _ = enforcing()
    agent, paused = paused_natively(guard)

    confirm(agent, paused, True)

    assert RAN == [("o-1", 5.0)]
    assert [(each.execution, each.call_id) for each in guard.receipts] == [("succeeded", "c1")]


def test_a_call_that_is_not_confirmed_in_agno_does_not_reach_kiff() -> None:
    guard, client = enforcing()
    agent, paused = paused_natively(guard)

    confirm(agent, paused, False)

    assert RAN == []
    assert client.calls == 0


# How calls end


@pytest.mark.parametrize("way", IN_A_LOOP)
def test_an_async_generator_is_settled_when_it_is_read_to_its_end(way: Callable[..., Any]) -> None:
    guard, _ = enforcing()
    agent, script = agent_with([[asks("apieces", order_id="o-1")]], apieces, tool_hooks=[hook(guard)])

    way(agent)

    assert RAN == ["begun", "ended"]
    assert executions(guard) == [("apieces", "succeeded")]
    assert script.said() == ["one, two"]


@pytest.mark.parametrize("way", IN_A_LOOP)
def test_a_result_object_is_read_as_its_text(way: Callable[..., Any]) -> None:
    async def report(order_id: str) -> ToolResult:
        """Report."""
        return ToolResult(content="all is well")

    guard, _ = enforcing()
    agent, script = agent_with([[asks("report", order_id="o-1")]], report, tool_hooks=[hook(guard)])

    way(agent)

    assert script.said() == ["all is well"]


def test_ids_are_right_although_calls_of_one_turn_overlap_in_their_hooks() -> None:
    both = threading.Barrier(2)

    def slow(args: Any) -> str:
        if args["amount"] == 1.0:
            both.wait(10)
        return "allowed"

    guard, client = enforcing(slow)
    first = [asks(call_id=f"c{number}", order_id=f"o-{number}", amount=1.0) for number in (1, 2)]
    agent, _ = agent_with([first, [asks(call_id="c3")]], refund, tool_hooks=[hook(guard)])

    arun(agent)

    assert {each.call_id: each.args["order_id"] for each in guard.receipts} == {"c1": "o-1", "c2": "o-2", "c3": "o-1"}
    assert client.calls == 3


# A tool that keeps its results


def caching(folder: Any) -> Any:
    return tool(cache_results=True, cache_dir=str(folder))(refund)


@pytest.mark.parametrize("way", [run, arun])
def test_a_withheld_answer_is_not_kept_as_the_tools_result(way: Callable[..., Any], tmp_path: Any) -> None:
    guard, client = enforcing("blocked")
    way(agent_with([[asks()]], caching(tmp_path), tool_hooks=[hook(guard)])[0])
    client.outcomes = "allowed"
    agent, script = agent_with([[asks(call_id="c2")]], caching(tmp_path), tool_hooks=[hook(guard)])

    way(agent)

    assert script.said() == ["refunded o-1"]
    assert len(RAN) == 1


# The verbs


def test_attach_guards_an_agent_that_is_there_once_and_keeps_its_hooks() -> None:
    def note(function_name: str, func: Any, args: Any) -> Any:
        RAN.append("noted")
        return func(**args)

    guard, client = enforcing()
    agent, _ = agent_with([[asks()]], refund, tool_hooks=[note])

    assert attach(guard, attach(guard, agent)) is agent
    agent.run("go")

    assert RAN == ["noted", ("o-1", 5.0)]
    assert client.calls == 1


@pytest.mark.parametrize("way", [run, arun])
def test_attach_reaches_the_members_of_a_team(way: Callable[..., Any]) -> None:
    guard, _ = enforcing({"refund": "blocked"})
    member, script = agent_with([[asks()]], refund, name="payer")
    lead = Script(turns=[[asks("delegate_task_to_member", "d1", member_id="payer", task="refund o-1")]])
    inner = Team(name="inner", model=Script(), members=[member], telemetry=False)
    team = Team(model=lead, members=[inner, member], telemetry=False)

    assert attach(guard, team) is team
    way(team)

    assert RAN == []
    assert ("delegate_task_to_member", "succeeded") in executions(guard)
    assert ("refund", "not_run") in executions(guard)
    assert "blocked" in script.said()[0]


def test_attach_reaches_the_steps_of_a_workflow() -> None:
    guard, _ = enforcing("blocked")
    first, _ = agent_with([[asks()]], refund, name="first")
    second, _ = agent_with([[asks(call_id="c2")]], refund, name="second")
    steps = [Step(name="one", agent=first), Parallel(Step(name="two", agent=second), name="both")]

    attach(guard, Workflow(name="w", steps=steps, telemetry=False)).run("go")

    assert RAN == []
    assert executions(guard) == [("refund", "not_run")] * 2


def test_attach_does_not_take_away_the_hooks_that_a_tool_has() -> None:
    def theirs(function_name: str, func: Any, args: Any) -> Any:
        return func(**args)

    own = tool(name="own", tool_hooks=[theirs])(refund)
    for tools in ([own], [Toolkit(name="kit", tools=[own])]):
        with pytest.raises(ConfigurationError, match="`own` has tool hooks of its own"):
            attach(Guard(), Agent(model=Script(), tools=tools, telemetry=False))


def test_what_calls_the_hook_by_itself_may_pass_any_callable() -> None:
    guard, client = enforcing()

    assert agno_hook(guard)("refund", functools.partial(refund, amount=1.0), {"order_id": "o-1"}) == "refunded o-1"

    assert client.decides[0].args == {"order_id": "o-1"}


@pytest.mark.parametrize("parameters", [[], {"properties": 7}, None])
def test_a_schema_of_somebody_elses_stops_nothing(parameters: Any) -> None:
    guard, client = enforcing()
    odd = Function(name="refund", entrypoint=refund, parameters={}, skip_entrypoint_processing=True)
    odd.parameters = parameters
    call = FunctionCall(function=odd, arguments={"order_id": "o-1"}, call_id="c1")
    odd.tool_hooks = [hook(guard)]

    assert call.execute().result == "refunded o-1"
    assert client.decides[0].args == {"order_id": "o-1"}


def test_a_wrapped_function_keeps_its_schema_and_is_guarded_without_the_hook() -> None:
    guard, client = enforcing("blocked")
    guarded = guard.wrap(refund)
    made = Function.from_callable(guarded)
    made.process_entrypoint()
    agent, script = agent_with([[asks(order_id="o-1")]], guarded)

    agent.run("go")

    assert set(made.parameters["properties"]) == {"order_id", "amount"}
    assert RAN == []
    assert client.decides[0].args == {"order_id": "o-1", "amount": 500.0}
    assert "blocked" in script.said()[0]
