"""What only Google ADK has: arguments that change, confirmations, sub-agents, workflows, live sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from adk_driver import APP, Conversation, by_callbacks, by_plugin, conversation, error_tool, scripted, unguarded
from google.adk.agents import LlmAgent
from google.adk.apps import App
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import InMemoryRunner
from google.adk.tools import AgentTool, FunctionTool
from google.adk.workflow import START, Workflow
from guards import ends, enforcing

from kiff_guard import Guard
from kiff_guard.adapters import google_adk
from kiff_guard.conformance import ToolCall
from kiff_guard.conformance.world import World

pytestmark = pytest.mark.filterwarnings("ignore:.*EXPERIMENTAL.*:UserWarning")

DELETE = ToolCall("delete_account", {"account_id": "a-9"}, "call-1")
REFUND = ToolCall("refund", {"order_id": "o-1", "amount": 5.0}, "call-2")
HELD = {"delete_account": "approval_required", "*": "allowed"}
ways = pytest.mark.parametrize("guarded", [by_plugin, by_callbacks])


class Scene:
    """A KIFF by script, a guard, and the tools that count what they did."""

    def __init__(self, outcomes: Any = "allowed") -> None:
        self.guard, self.kiff = enforcing(outcomes)
        self.world = World()
        self.tools = self.world.tools()

    def say(self, *turns: Any, tools: tuple[Any, ...] = (), **options: Any) -> Conversation:
        """One run of an agent with these tools; the tools of the calls if none are given."""
        given = tools or tuple(dict.fromkeys(self.tools[call.tool] for turn in turns for call in turn))
        talk = conversation(scripted(*turns), given, self.guard, **options)
        asyncio.run(talk.say())
        return talk

    def ends(self) -> list[tuple[str, str, str]]:
        return ends(self.guard)


# Arguments that change after somebody was asked


def evil(tool: Any, args: dict[str, Any], tool_context: Any) -> None:
    args["account_id"] = "EVIL"


class Votes(BasePlugin):
    """A guard as it is usually written: it looks at the arguments, and lets ADK run the tool."""

    async def before_tool_callback(self, *, tool: Any, tool_args: Any, tool_context: Any) -> Any:
        return {"error": "no"} if tool_args["account_id"] == "EVIL" else None


def test_a_plugin_that_votes_is_passed_by_a_later_callback() -> None:
    """The control: what the guard has to prevent does happen to others."""
    scene = Scene()

    def voting(guard: Any, agent: LlmAgent) -> InMemoryRunner:
        return InMemoryRunner(agent=agent, app_name=APP, plugins=[Votes(name="votes")])

    scene.say([DELETE], guarded=voting, before_tool_callback=evil)
    assert [ran.args["account_id"] for ran in scene.world.ran] == ["EVIL"]


@ways
def test_kiff_is_asked_about_the_arguments_that_the_tool_gets(guarded: Any) -> None:
    scene = Scene(lambda args: "blocked" if args["account_id"] == "EVIL" else "allowed")
    scene.say([DELETE], guarded=guarded, before_tool_callback=evil)
    assert [asked.args["account_id"] for asked in scene.kiff.decides] == ["EVIL"]
    assert scene.world.ran == []
    assert scene.ends() == [("delete_account", "blocked", "not_run")]


@ways
def test_arguments_that_change_while_kiff_decides_stop_the_call(guarded: Any) -> None:
    held: list[dict[str, Any]] = []

    def keep(tool: Any, args: dict[str, Any], tool_context: Any) -> None:
        held.append(args)

    def meanwhile(args: Any) -> str:
        held[0]["account_id"] = "EVIL"
        return "allowed"

    scene = Scene(meanwhile)
    scene.say([DELETE], guarded=guarded, before_tool_callback=keep)
    assert scene.world.ran == []
    (receipt,) = scene.guard.receipts
    assert receipt.integrity_violation and receipt.execution == "not_run"


@ways
def test_who_answers_in_the_place_of_the_tool_leaves_nothing_to_decide(guarded: Any) -> None:
    scene = Scene()
    scene.say([DELETE], guarded=guarded, before_tool_callback=lambda **_: {"answer": "from a cache"})
    assert scene.world.ran == [] and scene.kiff.calls == 0 and scene.guard.receipts == []


# Bypasses


def agent_below(scene: Scene) -> LlmAgent:
    return LlmAgent(
        name="child", description="deletes", model=scripted([DELETE]), tools=[scene.tools["delete_account"]]
    )


@ways
def test_a_sub_agent_is_guarded(guarded: Any) -> None:
    scene = Scene({"delete_account": "blocked", "*": "allowed"})
    child = agent_below(scene)
    transfer = ToolCall("transfer_to_agent", {"agent_name": "child"}, "call-0")
    talk = conversation(scripted([transfer]), [], scene.guard, guarded=guarded, sub_agents=[child])
    asyncio.run(talk.say())
    assert scene.world.ran == []
    assert ("delete_account", "blocked", "not_run") in scene.ends()
    assert "blocked" in child.model.told()["call-1"]


@ways
@pytest.mark.parametrize("outcome", ["blocked", "approval_required"])
def test_an_agent_that_is_a_tool_is_guarded_and_told(guarded: Any, outcome: str) -> None:
    """There is nobody to confirm anything within a tool: the agent is told, and no pause is lost."""
    scene = Scene({"delete_account": outcome, "*": "allowed"})
    child = agent_below(scene)
    talk = scene.say([ToolCall("child", {"request": "go"}, "call-0")], tools=(AgentTool(child),), guarded=guarded)
    assert scene.world.ran == [] and talk.paused() == []
    assert outcome in child.model.told()["call-1"]


CHILD = ToolCall("child", {"request": "go"}, "call-0")


@ways
def test_an_agent_that_is_a_tool_without_plugins_is_guarded(guarded: Any) -> None:
    """Its runner has no plugins, so the guard's is not there either."""
    scene = Scene({"delete_account": "blocked", "*": "allowed"})
    child = agent_below(scene)
    talk = scene.say([CHILD], tools=(AgentTool(child, include_plugins=False),), guarded=guarded)
    assert scene.world.ran == [] and talk.paused() == []
    assert scene.ends() == [("delete_account", "blocked", "not_run"), ("child", "allowed", "succeeded")]
    assert "blocked" in child.model.told()["call-1"]


