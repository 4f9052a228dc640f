"""The guard in LangChain agents and LangGraph graphs: what a user's agent does, call by call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from guards import RAN, asks, ends, enforcing, explode, fails_open, refund
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, wrap_tool_call
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.types import Command, interrupt
from langgraph_driver import GO, Script, graph_of, script_of

from kiff_guard import Guard
from kiff_guard.adapters.langgraph import attach, hook, kiff_wrap_tool_call, wrappers
from kiff_guard.conformance import ToolCall
from kiff_guard.errors import ConfigurationError

THREAD = {"configurable": {"thread_id": "thread-1"}}


def agent_with(guard: Guard, *turns: list[ToolCall], pauses: bool = True, **more: Any) -> tuple[Any, Script]:
    script = script_of(turns)
    tools = more.pop("tools", [refund, explode])
    middleware = more.pop("middleware", [hook(guard)])
    saver = InMemorySaver() if pauses else None
    return create_agent(script, tools, middleware=middleware, checkpointer=saver, **more), script


def last_message(state: Any, call_id: str = "c1") -> ToolMessage:
    return next(each for each in reversed(state["messages"]) if getattr(each, "tool_call_id", "") == call_id)


# Yes and no


def test_what_is_withheld_is_told_as_an_error_with_its_decision() -> None:
    guard, _ = enforcing("blocked")
    agent, _ = agent_with(guard, [asks()])

    told = last_message(agent.invoke(GO, THREAD))

    assert (told.status, told.artifact["kiff"]["outcome"]) == ("error", "blocked")
    assert "KIFF withheld `refund`" in told.content
    [receipt] = guard.receipts
    assert (receipt.call_id, receipt.session, receipt.adapter) == ("c1", "thread-1", "langgraph")


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    def play(guard: Guard) -> None:
        agent_with(guard, [asks()], middleware=[hook(guard, fail_closed=False)])[0].invoke(GO, THREAD)

    fails_open(play)


@pytest.mark.parametrize("args", [{"order_id": "o-1"}, {"order_id": "o-1", "amount": "9999"}])
def test_kiff_is_told_what_the_model_asked_and_not_what_became_of_it(args: dict[str, Any]) -> None:
    """An argument left out, and a number written as text: the domain's parameters refuse both."""
    guard, client = enforcing(lambda asked: "allowed" if type(asked.get("amount")) is float else "invalid")
    agent, _ = agent_with(guard, [asks(**args)])

    agent.invoke(GO, THREAD)

    assert (RAN, client.decides[0].args) == ([], args)


# Held


def test_a_held_call_interrupts_with_its_approval_and_its_call() -> None:
    guard, client = enforcing("approval_required")
    agent, _ = agent_with(guard, [asks()])

    [pause] = agent.invoke(GO, THREAD)["__interrupt__"]

    assert RAN == []
    assert pause.value["approval_id"] == client.waiting()[0]
    assert (pause.value["type"], pause.value["tool"], pause.value["tool_call_id"]) == ("kiff_approval", "refund", "c1")


@pytest.mark.parametrize("said", [True, False, None, {"approved": True}, "yes"])
def test_no_resume_runs_what_kiff_still_waits_for(said: Any) -> None:
    guard, _ = enforcing("approval_required")
    agent, script = agent_with(guard, [asks()])
    agent.invoke(GO, THREAD)

    state = agent.invoke(Command(resume={"said": said}), THREAD)

    assert RAN == []
    assert "__interrupt__" not in state
    assert guard.receipts[0].approval_id in script.said()[0]


def test_a_graph_that_only_goes_on_asks_kiff_too() -> None:
    """The grant came by another way, and nobody has an answer for the graph."""
    guard, client = enforcing("approval_required")
    agent, script = agent_with(guard, [asks()])
    agent.invoke(GO, THREAD)
    again = agent.invoke(None, THREAD)
    assert (RAN, again["__interrupt__"][0].value["approval_id"]) == ([], client.waiting()[0])
    client.grant(client.waiting()[0])

    agent.invoke(None, THREAD)

    assert (RAN, script.said()) == ([("o-1", 5.0)], ["refunded o-1"])


