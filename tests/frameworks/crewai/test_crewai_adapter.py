"""What only CrewAI has: global hooks, bodies that are tried again, cached and limited calls, calls by text."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from crew_driver import ScriptedModel, as_tool, crew, scripted
from crewai import Agent, Crew, Process, Task
from crewai.hooks import (
    get_after_tool_call_hooks,
    get_before_tool_call_hooks,
    register_before_tool_call_hook,
    unregister_before_tool_call_hook,
)
from crewai.tools import BaseTool

from kiff_guard import Guard
from kiff_guard.adapters import crewai
from kiff_guard.conformance import ScriptedClient, ToolCall
from kiff_guard.conformance.world import World

DELETE = ToolCall("delete_account", {"account_id": "a-9"}, "call-1")
REFUND = ToolCall("refund", {"order_id": "o-1", "amount": 5.0}, "call-2")
EXPLODE = ToolCall("explode", {"order_id": "o-1"}, "call-3")
both = pytest.mark.parametrize("native", [True, False])


class Scene:
    """A KIFF by script, a guard, and the tools that count what they did."""

    def __init__(self, outcomes: Any = "allowed", **options: Any) -> None:
        self.kiff = ScriptedClient(outcomes, maps=options.pop("maps", None))
        self.guard = Guard(self.kiff, agent="agent-1", mode="enforce", **options)
        self.world = World()

    def tools(self, *names: str) -> list[Any]:
        return [as_tool(self.world.tools()[name]) for name in names]

    def crew(self, *turns: Any, native: bool = True, **options: Any) -> tuple[Crew, ScriptedModel]:
        """A crew whose agent has the tools of the calls."""
        model = scripted(*turns, native=native)
        names = dict.fromkeys(call.tool for turn in turns if isinstance(turn, list) for call in turn)
        return crew(model, options.pop("tools", None) or self.tools(*names), **options), model

    def play(self, *turns: Any, **options: Any) -> ScriptedModel:
        """One kickoff with the hooks registered."""
        made, model = self.crew(*turns, **options)
        with crewai.hook(self.guard):
            made.kickoff()
        return model

    def ends(self) -> list[tuple[str, str, str]]:
        return sorted((each.tool, each.outcome, each.execution) for each in self.guard.receipts)


@contextmanager
def beside(hook: Any) -> Iterator[None]:
    """Somebody else's hook: behind the guard's, if that is registered already."""
    register_before_tool_call_hook(hook)
    try:
        yield
    finally:
        unregister_before_tool_call_hook(hook)


@pytest.fixture(autouse=True)
def no_hook_is_left() -> Any:
    yield
    assert get_before_tool_call_hooks() == [] and get_after_tool_call_hooks() == []


# A hook that breaks lets the tool run: ours does not


class Broken(Guard):
    def decide_only(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("the guard is broken")


def test_a_hook_that_raises_lets_the_tool_run() -> None:
    """The control: what CrewAI does with other people's hooks."""
    scene = Scene()

    def broken(context: Any) -> None:
        raise RuntimeError("this hook is broken")

    with beside(broken):
        scene.crew([DELETE])[0].kickoff()
    assert scene.world.runs("delete_account") == 1


@both
def test_a_guard_that_raises_lets_nothing_run_and_says_so(native: bool) -> None:
    scene = Scene()
    scene.guard = Broken(scene.kiff, agent="agent-1", mode="enforce")
    told = scene.play([DELETE], native=native).told()
    assert scene.world.ran == [] and "RuntimeError" in told[0]


def test_another_hook_that_raises_before_ours_changes_nothing() -> None:
    scene = Scene("blocked")

    def broken(context: Any) -> None:
        raise RuntimeError("this hook is broken")

    with beside(broken):
        scene.play([DELETE])
    assert scene.world.ran == []


def test_in_observe_a_guard_that_raises_stops_nothing() -> None:
    scene = Scene()
    scene.guard = Broken(mode="observe")
    scene.play([DELETE])
    assert scene.world.runs("delete_account") == 1


# Bodies: a vote is good for one run


def test_without_a_guard_a_failing_tool_runs_again_and_again() -> None:
    """The control: one call of the model's, and CrewAI runs the body several times."""
    scene = Scene()
    scene.crew([EXPLODE], native=False)[0].kickoff()
    assert scene.world.runs("explode") > 1


def test_one_vote_is_one_run_of_a_tool_that_fails() -> None:
    scene = Scene()
    told = scene.play([EXPLODE], native=False).told()
    assert scene.world.runs("explode") == 1 and "the tool broke" in told[0]
    (receipt,) = scene.guard.receipts
    assert (receipt.execution, receipt.error_type) == ("failed", "ToolBroke")