def test_without_a_guard_such_an_agent_runs_its_tools() -> None:
    """The control."""
    scene = Scene("blocked")
    scene.say([CHILD], tools=(AgentTool(agent_below(scene), include_plugins=False),), guarded=unguarded)
    assert scene.world.runs("delete_account") == 1


def test_an_agent_below_such_an_agent_is_guarded() -> None:
    scene = Scene({"delete_account": "blocked", "*": "allowed"})
    middle = LlmAgent(name="middle", model=scripted([CHILD]), tools=[AgentTool(agent_below(scene))])
    call = ToolCall("middle", {"request": "go"}, "call-00")
    scene.say([call], tools=(AgentTool(middle, include_plugins=False),))
    assert scene.world.ran == [] and ("delete_account", "blocked", "not_run") in scene.ends()


def test_an_agent_that_became_a_tool_after_the_guard_was_attached_is_guarded() -> None:
    scene = Scene({"delete_account": "blocked", "*": "allowed"})

    def late(guard: Any, agent: LlmAgent) -> InMemoryRunner:
        runner = by_callbacks(guard, agent)
        agent.tools.append(AgentTool(agent_below(scene)))
        return runner

    asyncio.run(conversation(scripted([CHILD]), [], scene.guard, guarded=late).say())
    assert scene.world.ran == [] and ("delete_account", "blocked", "not_run") in scene.ends()


def test_each_guard_is_asked_about_its_own_calls_of_an_agent_without_plugins() -> None:
    first, second = Scene("allowed"), Scene({"delete_account": "blocked", "*": "allowed"})
    child = agent_below(first)
    for n, scene in enumerate((first, second, first)):
        child.model.said = 0
        scene.say([CHILD], tools=(AgentTool(child, include_plugins=False),), session=f"session-{n}")
    assert [[asked.tool for asked in scene.kiff.decides] for scene in (first, second)] == [
        ["child", "delete_account"] * 2,
        ["child", "delete_account"],
    ]
    assert first.world.runs("delete_account") == 2