def test_another_process_can_resume() -> None:
    guard, client = enforcing("approval_required")
    saver, script = InMemorySaver(), script_of([[asks()]])
    create_agent(script, [refund], middleware=[hook(guard)], checkpointer=saver).invoke(GO, THREAD)
    client.grant(client.waiting()[0])
    other = Guard(client, agent="agent-1", mode="enforce")

    create_agent(script, [refund], middleware=[hook(other)], checkpointer=saver).invoke(Command(resume=True), THREAD)

    assert RAN == [("o-1", 5.0)]
    assert other.receipts[-1].approval_id == guard.receipts[0].approval_id


@pytest.mark.parametrize("granted", [True, False])
def test_an_answer_to_a_pause_answers_no_question_of_the_tools_own(granted: bool) -> None:
    """The tool asks a person, too. What was said of the approval must not reach it."""

    def wire(order_id: str) -> str:
        """Wire money, and ask first."""
        RAN.append(("asked", interrupt({"really": order_id})))
        return "wired"

    guard, client = enforcing("approval_required")
    agent, script = agent_with(guard, [asks("wire", order_id="o-1")], tools=[wire])
    agent.invoke(GO, THREAD)
    client.grant(client.waiting()[0])

    state = agent.invoke(Command(resume="the approval's answer") if granted else None, THREAD)
    assert (RAN, state["__interrupt__"][0].value) == ([], {"really": "o-1"})
    client.outcomes = "allowed"
    agent.invoke(Command(resume="really"), THREAD)

    assert (RAN, script.said()) == ([("asked", "really")], ["wired"])


@pytest.mark.parametrize("how", [{"pauses": False}, {"pauses": True}])
def test_without_a_pause_the_model_is_told_and_may_ask_again(how: dict[str, bool]) -> None:
    guard, client = enforcing("approval_required")
    middleware = [hook(guard, pause=False if how["pauses"] else None)]
    agent, script = agent_with(guard, [asks()], middleware=middleware, **how)

    agent.invoke(GO, THREAD)
    approval = client.waiting()[0]
    assert approval in script.said()[0]
    client.grant(approval)
    again, _ = agent_with(guard, [asks(call_id="c2")], middleware=middleware, **how)
    again.invoke(GO, {"configurable": {"thread_id": "thread-2"}})

    assert RAN == [("o-1", 5.0)]


def test_two_held_calls_of_one_turn_are_answered_one_by_one() -> None:
    guard, client = enforcing("approval_required")
    agent, _ = agent_with(guard, [asks(), asks(call_id="c2", order_id="o-2", amount=7.0)])
    pauses = agent.invoke(GO, THREAD)["__interrupt__"]
    first, second = sorted(pauses, key=lambda pause: pause.value["tool_call_id"])
    client.grant(second.value["approval_id"])

    agent.invoke(Command(resume={second.id: True}), THREAD)
    assert RAN == [("o-2", 7.0)]
    agent.invoke(Command(resume={first.id: True}), THREAD)

    assert RAN == [("o-2", 7.0)]


# What ran is not run again


def unguarded(held: str) -> dict[str, Any]:
    """A wrapper without a memory: what a tool node does by itself when one of its calls is interrupted."""

    def wrap(request: Any, handler: Any) -> Any:
        if request.tool_call["name"] == held:
            interrupt("may it?")
        return handler(request)

    return {"wrap_tool_call": wrap}


def delete(order_id: str) -> str:
    """Delete an order."""
    RAN.append(("deleted", order_id))
    return "deleted"


SIBLINGS = [asks(), asks("delete", "c2", order_id="o-9")]


def test_control_a_tool_node_runs_the_sibling_of_a_paused_call_twice() -> None:
    graph = graph_of(script_of([SIBLINGS]), ToolNode([refund, delete], **unguarded("delete")), InMemorySaver())

    graph.invoke(GO, THREAD)
    graph.invoke(Command(resume=True), THREAD)

    assert RAN.count(("o-1", 5.0)) == 2