def test_in_observe_a_failing_tool_runs_as_often_as_without_a_guard() -> None:
    alone, observed = Scene(), Scene()
    observed.guard = Guard(mode="observe")
    alone.crew([EXPLODE], native=False)[0].kickoff()
    observed.play([EXPLODE], native=False)
    runs = alone.world.runs("explode")
    assert observed.world.runs("explode") == runs > 1
    assert observed.ends() == [("explode", "observed", "failed")] * runs


def test_a_call_of_other_code_does_not_take_the_vote_of_a_crew() -> None:
    """It comes from another thread, between the vote for the crew's call and its run."""
    scene = Scene(lambda args: "allowed" if args["account_id"] == "a-9" else "blocked")
    (tool,) = tools = scene.tools("delete_account")
    other: list[BaseException] = []

    def steal() -> None:
        try:
            tool.run(account_id="EVIL")
        except Exception as error:  # noqa: BLE001
            other.append(error)

    def meanwhile(context: Any) -> None:
        thread = threading.Thread(target=steal)
        thread.start()
        thread.join()

    made, _ = scene.crew([DELETE], tools=tools)
    with crewai.hook(scene.guard), beside(meanwhile):
        made.kickoff()
    assert [ran.args["account_id"] for ran in scene.world.ran] == ["a-9"]
    assert "blocked" in str(other[0])


@pytest.mark.parametrize("is_named", [True, False])
@both
def test_a_vote_lets_nothing_run_but_the_arguments_that_were_decided_on(native: bool, is_named: bool) -> None:
    """A hook behind the guard's calls the same tool in the same thread, and has CrewAI never run what was allowed."""
    scene = Scene(lambda args: "allowed" if args["account_id"] == "a-9" else "blocked")
    (tool,) = tools = scene.tools("delete_account")

    def steals(context: Any) -> bool:
        with pytest.raises(Exception, match="blocked"):
            tool.run(account_id="EVIL") if is_named else tool.run("EVIL")
        return False

    made, _ = scene.crew([DELETE], tools=tools, native=native)
    with crewai.hook(scene.guard):
        with beside(steals):
            made.kickoff()
        assert [asked.args["account_id"] for asked in scene.kiff.decides] == ["a-9", "EVIL"]
        tool.run(account_id="a-9")  # the vote of the crew's call is gone with it
    assert scene.kiff.calls == 3 and [ran.args["account_id"] for ran in scene.world.ran] == ["a-9"]


def ship(scene: Scene) -> Any:
    """A tool that has a default."""

    def ship_order(order_id: str, amount: float = 500.0) -> str:
        """Ships an order."""
        scene.world.begins("ship_order", order_id=order_id, amount=amount)
        return "shipped"

    return as_tool(ship_order)


@both
@pytest.mark.parametrize("said", [{}, {"amount": "5"}, {"amount": 5}, {"amount": 5.0, "note": "is none of its"}])
def test_what_crewai_completes_and_converts_is_still_the_call_that_was_decided_on(native: bool, said: Any) -> None:
    scene = Scene()
    scene.play([ToolCall("ship_order", {"order_id": "o-1", **said}, "call-1")], native=native, tools=[ship(scene)])
    assert scene.kiff.calls == 1 and scene.ends() == [("ship_order", "allowed", "succeeded")]
    assert [ran.args["amount"] for ran in scene.world.ran] == [5.0 if said else 500.0]


def test_a_vote_without_a_field_is_none_for_another_value_of_it() -> None:
    scene = Scene(lambda args: "blocked" if "amount" in args else "allowed")
    tool = ship(scene)
    with crewai.hook(scene.guard) as hooks:
        assert hooks.before(SimpleNamespace(tool_name="ship_order", tool_input={"order_id": "o-1"}, tool=tool)) is None
        with pytest.raises(Exception, match="blocked"):
            tool.run(order_id="o-1", amount=9999.0)
    assert scene.world.ran == []


def test_a_vote_that_was_left_behind_is_good_for_no_later_call() -> None:
    """A hook behind the guard's was interrupted: nobody says that the first call is over."""
    scene = Scene()
    tool = ship(scene)
    first, second = (SimpleNamespace(tool_name="ship_order", tool_input={"order_id": "o-1"}, tool=tool) for _ in "ab")
    with crewai.hook(scene.guard) as hooks:
        assert (hooks.before(first), hooks.before(second)) == (None, None)
        tool.run(order_id="o-1")
        hooks.after(second)
        assert [each.execution for each in scene.guard.receipts] == ["succeeded"]
        tool.run(order_id="o-1")
    assert scene.kiff.calls == 3 and scene.world.runs("ship_order") == 2