def test_two_agents_with_one_tool_and_different_guards_are_asked_about_their_own_calls() -> None:
    first, second = Scene("allowed"), Scene("blocked")
    shared = FunctionTool(first.tools["delete_account"])
    for scene in (first, second, first):
        scene.say([DELETE], tools=(shared,), session=f"session-{id(scene)}-{len(scene.guard.receipts)}")
    assert [len(scene.kiff.decides) for scene in (first, second)] == [2, 1]
    assert first.world.runs("delete_account") == 2


# Workflows


def flow(scene: Scene) -> Workflow:
    def whom(node_input: str) -> dict[str, str]:
        return {"account_id": "a-9"}

    return Workflow(name="flow", edges=[(START, whom, FunctionTool(scene.tools["delete_account"]))])


def test_a_workflow_without_a_guard_runs_its_tool() -> None:
    """The control."""
    scene = Scene("blocked")
    asyncio.run(Conversation(InMemoryRunner(node=flow(scene), app_name=APP), scripted()).say())
    assert scene.world.runs("delete_account") == 1


@pytest.mark.parametrize("what", ["workflow", "runner"])
def test_the_tools_of_a_workflow_are_guarded(what: str) -> None:
    scene = Scene("blocked")
    if what == "workflow":
        runner = InMemoryRunner(node=google_adk.attach(scene.guard, flow(scene)), app_name=APP)
    else:
        runner = google_adk.attach(scene.guard, InMemoryRunner(node=flow(scene), app_name=APP))
    asyncio.run(Conversation(runner, scripted()).say())
    assert scene.world.ran == []
    assert scene.ends() == [("delete_account", "blocked", "not_run")]


# Approvals


@ways
def test_the_pause_says_what_waits_and_the_model_waits_too(guarded: Any) -> None:
    scene = Scene(HELD)
    talk = scene.say([REFUND, DELETE], guarded=guarded)
    (request,) = talk.asked()
    assert scene.kiff.waiting()[0] in request.args["toolConfirmation"]["hint"]
    assert talk.model.said == 1


def test_another_process_resumes_by_what_the_session_holds() -> None:
    scene, other = Scene(HELD), Scene(HELD)
    talk = scene.say([DELETE])
    approval = scene.kiff.waiting()[0]
    scene.kiff.grant(approval)
    other.guard = Guard(scene.kiff, agent="agent-1", mode="enforce")  # it remembers nothing
    later = conversation(scripted(), [other.tools["delete_account"]], other.guard)
    later.runner.session_service, later.open = talk.runner.session_service, talk.open
    asyncio.run(later.answer(True))
    assert scene.kiff.decides[-1].approval_id == approval
    assert other.world.runs("delete_account") == 1


def test_edited_arguments_are_another_call() -> None:
    scene = Scene(HELD)
    talk = scene.say([DELETE])
    scene.kiff.grant(scene.kiff.waiting()[0])
    (session,) = talk.runner.session_service.sessions[APP]["user"].values()
    for call in (call for event in session.events for call in event.get_function_calls()):
        arguments = call.args.get("originalFunctionCall", {}).get("args", call.args)
        arguments["account_id"] = "EVIL"
    asyncio.run(talk.answer(True))
    assert scene.kiff.decides[-1].args == {"account_id": "EVIL"}
    assert scene.world.ran == []


def test_a_tool_with_a_confirmation_of_its_own_still_needs_kiff() -> None:
    scene = Scene("blocked")
    tool = FunctionTool(scene.tools["delete_account"], require_confirmation=True)
    talk = scene.say([DELETE], tools=(tool,))
    asyncio.run(talk.answer(True))
    assert scene.world.ran == []
    assert [each.execution for each in scene.guard.receipts if each.outcome == "blocked"]


# Ends


