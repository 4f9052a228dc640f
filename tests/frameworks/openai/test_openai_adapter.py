"""The guard around tools of the OpenAI Agents SDK: what a user's agent does, call by call."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from typing import Any

import pytest
from agents import (
    Agent,
    FunctionTool,
    ModelBehaviorError,
    RunConfig,
    Runner,
    RunState,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailTripwireTriggered,
    function_tool,
    handoff,
)
from agents.tool import WebSearchTool
from guards import RAN, asks, ends, enforcing, explode, fails_open, refund
from openai_driver import Script

from kiff_guard import Guard
from kiff_guard.adapters.openai_agents import (
    approval_of,
    attach,
    guard_server,
    guard_tool,
    hook,
    kiff_tool_input_guardrail,
    run_hooks,
)
from kiff_guard.conformance import ScriptedClient, ToolCall
from kiff_guard.errors import ConfigurationError


def tools(**more: Any) -> list[Any]:
    return [function_tool(refund, strict_mode=False, **more), function_tool(explode, **more)]


def agent_with(*turns: list[ToolCall], **more: Any) -> tuple[Agent[Any], Script]:
    script = Script(turns)
    more.setdefault("tools", tools())
    return Agent(name="agent", model=script, **more), script


def run(agent: Agent[Any], given: Any = "go", **more: Any) -> Any:
    ended = asyncio.run(Runner.run(agent, given, **more))
    agent.model.reads(ended.to_input_list())  # type: ignore[union-attr]
    return ended


def resumed(agent: Agent[Any], ended: Any, yes: bool = True) -> Any:
    """As another process would: from the text of the state."""

    async def resume() -> Any:
        state = await RunState.from_string(agent, ended.to_state().to_string())
        for each in state.get_interruptions():
            state.approve(each) if yes else state.reject(each)
        return await Runner.run(agent, state)

    again = asyncio.run(resume())
    agent.model.reads(again.to_input_list())  # type: ignore[union-attr]
    return again


# Yes and no


@pytest.mark.parametrize("outcome", ["blocked", "no such word"])
def test_without_a_pause_what_is_not_allowed_does_not_run_and_the_model_is_told(outcome: str) -> None:
    guard, client = enforcing(outcome)
    agent, script = agent_with([asks()])

    run(attach(guard, agent, pause=False))

    assert (RAN, client.calls) == ([], 1)
    assert [(each.call_id, each.adapter) for each in guard.receipts] == [("c1", "openai-agents")]
    assert "KIFF withheld `refund`" in script.said()[0]


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    fails_open(lambda guard: run(attach(guard, agent_with([asks()])[0], fail_closed=False)))


@pytest.mark.parametrize("args", [{"order_id": "o-1"}, {"order_id": "o-1", "amount": "9999"}])
def test_kiff_is_told_what_the_model_asked_and_not_what_became_of_it(args: dict[str, Any]) -> None:
    guard, client = enforcing(lambda asked: "allowed" if type(asked.get("amount")) is float else "invalid")
    agent, _ = agent_with([asks(**args)])

    run(attach(guard, agent))

    assert (RAN, client.decides[0].args) == ([], args)


@pytest.mark.parametrize("text", ["{", "[1]", '"text"', "null?", '{"order_id": NaN}', '{"order_id": 1, "order_id": 2}'])
@pytest.mark.parametrize("pause", [True, False])
def test_arguments_that_are_no_json_object_are_withheld(text: str, pause: bool) -> None:
    guard, _ = enforcing()
    agent, script = agent_with([ToolCall("refund", text, "c1")])  # type: ignore[arg-type]

    ended = run(attach(guard, agent, pause=pause))
    if ended.interruptions:  # the SDK itself wants a person to look at what it cannot read
        resumed(agent, ended)

    assert RAN == []
    assert guard.receipts[-1].outcome == "invalid"
    assert "KIFF withheld" in script.said()[0]


# Held


def test_a_held_call_interrupts_the_run_with_its_approval() -> None:
    guard, client = enforcing("approval_required")
    agent, _ = agent_with([asks()])

    ended = run(attach(guard, agent))

    assert RAN == []
    [pause] = ended.interruptions
    assert approval_of(guard, pause) == client.waiting()[0] == guard.receipts[0].approval_id
    assert json.loads(pause.raw_item.arguments) == {"order_id": "o-1", "amount": 5.0}


def test_another_process_can_resume() -> None:
    client = ScriptedClient("approval_required")
    guard, other = (Guard(client, mode="enforce", session="conversation-1") for _ in range(2))
    agent, script = agent_with([asks()])
    ended = run(attach(guard, agent))
    client.grant(client.waiting()[0])
    elsewhere = attach(other, Agent(name="agent", model=script, tools=tools()))

    resumed(elsewhere, ended)

    assert RAN == [("o-1", 5.0)]
    assert other.receipts[-1].approval_id == guard.receipts[0].approval_id


def test_without_a_pause_the_model_is_told_and_may_ask_again() -> None:
    guard, client = enforcing("approval_required")
    agent, script = agent_with([asks()])
    attach(guard, agent, pause=False)
    assert run(agent).interruptions == []
    assert client.waiting()[0] in script.said()[0]
    client.grant(client.waiting()[0])

    script.turns.append([asks(call_id="c2")])
    script.next = 1
    run(agent)

    assert RAN == [("o-1", 5.0)]


@pytest.mark.parametrize("own", [True, lambda ctx, params, call_id: params["amount"] > 1])
def test_a_rule_of_the_tools_own_still_pauses_and_its_yes_is_not_kiffs(own: Any) -> None:
    async def rule(ctx: Any, params: Any, call_id: str) -> bool:
        return own(ctx, params, call_id) if callable(own) else own

    guard, client = enforcing("blocked")
    agent, script = agent_with([asks()], tools=tools(needs_approval=own if own is True else rule))
    ended = run(attach(guard, agent))
    assert (len(ended.interruptions), client.calls) == (1, 0)

    resumed(agent, ended)

    assert (RAN, client.calls) == ([], 1)
    assert "KIFF withheld" in script.said()[0]


# What went wrong


def test_a_tool_that_raises_has_failed_and_the_model_is_told_as_ever() -> None:
    guard, _ = enforcing()
    agent, script = agent_with([asks("explode", order_id="o-1")])
    plain, told = agent_with([asks("explode", order_id="o-1")])

    run(attach(guard, agent))
    run(plain)

    [receipt] = guard.receipts
    assert (receipt.executed, receipt.execution, receipt.error_type) == (True, "failed", "RuntimeError")
    assert script.said() == told.said() != []


def test_a_text_for_errors_of_the_tools_own_is_kept() -> None:
    guard, _ = enforcing()
    more = {"failure_error_function": lambda ctx, error: f"sorry: {error}"}
    agent, script = agent_with([asks("explode", order_id="o-1")], tools=tools(**more))

    run(attach(guard, agent))

    assert (script.said(), guard.receipts[0].execution) == (["sorry: card network down"], "failed")


def test_an_error_that_ends_the_run_still_does() -> None:
    guard, _ = enforcing()
    agent, _ = agent_with([asks("explode", order_id="o-1")], tools=tools(failure_error_function=None))

    with pytest.raises(Exception, match="card network down"):
        run(attach(guard, agent))

    assert ends(guard) == [("explode", "allowed", "failed")]


@pytest.mark.parametrize("args", [{"amount": 5.0}, {"order_id": "o-1", "amount": "a lot"}])
def test_arguments_that_do_not_fit_have_failed_and_kiff_is_told_that_nothing_ran(args: dict[str, Any]) -> None:
    guard, client = enforcing()
    agent, script = agent_with([asks(**args)])

    run(attach(guard, agent))

    assert (RAN, ends(guard)) == ([], [("refund", "allowed", "failed")])
    assert [each.status for each in client.settles] == ["failed"]
    assert "Invalid" in script.said()[0] or "error" in script.said()[0]


def test_what_a_tool_did_before_it_raised_is_not_known() -> None:
    def odd(order_id: str) -> str:
        """Raise what the SDK raises of arguments."""
        RAN.append(order_id)
        raise ModelBehaviorError("in the middle")

    guard, client = enforcing()
    agent, _ = agent_with([asks("odd", order_id="o-1")], tools=[function_tool(odd)])

    run(attach(guard, agent))

    assert (RAN, [each.status for each in client.settles]) == (["o-1"], ["unknown"])


def test_a_function_tool_without_a_text_for_errors_is_left_as_it_is() -> None:
    async def invoke(ctx: Any, raw: str) -> str:
        raise RuntimeError("down")

    tool = FunctionTool("refund", "Refund.", {"type": "object", "properties": {}}, invoke, strict_json_schema=False)
    guard, _ = enforcing()
    agent, _ = agent_with([asks()], tools=[tool])

    with pytest.raises(Exception, match="down"):
        run(attach(guard, agent))

    assert ends(guard) == [("refund", "allowed", "failed")]


def test_a_tool_that_takes_too_long_has_not_succeeded() -> None:
    async def wait(order_id: str) -> str:
        """Wait."""
        await asyncio.sleep(20)
        return order_id

    guard, _ = enforcing()
    agent, script = agent_with([asks("wait", order_id="o-1")], tools=[function_tool(wait, timeout=0.05)])

    run(attach(guard, agent))

    assert ends(guard) == [("wait", "allowed", "cancelled")]
    assert "timed out" in script.said()[0]


# However it is run, and whatever hangs on the agent


@pytest.mark.parametrize("made", [lambda below: below, handoff], ids=["agent", "handoff"])
def test_an_agent_that_is_handed_off_to_is_guarded(made: Any) -> None:
    guard, _ = enforcing("blocked")
    below, script = agent_with([asks()])
    below.name = "below"
    above, _ = agent_with([ToolCall("transfer_to_below", {}, "c0")], tools=[], handoffs=[made(below)])

    attach(guard, above)
    run(above)
    script.reads(asyncio.run(Runner.run(below, "go")).to_input_list())

    assert (RAN, {each.tool for each in guard.receipts}) == ([], {"refund"})


def test_agents_that_hand_off_to_each_other_are_guarded() -> None:
    guard, _ = enforcing("blocked")
    one, _ = agent_with([asks()])
    other, _ = agent_with([asks()], handoffs=[one])
    one.handoffs.append(other)

    attach(guard, one)
    run(other)

    assert RAN == []


def test_an_agent_that_is_a_tool_is_guarded() -> None:
    guard, client = enforcing("blocked")
    below, _ = agent_with([asks()])
    above, _ = agent_with(
        [ToolCall("helper", {"input": "refund it"}, "c0")],
        tools=[below.as_tool(tool_name="helper", tool_description="Refunds.")],
    )

    run(attach(guard, above))

    assert (RAN, [asked.tool for asked in client.decides]) == ([], ["refund"])


def test_a_held_call_of_an_agent_that_is_a_tool_pauses_the_whole_run() -> None:
    guard, client = enforcing("approval_required")
    below, _ = agent_with([asks()])
    above, _ = agent_with(
        [ToolCall("helper", {"input": "refund it"}, "c0")],
        tools=[below.as_tool(tool_name="helper", tool_description="Refunds.")],
    )
    ended = run(attach(guard, above))
    assert [approval_of(guard, each) for each in ended.interruptions] == client.waiting()
    client.grant(client.waiting()[0])
    state = ended.to_state()
    for each in state.get_interruptions():
        state.approve(each)

    run(above, state)

    assert RAN == [("o-1", 5.0)]


def held_by_a_closure() -> Any:
    worker, _ = agent_with([asks()])

    async def ask() -> Any:
        return await Runner.run(worker, "refund it")

    async def delegate(task: str) -> str:
        """Let somebody else do it."""
        return str((await ask()).final_output)

    return delegate


def named_by_the_module() -> Any:
    global worker_of_the_module
    worker_of_the_module, _ = agent_with([asks()])
    return delegate_by_name


async def delegate_by_name(task: str) -> str:
    """Let somebody else do it."""
    return str((await Runner.run(worker_of_the_module, "refund it")).final_output)


@pytest.mark.parametrize("made", [held_by_a_closure, named_by_the_module])
@pytest.mark.parametrize("times", [1, 2])
def test_an_agent_that_a_tool_runs_is_guarded_with_the_agent(made: Any, times: int) -> None:
    guard, client = enforcing({"refund": "blocked", "*": "allowed"})
    tool = function_tool(made())
    agent, _ = agent_with([asks(tool.name, task="refund o-1")], tools=[tool])

    for _ in range(times):
        attach(guard, agent)
    run(agent)

    assert (RAN, [asked.tool for asked in client.decides]) == ([], [tool.name, "refund"])


def test_control_a_guarded_tool_does_not_guard_the_agent_it_runs() -> None:
    guard, client = enforcing({"refund": "blocked", "*": "allowed"})
    tool = guard_tool(guard, function_tool(held_by_a_closure()))
    agent, _ = agent_with([asks(tool.name, task="refund o-1")], tools=[tool])

    run(agent)

    assert (RAN, [asked.tool for asked in client.decides]) == ([("o-1", 5.0)], [tool.name])


class Shell:
    """A tool that acts on this machine and is no function tool."""

    name = "shell"


def test_a_tool_that_acts_unseen_is_not_taken_for_guarded() -> None:
    guard, _ = enforcing()
    agent, _ = agent_with([asks()])
    agent.tools.append(Shell())  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match="`shell` cannot be guarded"):
        attach(guard, agent)
    attach(Guard(mode="observe"), agent)


def test_a_tool_that_runs_elsewhere_is_left_alone() -> None:
    guard, _ = enforcing()
    agent, _ = agent_with(tools=[WebSearchTool()])

    assert attach(guard, agent).tools == [WebSearchTool()]


def test_what_is_no_agent_and_no_tool_is_not_taken_for_guarded() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="expected an Agent, found a `object`"):
        attach(guard, object())
    with pytest.raises(ConfigurationError, match="expected a FunctionTool, found a `function`"):
        guard_tool(guard, refund)


def test_a_guard_that_was_put_in_twice_asks_once() -> None:
    guard, client = enforcing()
    agent, _ = agent_with(
        [asks()], tools=[guard_tool(guard, each) for each in tools(tool_input_guardrails=[hook(guard)])]
    )

    run(attach(guard, attach(guard, agent)))

    assert (RAN, client.calls, len(guard.receipts)) == ([("o-1", 5.0)], 1, 1)


class Server:
    """What an agent asks of an MCP server."""

    async def call_tool(self, tool_name: str, arguments: Any, meta: Any = None) -> Any:
        from mcp.types import CallToolResult

        RAN.append((tool_name, arguments))
        told = {"content": [{"type": "text", "text": "done"}], "isError": arguments.get("fails", False)}
        return CallToolResult.model_validate(told)


@pytest.mark.parametrize(
    ("outcome", "fails", "execution"),
    [("blocked", False, "not_run"), ("allowed", False, "succeeded"), ("allowed", True, "failed")],
)
def test_the_tools_of_an_mcp_server_are_guarded(outcome: str, fails: bool, execution: str) -> None:
    guard, _ = enforcing(outcome)
    agent, _ = agent_with(mcp_servers=[Server()])

    [server] = attach(guard, attach(guard, agent)).mcp_servers
    result = asyncio.run(guard_server(guard, server).call_tool("refund", {"fails": fails}, None))

    assert ends(guard) == [("refund", outcome, execution)]
    assert (len(RAN), "KIFF withheld" in result.content[0].text) == ((0, True) if outcome == "blocked" else (1, False))


# The vote


def voting(guard: Guard, *turns: list[ToolCall], **more: Any) -> tuple[Agent[Any], Script]:
    return agent_with(*turns, tools=tools(tool_input_guardrails=[hook(guard)], **more))


def test_a_vote_against_a_call_withholds_it() -> None:
    guard, _ = enforcing("blocked")
    agent, script = voting(guard, [asks()])

    run(agent, hooks=run_hooks(guard))

    assert (RAN, ends(guard)) == ([], [("refund", "blocked", "not_run")])
    assert "KIFF withheld `refund`" in script.said()[0]


def test_a_vote_in_a_broken_guard_withholds_it() -> None:
    guard, _ = enforcing(RuntimeError("no route"))
    agent, _ = voting(guard, [asks()])

    run(agent)

    assert (RAN, ends(guard)) == ([], [("refund", "error", "not_run")])


@pytest.mark.parametrize(("more", "execution"), [({}, "unknown"), ({"failure_error_function": None}, "succeeded")])
def test_the_end_of_a_vote_is_told_as_well_as_it_is_known(more: dict[str, Any], execution: str) -> None:
    guard, _ = enforcing()
    agent, _ = voting(guard, [asks()], **more)

    run(agent, hooks=run_hooks(guard))

    assert (RAN, ends(guard)) == ([("o-1", 5.0)], [("refund", "allowed", execution)])
    assert guard.receipts[0].result_hash


def test_a_vote_whose_end_nobody_tells_is_swept() -> None:
    guard, client = enforcing()
    agent, _ = voting(guard, [asks()])

    run(agent)
    assert guard.receipts == []
    guard.flush()

    assert ends(guard) == [("refund", "allowed", "unknown")]
    assert [each.status for each in client.settles] == ["unknown"]


def test_a_vote_beside_a_call_that_ends_the_run_is_no_success() -> None:
    def ends(data: Any) -> Any:
        return ToolGuardrailFunctionOutput.raise_exception()

    guard, _ = enforcing(slow=0.2)
    ending = function_tool(explode, tool_input_guardrails=[ToolInputGuardrail(guardrail_function=ends, name="ends")])
    turn = [asks("explode", "c2", order_id="o-2"), asks()]
    agent, _ = agent_with(turn, tools=[ending, tools(tool_input_guardrails=[hook(guard)])[0]])

    with pytest.raises(ToolInputGuardrailTripwireTriggered):
        run(agent, hooks=run_hooks(guard))
    guard.flush()

    assert (RAN, [each.execution for each in guard.receipts]) == ([], ["not_run"])


def test_a_vote_in_observe_lets_everything_run() -> None:
    guard = Guard(mode="observe")
    agent, _ = voting(guard, [asks()])

    run(agent, hooks=run_hooks(guard))

    assert (RAN, [each.state for each in guard.receipts]) == ([("o-1", 5.0)], ["observed"])


def test_guardrails_that_are_asked_before_and_after_a_person_ask_kiff_once() -> None:
    if tuple(map(int, version("openai-agents").split(".")[:2])) < (0, 18):
        pytest.skip("needs openai-agents 0.18: before, guardrails were asked once")
    from agents import ToolExecutionConfig

    config = RunConfig(tool_execution=ToolExecutionConfig(pre_approval_tool_input_guardrails=True))
    guard, client = enforcing()
    agent, _ = voting(guard, [asks()], needs_approval=True)
    ended = run(agent, run_config=config)

    async def resume() -> None:
        state = ended.to_state()
        state.approve(state.get_interruptions()[0])
        await Runner.run(agent, state, run_config=config, hooks=run_hooks(guard))

    asyncio.run(resume())

    assert (RAN, client.calls, len(guard.receipts)) == ([("o-1", 5.0)], 1, 1)


def test_the_published_name_is_still_there() -> None:
    guard, _ = enforcing("blocked")
    agent, script = agent_with([asks()], tools=tools(tool_input_guardrails=[kiff_tool_input_guardrail(guard)]))

    run(agent)

    assert RAN == []
    assert "KIFF withheld `refund`" in script.said()[0]


# Observe


def test_observe_asks_nobody_and_changes_nothing() -> None:
    guard = Guard(mode="observe")
    agent, script = agent_with([asks()], [asks("explode", "c2", order_id="o-2")])
    plain, told = agent_with([asks()], [asks("explode", "c2", order_id="o-2")])

    run(attach(guard, agent))
    run(plain)

    assert RAN == [("o-1", 5.0), "o-2"] * 2
    assert script.said() == told.said()
    assert [(each.state, each.execution) for each in guard.receipts] == [
        ("observed", "succeeded"),
        ("observed", "failed"),
    ]