def test_a_tool_whose_result_cannot_be_read_has_run_and_is_not_run_again() -> None:
    scene = Scene()

    class Unreadable(BaseTool):
        name: str = "charge_card"
        description: str = "Charges a card."

        def _run(self, order_id: str) -> str:
            scene.world.begins("charge_card", order_id=order_id)
            return "charged"

        def format_output_for_agent(self, raw_result: Any) -> str:
            raise RuntimeError("nobody can read this")

    call = ToolCall("charge_card", {"order_id": "o-1"}, "call-1")
    scene.play([call], native=False, tools=[Unreadable()])
    assert scene.world.runs("charge_card") == 1
    assert scene.ends() == [("charge_card", "allowed", "succeeded")]


@both
def test_a_tool_that_is_a_class_is_guarded_in_its_body_too(native: bool) -> None:
    scene = Scene()

    class Charge(BaseTool):
        name: str = "charge_card"
        description: str = "Charges a card."

        def _run(self, order_id: str) -> str:
            scene.world.begins("charge_card", order_id=order_id)
            raise RuntimeError("the network broke")

    call = ToolCall("charge_card", {"order_id": "o-1"}, "call-1")
    scene.play([call], native=native, tools=[Charge()])
    assert scene.world.runs("charge_card") == 1
    assert scene.guard.receipts[0].error_type == "RuntimeError"


@both
def test_kiff_is_told_that_nothing_happened_only_where_that_is_known(native: bool) -> None:
    """A body that raised may have done something. One that was never begun did nothing."""
    scene = Scene()
    scene.play([ToolCall("refund", {"order_id": "o-1"}, "call-1")], [EXPLODE], native=native)
    assert [settled.status for settled in scene.kiff.settles] == ["cancelled", "unknown"]


def test_a_cached_result_ran_nothing() -> None:
    scene = Scene()
    model, tools = scripted([REFUND], [DELETE], [REFUND]), scene.tools("refund", "delete_account")
    agent = Agent(role="ops", goal="g", backstory="b", tools=tools, llm=model, verbose=False, cache=True)
    task = Task(description="go", expected_output="x", agent=agent)
    with crewai.hook(scene.guard):
        Crew(agents=[agent], tasks=[task], verbose=False, cache=True).kickoff()
    ran = scene.world.runs("refund")
    assert [each.execution for each in scene.guard.receipts if each.tool == "refund"].count("succeeded") == ran == 1
    assert ("refund", "allowed", "not_run") in scene.ends()


def test_a_spent_limit_ran_nothing() -> None:
    scene = Scene()
    tool = as_tool(scene.world.tools()["refund"])
    tool.max_usage_count = 1
    scene.play([REFUND], [REFUND], tools=[tool])
    assert scene.world.runs("refund") == 1
    assert scene.ends() == [("refund", "allowed", "not_run"), ("refund", "allowed", "succeeded")]


def test_identical_parallel_calls_stay_two_with_their_own_ends() -> None:
    scene = Scene()
    calls = [ToolCall("flaky", {"order_id": "o-1"}, name) for name in ("call-1", "call-2")]
    scene.play(calls)
    assert scene.ends() == [("flaky", "allowed", "failed"), ("flaky", "allowed", "succeeded")]


@both
def test_arguments_that_a_later_hook_changes_do_not_run(native: bool) -> None:
    scene = Scene()

    def evil(context: Any) -> None:
        context.tool_input["account_id"] = "EVIL"

    made, model = scene.crew([DELETE], native=native)
    with crewai.hook(scene.guard), beside(evil):
        made.kickoff()
    assert scene.world.ran == []
    (receipt,) = scene.guard.receipts
    assert receipt.integrity_violation and receipt.execution == "not_run"
    assert "changed" in model.told()[0]


@both
def test_arguments_that_an_earlier_hook_changes_are_what_kiff_is_asked_about(native: bool) -> None:
    scene = Scene(lambda args: "blocked" if args["account_id"] == "EVIL" else "allowed")

    def evil(context: Any) -> None:
        context.tool_input["account_id"] = "EVIL"

    with beside(evil):
        scene.play([DELETE], native=native)
    assert [asked.args for asked in scene.kiff.decides] == [{"account_id": "EVIL"}] and scene.world.ran == []


def test_a_later_hook_that_blocks_leaves_a_call_that_did_not_run() -> None:
    scene = Scene()
    made, _ = scene.crew([DELETE])
    with crewai.hook(scene.guard), beside(blocks):
        made.kickoff()
    assert scene.ends() == [("delete_account", "allowed", "not_run")]


def blocks(context: Any) -> bool:
    return False


# Bypasses


def test_omitted_fields_and_texts_for_numbers_reach_kiff_as_they_are() -> None:
    scene = Scene(lambda args: "allowed" if isinstance(args.get("amount"), float) else "invalid")
    omitted = ToolCall("refund", {"order_id": "o-1"}, "call-1")
    text = ToolCall("refund", {"order_id": "o-1", "amount": "9000"}, "call-2")
    scene.play([omitted, text])
    assert scene.world.ran == [] and scene.ends() == [("refund", "invalid", "not_run")] * 2