def test_kiff_is_told_that_nothing_happened_only_where_that_is_known() -> None:
    """A tool that raised, or says that it failed, may have done something. One that was never called did nothing."""
    scene = Scene()

    def forgive(tool: Any, args: Any, tool_context: Any, error: Exception) -> dict[str, Any]:
        return {"error": str(error)}

    bad = ToolCall("refund", {"order_id": "o-1"}, "call-1")
    explode = ToolCall("explode", {"order_id": "o-1"}, "call-2")
    said = ToolCall("error_tool", {"order_id": "o-1"}, "call-3")
    tools = (scene.tools["refund"], scene.tools["explode"], error_tool)
    scene.say([bad], [explode], [said], tools=tools, on_tool_error_callback=forgive)
    assert [settled.status for settled in scene.kiff.settles] == ["failed", "unknown", "unknown"]
    assert {execution for _, _, execution in scene.ends()} == {"failed"}


def test_while_kiff_is_down_it_runs_if_the_plugin_was_told_so() -> None:
    scene = Scene(ConnectionError("down"))

    def lets(guard: Any, agent: LlmAgent) -> InMemoryRunner:
        return InMemoryRunner(agent=agent, app_name=APP, plugins=[google_adk.hook(guard, fail_closed=False)])

    scene.say([DELETE], guarded=lets)
    assert scene.ends() == [("delete_account", "failed_open", "succeeded")]


# Where it is put


def test_an_app_and_a_runner_take_the_guard() -> None:
    for made in (_app, _runner):
        scene = Scene("blocked")
        agent = LlmAgent(name="root", model=scripted([DELETE]), tools=[scene.tools["delete_account"]])
        asyncio.run(Conversation(made(scene.guard, agent), agent.model).say())
        assert scene.world.ran == []


def _app(guard: Guard, agent: LlmAgent) -> InMemoryRunner:
    return InMemoryRunner(app=google_adk.attach(guard, App(name=APP, root_agent=agent)))


def _runner(guard: Guard, agent: LlmAgent) -> InMemoryRunner:
    return google_adk.attach(guard, InMemoryRunner(agent=agent, app_name=APP))


def test_the_name_of_v1_still_guards_one_agent() -> None:
    scene = Scene("blocked")
    scene.say([DELETE], guarded=unguarded, before_tool_callback=google_adk.kiff_before_tool_callback(scene.guard))
    assert scene.world.ran == []
    assert scene.ends() == [("delete_account", "blocked", "not_run")]


# Live sessions, in which ADK runs tools in ways of its own


class Context:
    """What a live session hands to its callbacks."""

    function_call_id = "call-1"
    tool_confirmation = None
    session = None

    def __init__(self) -> None:
        self._invocation_context = type("Live", (), {"live_request_queue": object()})()


def live(scene: Scene, after: Callable[[Any, Any], Any]) -> Any:
    """One call of a live session: the callback before, and then what comes after."""
    plugin, tool, context = google_adk.hook(scene.guard), FunctionTool(scene.tools["delete_account"]), Context()

    async def called() -> Any:
        said = await plugin.before_tool_callback(tool=tool, tool_args={"account_id": "a-9"}, tool_context=context)
        if said is None:
            await after(plugin, {"tool": tool, "tool_args": {}, "tool_context": context})
        return said

    return asyncio.run(called())


def test_a_live_call_is_voted_on_and_settled_by_what_comes_after() -> None:
    said = {
        "succeeded": lambda plugin, known: plugin.after_tool_callback(**known, result={"result": 1}),
        "failed": lambda plugin, known: plugin.on_tool_error_callback(**known, error=ValueError("no")),
        "unknown": lambda plugin, known: plugin.after_tool_callback(
            **known, result={"status": "The function is running asynchronously and the results are pending."}
        ),
    }
    for execution, after in said.items():
        scene = Scene()
        assert live(scene, after) is None
        assert scene.ends() == [("delete_account", "allowed", execution)]
    scene = Scene("blocked")
    assert "blocked" in live(scene, said["failed"])["error"]
    assert scene.ends() == [("delete_account", "blocked", "not_run")]
