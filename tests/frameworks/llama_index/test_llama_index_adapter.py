"""What only LlamaIndex has: steps that begin anew, runs that wait, handoffs, agents alone and in workflows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from guards import ends
from llama_driver import Kept, Run, ScriptedModel, alone, as_tool, scripted, workflow
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.agent.workflow import ToolCall as StepOf
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context, HumanResponseEvent

from kiff_guard import Guard
from kiff_guard.adapters import llama_index
from kiff_guard.conformance import ScriptedClient, ToolCall
from kiff_guard.conformance.world import World
from kiff_guard.errors import ConfigurationError

DELETE = ToolCall("delete_account", {"account_id": "a-9"}, "call-1")
REFUND = ToolCall("refund", {"order_id": "o-1", "amount": 5.0}, "call-2")
HELD = {"delete_account": "approval_required", "*": "allowed"}
both = pytest.mark.parametrize("made", [alone, workflow])


class _Stepping:
    """The context of a step: what the guard and the step take from it."""

    def __init__(self, context: Context) -> None:
        self.store = context.store

    def write_event_to_stream(self, event: Any) -> None:
        pass


class Scene:
    """A KIFF by script, a guard, and the tools that count what they did."""

    def __init__(self, outcomes: Any = "allowed", **options: Any) -> None:
        self.kiff = ScriptedClient(outcomes)
        self.guard = Guard(self.kiff, agent="agent-1", mode="enforce", **options)
        self.world = World()

    def tools(self, *names: str) -> list[FunctionTool]:
        return [as_tool(self.world.tools()[name]) for name in names]

    def attached_step(self, tool: str) -> Callable[[], Any]:
        """The step of one call, to be given as often as a runtime gives it."""
        agent, call = alone(scripted(), self.tools(tool), self.guard), REFUND
        context, event = Context(agent), StepOf(tool_name=tool, tool_kwargs=call.args, tool_id=call.call_id)
        stepping = _Stepping(context)
        return lambda: agent.call_tool(stepping, event)

    def ends(self) -> list[tuple[str, str, str]]:
        return sorted(ends(self.guard))

    def play(self, agent: Any, then: Callable[[Run], Any] | None = None) -> Run:
        """A run; if it waits, `then` is what a person does, and the run goes on."""

        async def played() -> Run:
            run = Run.of(agent)
            await run.go()
            if then is not None:
                assert run.asked, "it was to wait for a person"
                then(run)
                await run.go()
            return run

        return asyncio.run(played())


# A withheld call is one error result, and no more


@both
def test_whoever_listens_to_the_run_sees_the_withheld_call(made: Any) -> None:
    scene = Scene("blocked")
    agent = made(scripted([DELETE]), scene.tools("delete_account"), scene.guard)

    async def events() -> list[Any]:
        handler = agent.run(user_msg="go")
        return [event async for event in handler.stream_events() if isinstance(event, ToolCallResult)]

    (result,) = asyncio.run(events())
    assert result.tool_output.is_error
    assert result.tool_output.raw_output["outcome"] == "blocked"


@both
def test_a_withheld_tool_does_not_give_the_answer(made: Any) -> None:
    """A tool may end the run with its result; a call that did not run must not."""
    scene, model = Scene("blocked"), scripted([DELETE], "an answer of the model's own")
    tool = FunctionTool.from_defaults(scene.world.tools()["delete_account"], return_direct=True)
    agent = made(model, [tool], scene.guard)
    run = scene.play(agent)
    assert str(run.result) == "an answer of the model's own"
    assert "blocked" in model.told()["call-1"]


# Where tools are called


def react(model: ScriptedModel, tools: Any, guard: Guard) -> Any:
    made = ReActAgent(name="root", description="root", tools=list(tools), llm=model, streaming=False)
    return llama_index.attach(guard, made)


def test_an_agent_that_calls_tools_by_text_is_guarded() -> None:
    scene = Scene("blocked")
    asks = f"Thought: I act.\nAction: delete_account\nAction Input: {json.dumps(DELETE.args)}"
    model = scripted(asks, "Thought: I can answer.\nAnswer: done")
    scene.play(react(model, scene.tools("delete_account"), scene.guard))
    assert scene.world.ran == []
    assert scene.ends() == [("delete_account", "blocked", "not_run")]
    assert "blocked" in str(model.requests[-1][-1].content)


@pytest.mark.parametrize("kind", [FunctionAgent, AgentWorkflow])
def test_a_guarded_class_makes_guarded_agents(kind: Any) -> None:
    scene, model = Scene("blocked"), scripted([DELETE])
    guarded = llama_index.hook(scene.guard)(kind)
    assert issubclass(guarded, kind)
    if kind is FunctionAgent:
        made = guarded(tools=scene.tools("delete_account"), llm=model, streaming=False)
    else:
        made = guarded(agents=[alone(model, scene.tools("delete_account"))])
    scene.play(made)
    assert scene.world.ran == [] and "blocked" in model.told()["call-1"]


def team(scene: Scene, *turns: Any) -> tuple[AgentWorkflow, ScriptedModel]:
    """Two agents; the first has no tool of its own."""
    model = scripted(*turns)
    first = FunctionAgent(name="first", description="asks", llm=model, tools=[], streaming=False)
    second = FunctionAgent(
        name="second", description="acts", llm=model, tools=scene.tools("delete_account"), streaming=False
    )
    made = AgentWorkflow(agents=[first, second], root_agent="first")
    return llama_index.attach(scene.guard, made), model


HANDOFF = ToolCall("handoff", {"to_agent": "second", "reason": "it acts"}, "call-0")


def test_an_agent_that_was_handed_over_to_is_guarded() -> None:
    scene = Scene({"delete_account": "blocked", "*": "allowed"})
    agents, _ = team(scene, [HANDOFF], [DELETE])
    scene.play(agents)
    assert scene.world.ran == []
    assert scene.ends() == [("delete_account", "blocked", "not_run"), ("handoff", "allowed", "succeeded")]


def test_a_handoff_is_a_call_too_and_a_withheld_one_hands_nothing_over() -> None:
    scene = Scene({"handoff": "blocked", "*": "allowed"})
    agents, model = team(scene, [HANDOFF], "done")
    run = scene.play(agents)
    assert run.raised is None
    assert scene.ends() == [("handoff", "blocked", "not_run")]
    assert "blocked" in model.told()["call-0"]


def test_an_agent_within_a_tool_needs_a_guard_of_its_own() -> None:
    """Nothing outside sees what a function does: the first half is the control."""
    for attached in (False, True):
        scene = Scene({"delete_account": "blocked", "*": "allowed"})
        below = alone(scripted([DELETE]), scene.tools("delete_account"), scene.guard if attached else None)

        async def ask_below(question: str, below: Any = below) -> str:
            """Asks an agent."""
            return str(await below.run(user_msg=question))

        call = ToolCall("ask_below", {"question": "go"}, "call-0")
        tool = FunctionTool.from_defaults(async_fn=ask_below)
        scene.play(alone(scripted([call]), [tool], scene.guard))
        assert scene.world.runs("delete_account") == (0 if attached else 1)


def test_the_agents_of_an_attached_workflow_are_guarded_when_they_run_alone() -> None:
    scene = Scene("blocked")
    agent = alone(scripted([DELETE]), scene.tools("delete_account"))
    llama_index.attach(scene.guard, AgentWorkflow(agents=[agent]))
    scene.play(agent)
    assert scene.world.ran == [] and scene.ends() == [("delete_account", "blocked", "not_run")]


def in_a_workflow(scene: Scene, how: str) -> tuple[Any, ScriptedModel]:
    """A workflow without a guard, of an agent that has one."""
    model, tools = scripted([DELETE]), scene.tools("delete_account")
    if how == "attached":
        agent = alone(model, tools, scene.guard)
    elif how == "copied":
        agent = alone(model, [], scene.guard).model_copy(update={"tools": tools})
    else:
        agent = llama_index.hook(scene.guard)(FunctionAgent)(tools=tools, llm=model, streaming=False)
    return AgentWorkflow(agents=[agent]), model


guarded_agents = pytest.mark.parametrize("how", ["attached", "copied", "of a guarded class"])


@guarded_agents
def test_a_guarded_agent_takes_no_step_in_a_workflow_without_its_guard(how: str) -> None:
    """The workflow has a step of its own, and would run the agent's tools unseen."""
    scene = Scene("blocked")
    made, model = in_a_workflow(scene, how)
    run = scene.play(made)
    assert isinstance(run.raised, ConfigurationError) and "attach(guard, workflow)" in str(run.raised)
    assert scene.world.ran == [] and model.requests == []