@pytest.mark.parametrize("is_async", [False, True])
def test_guarded_it_runs_once_and_the_model_is_told_its_result(is_async: bool) -> None:
    guard, client = enforcing({"delete": "approval_required"})
    script = script_of([SIBLINGS])
    graph = graph_of(script, ToolNode([refund, delete], **wrappers(guard)), InMemorySaver())

    def invoke(given: Any) -> Any:
        return asyncio.run(graph.ainvoke(given, THREAD)) if is_async else graph.invoke(given, THREAD)

    invoke(GO)
    client.grant(client.waiting()[0])
    invoke(Command(resume=True))

    assert sorted(RAN) == [("deleted", "o-9"), ("o-1", 5.0)]
    assert script.said() == ["refunded o-1", "deleted"]
    assert sorted(ends(guard)) == [
        ("delete", "allowed", "succeeded"), ("delete", "approval_required", "not_run"),
        ("refund", "allowed", "succeeded"),
    ]  # fmt: skip


def test_a_pause_in_a_loop_waits_for_what_is_under_way() -> None:
    """A tool that is cut off in the middle may have moved the money already."""

    async def slowly(order_id: str) -> str:
        """Refund an order, and take time."""
        RAN.append("began")
        await asyncio.sleep(0.2)
        RAN.append("ended")
        return "refunded"

    guard, client = enforcing({"delete": "approval_required"})
    tools = [StructuredTool.from_function(coroutine=slowly, name="slowly"), delete]
    turn = [asks("slowly", order_id="o-1"), asks("delete", "c2", order_id="o-9")]
    graph = graph_of(script_of([turn]), ToolNode(tools, **wrappers(guard)), InMemorySaver())

    state = asyncio.run(graph.ainvoke(GO, THREAD))

    assert (RAN, len(state["__interrupt__"])) == (["began", "ended"], 1)
    assert ("slowly", "allowed", "succeeded") in ends(guard)
    assert client.calls == 2


def test_without_a_thread_ids_are_only_names() -> None:
    """Small models number their calls from 0 in every run."""
    guard, _ = enforcing()
    for _ in range(2):
        agent, _ = agent_with(guard, [asks()], pauses=False)
        agent.invoke(GO)

    assert RAN == [("o-1", 5.0)] * 2


# What is decided is what runs


class Edits(AgentMiddleware):
    """Middleware that hands on other arguments, or another tool."""

    def __init__(self, **more: Any) -> None:
        super().__init__()
        self.more = more

    def _edited(self, request: Any) -> Any:
        call = request.tool_call
        return request.override(tool_call={**call, "args": {**call["args"], **self.more}})

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return handler(self._edited(request))

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(self._edited(request))


class Swaps(Edits):
    def _edited(self, request: Any) -> Any:
        other = next(tool for tool in request.runtime.tools if tool.name == "explode")
        return replace(request, tool=other)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("more", [{"amount": 9999.0}, {"order_id": "o-2"}])
def test_arguments_that_change_behind_the_guard_do_not_run(more: dict[str, Any], is_async: bool) -> None:
    guard, client = enforcing(lambda args: "allowed" if args.get("amount", 0) <= 10 else "blocked")
    agent, script = agent_with(guard, [asks()], middleware=[hook(guard), Edits(**more)])

    asyncio.run(agent.ainvoke(GO, THREAD)) if is_async else agent.invoke(GO, THREAD)

    assert RAN == []
    assert "it was changed after it was decided on" in script.said()[0]
    [receipt] = guard.receipts
    assert (receipt.execution, receipt.error_type) == ("failed", "ArgumentsChanged")
    assert [asked.args["amount"] for asked in client.decides] == [5.0]


def test_an_argument_that_is_added_behind_the_guard_does_not_run() -> None:
    guard, _ = enforcing()
    agent, _ = agent_with(guard, [asks(order_id="o-1")], middleware=[hook(guard), Edits(amount=9999.0)])

    agent.invoke(GO, THREAD)

    assert RAN == []


def test_arguments_that_change_before_the_guard_are_decided_on() -> None:
    guard, client = enforcing(lambda args: "allowed" if args["amount"] <= 10 else "blocked")
    agent, _ = agent_with(guard, [asks()], middleware=[Edits(amount=9999.0), hook(guard)])

    agent.invoke(GO, THREAD)

    assert (RAN, client.decides[0].args["amount"]) == ([], 9999.0)