def test_a_coworker_that_work_is_delegated_to_is_guarded() -> None:
    scene = Scene({"delete_account": "blocked", "*": "allowed"})
    worker = Agent(
        role="worker", goal="g", backstory="b", llm=scripted([DELETE]), tools=scene.tools("delete_account"), cache=False
    )
    work = {"task": "delete it", "context": "now", "coworker": "worker"}
    boss = Agent(
        role="boss",
        goal="g",
        backstory="b",
        llm=scripted([ToolCall("delegate_work_to_coworker", work, "call-0")]),
        allow_delegation=True,
        cache=False,
    )
    task = Task(description="go", expected_output="x", agent=boss)
    with crewai.hook(scene.guard):
        Crew(agents=[boss, worker], tasks=[task], process=Process.sequential, verbose=False).kickoff()
    assert scene.world.ran == []
    assert ("delete_account", "blocked", "not_run") in scene.ends()


@both
def test_a_crew_that_is_awaited_in_a_thread_is_guarded(native: bool) -> None:
    scene = Scene({"delete_account": "blocked", "*": "allowed"})
    slowly = ToolCall("refund_slowly", {"order_id": "o-1"}, "call-4")
    made, _ = scene.crew([DELETE], [slowly], native=native)

    async def run() -> None:
        with crewai.hook(scene.guard):
            await made.kickoff_async()

    asyncio.run(run())
    assert scene.ends() == [("delete_account", "blocked", "not_run"), ("refund_slowly", "allowed", "succeeded")]


def test_a_batch_of_inputs_is_guarded_one_by_one() -> None:
    scene = Scene("blocked")
    made, _ = scene.crew([DELETE], [DELETE])
    with crewai.hook(scene.guard):
        made.kickoff_for_each([{"who": "a"}, {"who": "b"}])
    assert scene.world.ran == [] and scene.kiff.calls >= 1


# Where it is put


@pytest.fixture
def released() -> Any:
    """Takes the hooks of `attach` away, which stay for the whole process."""
    yield
    for each in get_before_tool_call_hooks():
        each.__self__.unregister()


def test_an_attached_crew_is_guarded_and_so_is_every_other(released: Any) -> None:
    scene = Scene("blocked")
    made, _ = scene.crew([DELETE])
    other, _ = scene.crew([DELETE])
    assert crewai.attach(scene.guard, made) is made
    made.kickoff()
    other.kickoff()
    assert scene.world.ran == [] and scene.kiff.calls == 2


def test_the_bodies_of_an_attached_crew_are_guarded_whoever_calls_them(released: Any) -> None:
    scene = Scene("blocked")
    made, _ = scene.crew([DELETE])
    (tool,) = made.agents[0].tools
    crewai.attach(scene.guard, made)
    with pytest.raises(Exception, match="blocked"):
        tool.run(account_id="a-9")
    assert scene.world.ran == [] and scene.ends() == [("delete_account", "blocked", "not_run")]


def test_a_body_has_the_name_that_the_hooks_know_it_by(released: Any) -> None:
    scene = Scene("blocked")
    tool = as_tool(scene.world.tools()["delete_account"])
    tool.name = "Delete Account"
    made, _ = scene.crew([DELETE], tools=[tool])
    crewai.attach(scene.guard, made).kickoff()
    with pytest.raises(Exception, match="blocked"):
        tool.run(account_id="a-9")
    assert [asked.tool for asked in scene.kiff.decides] == ["delete_account"] * 2


def test_hooks_of_one_guard_are_registered_once_and_taken_away_by_the_last(released: Any) -> None:
    scene = Scene()
    with crewai.hook(scene.guard):
        with crewai.hook(scene.guard):
            assert len(get_before_tool_call_hooks()) == 1
            scene.crew([REFUND])[0].kickoff()
        assert len(get_before_tool_call_hooks()) == 1
    assert scene.kiff.calls == 1 and scene.world.runs("refund") == 1


def test_without_its_hooks_a_tool_is_as_it_was() -> None:
    scene = Scene()
    made, _ = scene.crew([REFUND])
    (tool,) = made.agents[0].tools
    before = tool.func
    with crewai.hook(scene.guard):
        made.kickoff()
        assert tool.func is not before
    assert tool.func is before
    assert tool.run(order_id="o-2", amount=1.0) == "refund has run for o-2"
    assert scene.kiff.calls == 1


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    scene = Scene(ConnectionError("down"))
    made, _ = scene.crew([REFUND])
    with crewai.hook(scene.guard, fail_closed=False):
        made.kickoff()
    assert scene.ends() == [("refund", "failed_open", "succeeded")]