@guarded_agents
def test_it_does_in_a_workflow_that_is_guarded_too(how: str) -> None:
    scene = Scene("blocked")
    made, model = in_a_workflow(scene, how)
    run = scene.play(llama_index.attach(scene.guard, made))
    assert run.raised is None and "blocked" in model.told()["call-1"]
    assert scene.kiff.calls == 1 and scene.world.ran == []


def test_a_workflow_with_another_guard_does_not_stand_in_for_the_agents_own() -> None:
    scene = Scene("blocked")
    agent = alone(scripted([DELETE]), scene.tools("delete_account"), scene.guard)
    run = scene.play(llama_index.hook(Guard(mode="observe"))(AgentWorkflow)(agents=[agent]))
    assert isinstance(run.raised, ConfigurationError) and scene.world.ran == []


@guarded_agents
def test_in_observe_it_goes_on_and_its_calls_are_seen(how: str) -> None:
    scene = Scene()
    scene.guard = Guard(mode="observe")
    made, _ = in_a_workflow(scene, how)
    run = scene.play(made)
    assert run.raised is None and scene.world.runs("delete_account") == 1
    assert scene.ends() == [("delete_account", "observed", "unknown")]


def test_a_copy_of_an_attached_agent_is_guarded_and_has_its_own_tools() -> None:
    scene, model = Scene({"delete_account": "blocked", "*": "allowed"}), scripted([DELETE, REFUND])
    agent = alone(model, [], scene.guard)
    scene.play(agent.model_copy(update={"tools": scene.tools("delete_account", "refund")}))
    assert scene.ends() == [("delete_account", "blocked", "not_run"), ("refund", "allowed", "succeeded")]