def test_middleware_behind_the_guard_that_changes_nothing_is_let_pass() -> None:
    guard, _ = enforcing()
    agent, script = agent_with(guard, [asks()], middleware=[hook(guard), Edits()])

    agent.invoke(GO, THREAD)

    assert (RAN, script.said()) == ([("o-1", 5.0)], ["refunded o-1"])


def test_a_tool_that_is_swapped_behind_the_guard_does_not_run() -> None:
    if "tools" not in ToolRuntime.__dataclass_fields__:
        pytest.skip("needs LangGraph 1.1: before, middleware had no other tools at hand")
    guard, _ = enforcing()
    agent, _ = agent_with(guard, [asks(order_id="o-1")], middleware=[hook(guard), Swaps()])

    agent.invoke(GO, THREAD)

    assert RAN == []


@pytest.mark.parametrize("guard_is_last", [True, False])
def test_a_reviewers_edit_never_runs_undecided(guard_is_last: bool) -> None:
    guard, client = enforcing(lambda args: "allowed" if args["amount"] <= 10 else "blocked")
    asking = HumanInTheLoopMiddleware(interrupt_on={"refund": True})
    middleware = [asking, hook(guard)] if guard_is_last else [hook(guard), asking]
    agent, _ = agent_with(guard, [asks()], middleware=middleware)
    agent.invoke(GO, THREAD)
    edited = {"name": "refund", "args": {"order_id": "o-1", "amount": 9999.0}}

    agent.invoke(Command(resume={"decisions": [{"type": "edit", "edited_action": edited}]}), THREAD)

    assert RAN == []
    assert client.calls == 1


def test_a_reviewers_yes_is_no_yes_of_kiffs() -> None:
    guard, _ = enforcing("blocked")
    asking = HumanInTheLoopMiddleware(interrupt_on={"refund": True})
    agent, _ = agent_with(guard, [asks()], middleware=[hook(guard), asking])
    agent.invoke(GO, THREAD)

    agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)

    assert RAN == []


# What went wrong


@pytest.mark.parametrize("args", [{"amount": 5.0}, {"order_id": "o-1", "amount": "a lot"}, {"orders": []}])
def test_arguments_that_do_not_fit_have_failed_and_kiff_is_told_that_nothing_ran(args: dict[str, Any]) -> None:
    guard, client = enforcing()
    agent, _ = agent_with(guard, [asks(**args)])

    agent.invoke(GO, THREAD)

    assert (RAN, ends(guard)) == ([], [("refund", "allowed", "failed")])
    assert [each.status for each in client.settles] == ["failed"]


def test_a_tool_that_nobody_has_has_failed() -> None:
    guard, client = enforcing()
    agent, _ = agent_with(guard, [asks("no_such_tool")])

    agent.invoke(GO, THREAD)

    assert ends(guard) == [("no_such_tool", "allowed", "failed")]
    assert [each.status for each in client.settles] == ["failed"]


def test_what_a_tool_did_before_it_told_an_error_is_not_known() -> None:
    def broken(order_id: str) -> Any:
        """Tell an error."""
        RAN.append(order_id)
        return ToolMessage("timed out", tool_call_id="c1", status="error")

    guard, client = enforcing()
    agent, _ = agent_with(guard, [asks("broken", order_id="o-1")], tools=[broken])

    agent.invoke(GO, THREAD)

    assert (RAN, ends(guard)) == (["o-1"], [("broken", "allowed", "failed")])
    assert [each.status for each in client.settles] == ["unknown"]


