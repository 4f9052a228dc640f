"""The capability on real agents of Pydantic AI: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from guards import RAN, asks, enforcing, executions, explode, fails_open, refund
from pydantic_ai import (
    DeferredToolRequests,
    DeferredToolResults,
    ModelRetry,
    TextOutput,
    ToolApproved,
    ToolOutput,
)
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering, HandleDeferredToolCalls, Hooks
from pydantic_ai.exceptions import UnexpectedModelBehavior, UserError
from pydantic_ai.toolsets import FunctionToolset, WrapperToolset
from pydantic_ai_driver import OUTPUT, agent_with

from kiff_guard import Guard
from kiff_guard.adapters.pydantic_ai import attach, hook, kiff_before_tool_execute
from kiff_guard.conformance import ToolCall
from kiff_guard.errors import ConfigurationError


def held(guard: Guard) -> tuple[Any, Any, Any]:
    """An agent whose one call waits for a person: agent, script, the paused run."""
    agent, script = agent_with([[asks()]], refund, capabilities=[hook(guard)], output_type=OUTPUT)
    return agent, script, agent.run_sync("go")


def resumed(agent: Any, paused: Any, answer: Any) -> Any:
    return agent.run_sync(
        message_history=paused.all_messages(), deferred_tool_results=DeferredToolResults(approvals={"c1": answer})
    )


# Refused


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    def play(guard: Guard) -> None:
        agent_with([[asks()]], refund, capabilities=[hook(guard, fail_closed=False)])[0].run_sync("go")

    fails_open(play)


def test_kiff_is_asked_about_what_will_run_not_about_what_the_model_wrote() -> None:
    guard, client = enforcing("blocked")
    turns = [[ToolCall("refund", {"order_id": "o-1", "amount": "49.0"}, "c1")], [asks(call_id="c2", order_id="o-1")]]
    agent, _ = agent_with(turns, refund, capabilities=[hook(guard)])

    agent.run_sync("go")

    assert [asked.args["amount"] for asked in client.decides] == [49.0, 500.0]
    assert RAN == []


def test_streamed_and_stepped_runs_are_guarded() -> None:
    guard, _ = enforcing("blocked")
    agent, _ = agent_with([[asks()]], refund, capabilities=[hook(guard)])
    other, _ = agent_with([[asks(call_id="c2")]], refund, capabilities=[hook(guard)])

    async def both() -> None:
        async with agent.run_stream("go") as stream:
            assert await stream.get_output() == "done"
        async with other.iter("go") as run:
            assert [type(node).__name__ async for node in run][-1] == "End"

    asyncio.run(both())
    assert RAN == []
    assert executions(guard) == [("refund", "not_run")] * 2


def test_toolsets_given_to_one_run_are_guarded() -> None:
    guard, _ = enforcing("blocked")
    agent, _ = agent_with([[asks()]], capabilities=[hook(guard)])

    agent.run_sync("go", toolsets=[FunctionToolset([refund])])

    assert RAN == []


@pytest.mark.parametrize("guard_first", [True, False])
def test_arguments_that_another_capability_changes_are_those_that_kiff_decides_on(guard_first: bool) -> None:
    async def edit(ctx: Any, *, call: Any, tool_def: Any, args: Any) -> Any:
        return {**args, "amount": 9000.0}

    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    ours, theirs = hook(guard), Hooks(before_tool_execute=edit)
    both = [ours, theirs] if guard_first else [theirs, ours]
    agent, _ = agent_with([[asks()]], refund, capabilities=both)

    agent.run_sync("go")

    assert [asked.args["amount"] for asked in client.decides] == [9000.0]
    assert RAN == []


@pytest.mark.parametrize("guard_first", [True, False])
def test_a_toolset_around_the_tools_does_not_get_between_kiff_and_the_tool(guard_first: bool) -> None:
    class Editing(WrapperToolset[Any]):
        async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
            return await super().call_tool(name, {**tool_args, "amount": 9000.0}, ctx, tool)

    class Around(AbstractCapability[Any]):
        def get_wrapper_toolset(self, toolset: Any) -> Any:
            return Editing(toolset)

    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    ours, theirs = hook(guard), Around()
    both = [ours, theirs] if guard_first else [theirs, ours]
    agent, _ = agent_with([[asks()]], refund, capabilities=both)

    agent.run_sync("go")

    assert [asked.args["amount"] for asked in client.decides] == [9000.0]
    assert RAN == []


class Edits(WrapperToolset[Any]):
    """A toolset around tools that changes what they are called with."""

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
        return await super().call_tool(name, {**tool_args, "amount": 9000.0}, ctx, tool)


class Repeats(WrapperToolset[Any]):
    """A toolset around tools that calls them twice."""

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
        await super().call_tool(name, tool_args, ctx, tool)
        return await super().call_tool(name, tool_args, ctx, tool)


@pytest.mark.parametrize("around", [Edits, Repeats])
@pytest.mark.parametrize("given", ["agent", "run", "capability"])
def test_what_stands_behind_the_guard_cannot_change_or_repeat_a_call(around: Any, given: str) -> None:
    class Innermost(AbstractCapability[Any]):
        def get_ordering(self) -> Any:
            return CapabilityOrdering(position="innermost")

        def get_wrapper_toolset(self, toolset: Any) -> Any:
            return around(toolset)

    guard, client = enforcing()
    theirs = around(FunctionToolset([refund]))
    if given == "capability":
        agent, script = agent_with([[asks()]], refund)
    else:
        agent, script = agent_with([[asks()]], toolsets=[theirs] if given == "agent" else [])
    attach(guard, agent)
    more = {"agent": {}, "run": {"toolsets": [theirs]}, "capability": {"capabilities": [Innermost()]}}[given]

    script.reads(agent.run_sync("go", **more).all_messages())

    assert ([] if around is Edits else [("o-1", 5.0)]) == RAN
    assert ("after it was decided on" if around is Edits else "without being decided on again") in script.said()[0]
    assert executions(guard) == [("refund", "failed")]
    assert [each.status for each in client.settles] == ["failed" if around is Edits else "unknown"]


def test_a_toolset_that_changes_nothing_is_nobodys_trouble() -> None:
    guard, _ = enforcing()
    agent, _ = agent_with([[asks("p_refund")]], toolsets=[WrapperToolset(FunctionToolset([refund])).prefixed("p")])
    attach(guard, agent).run_sync("go")
    assert (RAN, executions(guard)) == ([("o-1", 5.0)], [("p_refund", "succeeded")])


@pytest.mark.parametrize("outcome", ["allowed", "blocked"])
def test_a_function_that_ends_a_run_is_a_tool(outcome: str) -> None:
    guard, client = enforcing(outcome)
    agent, _ = agent_with([[asks("pay")]], output_type=ToolOutput(refund, name="pay"), capabilities=[hook(guard)])
    if outcome == "allowed":
        assert agent.run_sync("go").output == "refunded o-1"
    else:
        with pytest.raises(UnexpectedModelBehavior):  # the model was told, and had no more to say
            agent.run_sync("go")
    assert client.decides[0].args == {"order_id": "o-1", "amount": 5.0}
    assert ([("o-1", 5.0)] if outcome == "allowed" else []) == RAN
    assert guard.receipts[0].execution == ("succeeded" if outcome == "allowed" else "not_run")
    assert guard.receipts[0].call_id == "c1"


def test_a_function_that_reads_the_last_text_is_a_tool() -> None:
    def act(text: str) -> str:
        RAN.append(text)
        return text

    guard, client = enforcing("blocked")
    agent, _ = agent_with([], output_type=TextOutput(act), capabilities=[hook(guard)])
    with pytest.raises(UnexpectedModelBehavior):
        agent.run_sync("go")
    assert (RAN, client.decides[0].args) == ([], {"output": "done"})


def test_output_that_is_changed_after_the_decision_reaches_no_function() -> None:
    class Changes(AbstractCapability[Any]):
        async def before_output_process(self, ctx: Any, *, output_context: Any, output: Any) -> Any:
            return {**output, "amount": 9000.0}

    for ours_first in (True, False):
        guard, _ = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
        both = [hook(guard), Changes()] if ours_first else [Changes(), hook(guard)]
        agent, _ = agent_with([[asks("pay")]], output_type=ToolOutput(refund, name="pay"), capabilities=both)
        with pytest.raises(UnexpectedModelBehavior):
            agent.run_sync("go")
    assert RAN == []


def test_a_sub_agent_is_guarded_once_it_is_attached() -> None:
    guard, _ = enforcing("blocked")
    guard_of_tools, _ = enforcing()

    def run_with(below: Any) -> None:
        async def delegate(task: str) -> str:
            """Ask the other agent."""
            return str((await below.run(task)).output)

        agent, _ = agent_with([[asks("delegate", task="x")]], delegate, capabilities=[hook(guard_of_tools)])
        agent.run_sync("go")

    run_with(agent_with([[asks()]], refund)[0])
    assert len(RAN) == 1  # the control: an agent of its own, guarded by nobody
    run_with(attach(guard, agent_with([[asks()]], refund)[0]))
    assert len(RAN) == 1


# Held


def test_a_held_call_pauses_the_run_with_the_id_of_its_approval() -> None:
    guard, _ = enforcing("approval_required")
    _, _, paused = held(guard)

    assert isinstance(paused.output, DeferredToolRequests)
    assert [call.tool_call_id for call in paused.output.approvals] == ["c1"]
    assert paused.output.metadata["c1"]["approval_id"] == "appr_0001"
    assert paused.output.metadata["c1"]["outcome"] == "approval_required"
    assert RAN == []


def test_arguments_edited_with_the_yes_are_decided_anew() -> None:
    guard, client = enforcing("approval_required")
    agent, _, paused = held(guard)
    client.grant("appr_0001")

    resumed(agent, paused, ToolApproved(override_args={"order_id": "o-1", "amount": 9000.0}))

    assert RAN == []
    assert client.decides[-1].args["amount"] == 9000.0
    assert client.decides[-1].approval_id is None


def test_an_agent_that_cannot_pause_tells_the_model() -> None:
    guard, _ = enforcing("approval_required")
    agent, script = agent_with([[asks()], [asks(call_id="c2")]], refund, capabilities=[hook(guard)])

    assert agent.run_sync("go").output == "done"

    assert RAN == []
    assert ["appr_0001" in text for text in script.said()] == [True, True]  # one question, asked twice


def test_a_model_that_was_told_asks_again_once_it_is_granted() -> None:
    guard, client = enforcing("approval_required")
    agent, _ = agent_with([[asks()]], refund, capabilities=[hook(guard)])
    agent.run_sync("go")
    client.grant("appr_0001")
    again, script = agent_with([[asks(call_id="another")]], refund, capabilities=[hook(guard)])

    again.run_sync("go")

    assert RAN == [("o-1", 5.0)]
    assert script.said() == ["refunded o-1"]


def test_a_handler_that_says_yes_to_everything_is_no_grant() -> None:
    async def yes(ctx: Any, requests: Any) -> Any:
        return DeferredToolResults(approvals={call.tool_call_id: True for call in requests.approvals})

    guard, client = enforcing("approval_required")
    capabilities = [hook(guard), HandleDeferredToolCalls(handler=yes)]
    agent, script = agent_with([[asks()]], refund, capabilities=capabilities, output_type=OUTPUT)

    agent.run_sync("go")

    assert RAN == []
    assert client.calls == 2  # it was asked again when the handler had said yes
    assert "appr_0001" in script.said()[0]


@pytest.mark.parametrize("output_type", [[str, DeferredToolRequests], str | DeferredToolRequests])
def test_it_pauses_where_the_output_may_be_deferred_however_that_is_written(output_type: Any) -> None:
    guard, _ = enforcing("approval_required")
    agent, _ = agent_with([[asks()]], refund, capabilities=[hook(guard)], output_type=output_type)

    assert isinstance(agent.run_sync("go").output, DeferredToolRequests)


def test_a_run_of_its_own_output_type_pauses_if_told_so() -> None:
    guard, _ = enforcing("approval_required")
    agent, _ = agent_with([[asks()]], refund, capabilities=[hook(guard, pause=True)])

    assert isinstance(agent.run_sync("go", output_type=OUTPUT).output, DeferredToolRequests)
    with pytest.raises(UserError, match="DeferredToolRequests"):
        agent_with([[asks()]], refund, capabilities=[hook(guard, pause=True)])[0].run_sync("go")
    assert RAN == []


# How calls end


def test_a_tool_that_wants_the_model_to_try_again_has_failed() -> None:
    tries = iter([ModelRetry("the order is locked"), None])

    def flaky(order_id: str) -> str:
        """Refund, or ask to try again."""
        RAN.append(order_id)
        error = next(tries)
        if error is not None:
            raise error
        return "refunded"

    guard, client = enforcing()
    turns = [[asks("flaky", "c1", order_id="o-1")], [asks("flaky", "c2", order_id="o-1")]]
    agent, script = agent_with(turns, flaky, capabilities=[hook(guard)], retries=2)

    agent.run_sync("go")

    assert executions(guard) == [("flaky", "failed"), ("flaky", "succeeded")]
    assert client.calls == 2
    assert "locked" in script.said()[0]


def test_a_call_that_falls_with_its_sibling_is_cancelled() -> None:
    begun = asyncio.Event()

    async def wait(order_id: str) -> str:
        """Wait for good."""
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async def fall(order_id: str) -> str:
        """Fail once the other one runs."""
        await begun.wait()
        raise RuntimeError("card network down")

    guard, _ = enforcing()
    turns = [[asks("wait", "c1", order_id="o-1"), asks("fall", "c2", order_id="o-2")]]
    agent, _ = agent_with(turns, wait, fall, capabilities=[hook(guard)])

    with pytest.raises(RuntimeError, match="card network down"):
        asyncio.run(agent.run("go"))

    assert sorted(executions(guard)) == [("fall", "failed"), ("wait", "cancelled")]


def test_a_call_belongs_to_its_conversation_which_outlives_a_run() -> None:
    guard, client = enforcing("approval_required")
    agent, _ = agent_with([[asks()]], refund, capabilities=[hook(guard)], output_type=OUTPUT)
    paused = agent.run_sync("go", conversation_id="conversation-7")
    client.grant("appr_0001")

    resumed(agent, paused, True)

    wanted = ("conversation-7", "c1", "pydantic-ai")
    assert [(each.session, each.call_id, each.adapter) for each in guard.receipts] == [wanted] * 2


# The verbs


def test_attach_guards_an_agent_that_is_there_once() -> None:
    guard, client = enforcing()
    agent, _ = agent_with([[asks()]], refund)

    assert attach(guard, attach(guard, agent)) is agent
    agent.run_sync("go")

    assert client.calls == len(RAN) == 1


def test_attach_reaches_through_a_wrapper() -> None:
    from pydantic_ai.agent import WrapperAgent

    guard, _ = enforcing("blocked")
    agent = WrapperAgent(agent_with([[asks()]], refund)[0])

    assert attach(guard, agent) is agent
    agent.run_sync("go")

    assert RAN == []


def test_what_takes_no_capability_is_not_said_to_be_guarded() -> None:
    with pytest.raises(ConfigurationError, match=r"Agent\(\.\.\., capabilities=\[hook\(guard\)\]\)"):
        attach(Guard(), object())


def test_a_wrapped_function_keeps_its_schema_and_is_guarded_without_the_capability() -> None:
    guard, client = enforcing("blocked")
    told = guard.wrap(on_hold=lambda decision: decision.explain())(refund)
    agent, script = agent_with([[asks(order_id="o-1")]], told)

    agent.run_sync("go")

    assert RAN == []
    assert client.decides[0].args == {"order_id": "o-1", "amount": 500.0}
    assert "blocked" in script.said()[0]


def test_the_published_vote_skips_a_withheld_call() -> None:
    guard, _ = enforcing("blocked")
    hooks = Hooks(before_tool_execute=kiff_before_tool_execute(guard))
    agent, script = agent_with([[asks()]], refund, capabilities=[hooks])

    agent.run_sync("go")

    assert RAN == []
    assert "blocked" in script.said()[0]
    assert executions(guard) == [("refund", "not_run")]


def test_the_published_vote_does_not_claim_to_know_how_a_call_ended() -> None:
    guard, client = enforcing()
    hooks = Hooks(before_tool_execute=kiff_before_tool_execute(guard))
    agent, _ = agent_with([[asks("explode", order_id="o-1")]], explode, capabilities=[hooks])

    with pytest.raises(RuntimeError):
        agent.run_sync("go")
    guard.flush()

    assert executions(guard) == [("explode", "unknown")]
    assert client.decides[0].options["settles"] is False


def test_a_retry_that_is_never_good_enough_ends_the_run_and_not_the_account() -> None:
    def never(order_id: str) -> str:
        """Never good enough."""
        RAN.append(order_id)
        raise ModelRetry("again")

    guard, _ = enforcing()
    agent, _ = agent_with(
        [[asks("never", f"c{number}", order_id="o-1")] for number in range(3)], never, capabilities=[hook(guard)]
    )

    with pytest.raises(UnexpectedModelBehavior):
        agent.run_sync("go")

    assert executions(guard) == [("never", "failed")] * len(RAN)