@both
def test_a_tools_name_in_the_place_of_an_id_says_nothing_about_the_call(made: Any) -> None:
    """Clients of models without ids put it there. Two calls are two, also in a session that knows its calls."""
    scene = Scene(session="conversation-1")
    call = ToolCall("refund", {"order_id": "o-1", "amount": 5.0}, "refund")
    scene.play(made(scripted([call], [call]), scene.tools("refund"), scene.guard))
    assert scene.world.runs("refund") == 2


# Approvals


def test_the_event_of_a_held_call_says_what_waits() -> None:
    scene = Scene(HELD)
    run = scene.play(alone(scripted([DELETE]), scene.tools("delete_account"), scene.guard))
    (event,) = run.asked
    assert (event.approval_id, event.tool_name, event.tool_id) == ("appr_0001", "delete_account", "call-1")
    assert "approval_required" in event.prefix


def test_two_held_calls_are_woken_one_by_one() -> None:
    scene = Scene(HELD)
    calls = [ToolCall("delete_account", {"account_id": name}, name) for name in ("a-1", "a-2")]

    def second_only(run: Run) -> None:
        wanted = next(event for event in run.asked if event.tool_id == "a-2")
        scene.kiff.grant(wanted.approval_id)
        run.asked = [event for event in run.asked if event is not wanted]
        run.handler.ctx.send_event(HumanResponseEvent(approval_id=wanted.approval_id))

    scene.play(alone(scripted(calls), scene.tools("delete_account"), scene.guard), second_only)
    assert [ran.args["account_id"] for ran in scene.world.ran] == ["a-2"]


@both
@pytest.mark.parametrize("session", [None, "another"])
def test_another_process_resumes_what_was_stored(made: Any, session: str | None) -> None:
    """Neither its guard nor its agent knows of the call. The run knows what its ids belong to, and the person's answer
    names the approval: where another session was said, that one is used."""
    scene, other = Scene(HELD), Scene(HELD)
    other.guard = Guard(scene.kiff, agent="agent-1", mode="enforce", session=session)

    async def wait() -> Kept:
        run = Run.of(made(scripted([DELETE]), scene.tools("delete_account"), scene.guard))
        await run.go()
        return await run.keep()

    async def resume(kept: Kept) -> None:
        run = await Run.again(made(scripted(), other.tools("delete_account"), other.guard), kept)
        run.answer(True)
        await run.go()
        assert run.raised is None

    kept = asyncio.run(wait())
    scene.kiff.grant(kept.asked[0].approval_id)
    asyncio.run(resume(kept))
    asked, *_, again = scene.kiff.decides
    same_question, same_approval = again.proposal_id == asked.proposal_id, again.approval_id == "appr_0001"
    assert (same_question, same_approval) == ((True, False) if session is None else (False, True))
    assert (scene.world.runs("delete_account"), other.world.runs("delete_account")) == (0, 1)