class Retries(AgentMiddleware):
    """Tries once more."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        try:
            return handler(request)
        except RuntimeError:
            return handler(request)


def test_a_retry_behind_the_guard_does_not_run_the_tool_a_second_time() -> None:
    """The money may have left before the error: it is not known, and not decided on again."""
    guard, client = enforcing()
    turn = [asks("explode", order_id="o-1")]
    agent, script = agent_with(guard, turn, middleware=[hook(guard), Retries()])

    agent.invoke(GO, THREAD)

    assert (RAN, client.calls) == (["o-1"], 1)
    assert [each.status for each in client.settles] == ["unknown"]
    assert (guard.receipts[0].execution, guard.receipts[0].error_type) == ("failed", "RanAlready")
    assert "was not decided on again" in script.said()[0]


def test_every_try_of_a_retry_is_decided() -> None:
    failures = [RuntimeError("once"), None]

    def flaky(order_id: str) -> str:
        """Fail at first."""
        error = failures.pop(0)
        if error:
            raise error
        return "done"

    guard, client = enforcing()
    agent, script = agent_with(
        guard, [asks("flaky", order_id="o-1")], tools=[flaky], middleware=[Retries(), hook(guard)]
    )

    agent.invoke(GO, THREAD)

    assert (client.calls, script.said()) == (2, ["done"])
    assert [(each.attempt, each.execution) for each in guard.receipts] == [(1, "failed"), (2, "succeeded")]


def test_a_pause_of_the_tools_own_leaves_nothing_open() -> None:
    def wire(order_id: str) -> str:
        """Ask first."""
        return f"wired after {interrupt('really?')}"

    guard, client = enforcing()
    agent, script = agent_with(guard, [asks("wire", order_id="o-1")], tools=[wire])

    assert agent.invoke(GO, THREAD)["__interrupt__"][0].value == "really?"
    agent.invoke(Command(resume="yes"), THREAD)

    assert [(each.execution, each.error_type) for each in guard.receipts] == [
        ("failed", "Interrupted"),
        ("succeeded", ""),
    ]
    assert [each.status for each in client.settles] == ["failed", "succeeded"]
    assert script.said() == ["wired after yes"]


# However it is run, and however it is put in


@pytest.mark.parametrize("mode", ["updates", "values", "messages"])
def test_a_stream_of_the_run_is_guarded(mode: Any) -> None:
    guard, _ = enforcing("blocked")
    agent, _ = agent_with(guard, [asks()])

    list(agent.stream(GO, THREAD, stream_mode=mode))

    assert (RAN, ends(guard)) == ([], [("refund", "blocked", "not_run")])


def test_a_batch_of_runs_is_guarded() -> None:
    guard, _ = enforcing("blocked")
    agent, _ = agent_with(guard, [asks()], [], [asks()])

    agent.batch([GO, GO], [{"configurable": {"thread_id": name}, "max_concurrency": 1} for name in ("a", "b")])

    assert (RAN, len(guard.receipts)) == ([], 2)


def test_a_graph_that_is_there_already_is_guarded_innermost() -> None:
    guard, client = enforcing(lambda args: "allowed" if args["amount"] <= 10 else "blocked")
    agent, _ = agent_with(guard, [asks()], middleware=[Edits(amount=9999.0)])

    attach(guard, attach(guard, agent)).invoke(GO, THREAD)

    assert (RAN, client.calls) == ([], 1)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("behind", [[], [Edits()]], ids=["last", "not last"])
def test_a_guard_that_was_put_in_both_ways_asks_once(behind: list[Any], is_async: bool) -> None:
    guard, client = enforcing()
    agent, _ = agent_with(guard, [asks()], [asks(call_id="c2")], middleware=[hook(guard), *behind])
    attach(guard, agent)

    asyncio.run(agent.ainvoke(GO, THREAD)) if is_async else agent.invoke(GO, THREAD)

    assert (RAN, client.calls, len(guard.receipts)) == ([("o-1", 5.0)] * 2, 2, 2)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_node_that_is_there_already_is_guarded(is_async: bool) -> None:
    guard, _ = enforcing("blocked")
    graph = graph_of(script_of([[asks()]]), attach(guard, ToolNode([refund])))

    asyncio.run(graph.ainvoke(GO)) if is_async else graph.invoke(GO)

    assert (RAN, ends(guard)) == ([], [("refund", "blocked", "not_run")])


def test_a_graph_in_a_graph_is_guarded() -> None:
    guard, _ = enforcing("blocked")
    inner = graph_of(script_of([[asks()]]), ToolNode([refund]))
    outer = graph_of(script_of([[asks()]]), inner)

    attach(guard, outer)
    inner.invoke(GO)

    assert RAN == []


def test_what_has_no_tool_node_is_not_taken_for_guarded() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="a `object` has no tool node"):
        attach(guard, object())


def below() -> Any:
    return graph_of(script_of([[asks()]]), ToolNode([refund]))


def held_by_a_closure() -> Any:
    worker = below()

    def ask(task: str) -> Any:
        return worker.invoke(GO)

    def delegate(task: str) -> str:
        """Let somebody else do it."""
        return str(ask(task)["messages"][-1].content)

    return delegate


def held_by_an_object() -> Any:
    class Delegate(BaseTool):
        name: str = "delegate"
        description: str = "Let somebody else do it."
        worker: Any

        def _run(self, task: str) -> str:
            return str(self.worker.invoke(GO)["messages"][-1].content)

    return Delegate(worker=below())


def named_by_the_module() -> Any:
    global worker_of_the_module
    worker_of_the_module = below()
    return delegate_by_name


def delegate_by_name(task: str) -> str:
    """Let somebody else do it."""
    return str(worker_of_the_module.invoke(GO)["messages"][-1].content)


@pytest.mark.parametrize("made", [held_by_a_closure, held_by_an_object, named_by_the_module])
def test_a_sub_agent_that_a_tool_starts_is_guarded_with_the_agent(made: Any) -> None:
    guard, client = enforcing({"refund": "blocked", "*": "allowed"})
    tool = made()
    name = getattr(tool, "name", None) or tool.__name__
    agent, _ = agent_with(guard, [asks(name, task="refund o-1")], tools=[tool], middleware=[])

    attach(guard, agent).invoke(GO, THREAD)

    assert (RAN, [asked.tool for asked in client.decides]) == ([], [name, "refund"])


def test_a_sub_agents_ids_are_its_own() -> None:
    """Its model numbers its calls from 0, as the model above does; the refund is another one all the same."""
    guard, client = enforcing()
    calls = [[asks()], [asks("delegate", "c2", task="once more")]]
    agent, _ = agent_with(guard, *calls, tools=[refund, held_by_a_closure()], middleware=[])

    attach(guard, agent).invoke(GO, THREAD)

    assert (RAN, client.calls) == ([("o-1", 5.0)] * 2, 3)
    assert len({each.session for each in guard.receipts}) == 2


def test_a_held_call_of_a_sub_agent_pauses_the_agent_above() -> None:
    guard, client = enforcing({"refund": "approval_required", "*": "allowed"})
    worker = graph_of(script_of([[asks()], [asks()]]), ToolNode([refund]))

    def delegate(task: str) -> str:
        """Let somebody else do it."""
        return str(worker.invoke(GO)["messages"][-1].content)

    agent, script = agent_with(guard, [asks("delegate", task="refund o-1")], tools=[delegate], middleware=[])
    state = attach(guard, agent).invoke(GO, THREAD)
    assert (RAN, state["__interrupt__"][0].value["tool"]) == ([], "refund")
    client.grant(client.waiting()[0])

    agent.invoke(Command(resume=True), THREAD)

    assert RAN == [("o-1", 5.0)]
    assert len(script.said()) == 1


def test_control_middleware_does_not_reach_a_sub_agent() -> None:
    guard, client = enforcing({"refund": "blocked", "*": "allowed"})
    agent, _ = agent_with(guard, [asks("delegate", task="refund o-1")], tools=[held_by_a_closure()])

    agent.invoke(GO, THREAD)

    assert (RAN, [asked.tool for asked in client.decides]) == ([("o-1", 5.0)], ["delegate"])


def deep_agent(worker: str, *calls: list[ToolCall], **more: Any) -> tuple[Any, Script]:
    deepagents = pytest.importorskip("deepagents", reason="needs deepagents: only the latest pins have it")
    script = script_of([[asks("task", description="refund o-1", subagent_type=worker)], *calls])
    return deepagents.create_deep_agent(model=script, tools=[refund], **more), script


SPEC = {"name": "worker", "description": "refunds", "system_prompt": "refund", "tools": [refund]}


@pytest.mark.parametrize("worker", ["worker", "general-purpose"])
def test_control_deepagents_hands_middleware_to_no_sub_agent(worker: str) -> None:
    guard, client = enforcing({"refund": "blocked", "*": "allowed"})
    agent, _ = deep_agent(worker, [asks(call_id="c2")], middleware=[hook(guard)], subagents=[dict(SPEC)])

    agent.invoke(GO)

    assert (RAN, [asked.tool for asked in client.decides]) == ([("o-1", 5.0)], ["task"])


@pytest.mark.parametrize("worker", ["worker", "general-purpose"])
def test_a_deep_agent_is_guarded_with_all_its_sub_agents(worker: str) -> None:
    guard, client = enforcing({"refund": "blocked", "*": "allowed"})
    agent, _ = deep_agent(worker, [asks(call_id="c2")], subagents=[dict(SPEC)])

    attach(guard, agent).invoke(GO)

    assert (RAN, [asked.tool for asked in client.decides]) == ([], ["task", "refund"])


def test_a_sub_agent_of_deepagents_that_is_made_when_it_is_called_is_guarded() -> None:
    from kiff_guard.adapters.langgraph_graphs import find

    guard, _ = enforcing("blocked")
    agent, _ = deep_agent("worker", subagents=[dict(SPEC)])

    specs = find(attach(guard, attach(guard, agent))).specs

    assert {spec["name"] for spec in specs} == {"worker", "general-purpose"}
    assert all([type(each).__name__ for each in spec["middleware"]].count("KiffMiddleware") == 1 for spec in specs)
    assert all(type(spec["middleware"][-1]).__name__ == "KiffMiddleware" for spec in specs)


def test_a_reviewers_edit_in_a_deep_agent_is_decided_on() -> None:
    """deepagents puts its reviewer behind all middleware of ours, and `attach` goes behind that."""
    guard, client = enforcing(lambda args: "allowed" if args.get("amount", 0) <= 10 else "blocked")
    agent, script = deep_agent("worker", interrupt_on={"refund": True}, checkpointer=InMemorySaver())
    script.turns = [[asks()]]
    attach(guard, agent).invoke(GO, THREAD)
    edited = {"name": "refund", "args": {"order_id": "o-1", "amount": 7.0}}

    agent.invoke(Command(resume={"decisions": [{"type": "edit", "edited_action": edited}]}), THREAD)

    assert (RAN, [asked.args["amount"] for asked in client.decides]) == ([("o-1", 7.0)], [7.0])


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_sub_agent_of_deepagents_is_guarded_by_its_spec(is_guarded: bool) -> None:
    guard, client = enforcing({"refund": "blocked", "*": "allowed"})
    spec = attach(guard, dict(SPEC)) if is_guarded else dict(SPEC)
    agent, _ = deep_agent("worker", [asks(call_id="c2")], middleware=[hook(guard)], subagents=[spec])

    agent.invoke(GO)

    ran = [] if is_guarded else [("o-1", 5.0)]
    assert ran == RAN
    assert ("refund" in [asked.tool for asked in client.decides]) is is_guarded


def test_a_compiled_sub_agent_of_deepagents_is_guarded_where_it_is() -> None:
    guard, _ = enforcing("blocked")

    spec = attach(guard, {"name": "worker", "description": "refunds", "runnable": below()})
    spec["runnable"].invoke(GO)

    assert RAN == []


def test_a_sub_agent_on_another_server_is_refused() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="guard it there"):
        attach(guard, {"name": "far", "description": "d", "graph_id": "g"})


def test_the_published_name_is_still_there() -> None:
    guard, _ = enforcing("blocked")
    agent, script = agent_with(guard, [asks()], middleware=[wrap_tool_call(kiff_wrap_tool_call(guard))])

    agent.invoke(GO, THREAD)

    assert RAN == []
    assert "KIFF withheld `refund`" in script.said()[0]


# Observe


def test_observe_lets_arguments_change() -> None:
    guard = Guard(mode="observe")
    agent, _ = agent_with(guard, [asks()], middleware=[hook(guard), Edits(amount=9999.0)])

    agent.invoke(GO, THREAD)

    assert RAN == [("o-1", 9999.0)]