def test_a_call_that_ran_before_its_run_was_stored_does_not_run_again_where_it_is_restored() -> None:
    """The step of a call may be stored as not done, though its tool has run: the same step is given twice."""
    scene = Scene()
    step = scene.attached_step("refund")

    async def twice() -> list[str]:
        return [str((await step()).tool_output.content) for _ in range(2)]

    assert asyncio.run(twice()) == ["refund has run for o-1"] * 2
    assert scene.world.runs("refund") == 1 and scene.kiff.calls == 1


def test_kiff_is_told_that_nothing_happened_only_where_that_is_known() -> None:
    """A tool that raised may have done something. Arguments that do not fit, and a tool that is none, did nothing."""
    scene = Scene()
    bad, unknown = ToolCall("refund", {"order_id": "o-1"}, "call-1"), ToolCall("nothing", {}, "call-2")
    explode = ToolCall("explode", {"order_id": "o-1"}, "call-3")
    scene.play(alone(scripted([bad], [unknown], [explode]), scene.tools("refund", "explode"), scene.guard))
    told = [settled.status for settled in scene.kiff.settles]
    assert told in (["failed", "failed", "unknown"], ["unknown", "failed", "unknown"])  # without the exception: unknown
    assert told[0] == "failed" or version("llama-index-core") == "0.14.0"


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_a_run_that_is_not_to_wait_tells_the_model_which_may_call_again(seconds: float) -> None:
    scene, model = Scene(HELD), scripted([DELETE], [ToolCall("delete_account", DELETE.args, "call-3")])
    agent = llama_index.attach(scene.guard, alone(model, scene.tools("delete_account")), wait_seconds=seconds)
    told: list[str] = []

    def grant_in_between(messages: Any, **options: Any) -> Any:
        told.extend(model.told().values())
        for approval in scene.kiff.waiting():
            scene.kiff.grant(approval)
        return chat(messages)

    chat = model.chat
    object.__setattr__(model, "chat", grant_in_between)
    run = asyncio.run(_to_the_end(agent))
    assert run.raised is None
    assert len(run.asked) == (0 if seconds == 0 else 1)
    assert scene.world.runs("delete_account") == 1
    assert "appr_0001" in model.told()["call-1"] and "has run" in model.told()["call-3"]


async def _to_the_end(agent: Any) -> Run:
    run = Run.of(agent)
    await run.ended
    return run


def test_the_name_of_v1_makes_a_workflow_that_never_hangs() -> None:
    scene, model = Scene(HELD), scripted([DELETE])
    made = llama_index.GuardedAgentWorkflow(guard=scene.guard, agents=[alone(model, scene.tools("delete_account"))])
    assert isinstance(made, AgentWorkflow)
    run = asyncio.run(_to_the_end(made))
    assert run.raised is None and scene.world.ran == []
    assert "appr_0001" in model.told()["call-1"]


def test_while_kiff_is_down_it_runs_if_the_step_was_told_so() -> None:
    scene = Scene(ConnectionError("down"))
    scene.play(llama_index.attach(scene.guard, alone(scripted([REFUND]), scene.tools("refund")), fail_closed=False))
    assert scene.ends() == [("refund", "failed_open", "succeeded")]


def test_a_call_that_waits_for_one_guard_did_not_run_for_the_other() -> None:
    scene, outer = Scene(HELD), Scene()
    agent = llama_index.attach(outer.guard, alone(scripted([DELETE]), scene.tools("delete_account"), scene.guard))

    def grant(run: Run) -> None:
        scene.kiff.grant(run.asked[0].approval_id)
        run.answer(True)

    scene.play(agent, grant)
    assert scene.world.runs("delete_account") == 1
    assert [settled.status for settled in outer.kiff.settles] == ["failed", "succeeded"]
