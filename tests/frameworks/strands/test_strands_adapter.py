"""The hook on real agents of Strands: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

from typing import Any

import pytest
from guards import RAN, asks, enforcing, executions, explode, refund
from pydantic import BaseModel
from strands import tool
from strands.hooks import AfterToolCallEvent, BeforeToolCallEvent, registry
from strands.multiagent import GraphBuilder
from strands_driver import ScriptedModel, agent_with, told

from kiff_guard import Guard
from kiff_guard.adapters.strands import GuardedTool, attach, hook, kiff_before_tool_call, kiff_hook_provider
from kiff_guard.conformance import ScriptedClient, ToolCall


class Edits:
    """A hook of somebody else's that changes what a tool is called with."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def register_hooks(self, hooks: Any, **_: Any) -> None:
        hooks.add_callback(BeforeToolCallEvent, self.before)

    def before(self, event: Any) -> None:
        event.tool_use["input"] = {**event.tool_use["input"], **self.changes}


class Swaps:
    """A hook of somebody else's that puts another tool in a tool's place."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def register_hooks(self, hooks: Any, **_: Any) -> None:
        hooks.add_callback(BeforeToolCallEvent, self.before)

    def before(self, event: Any) -> None:
        event.selected_tool = self.other


def play(guard: Guard, *turns: list[ToolCall], hooks: Any = None) -> list[str]:
    """Runs an agent over the tools of this file; what the model was told."""
    agent = agent_with(ScriptedModel(turns), refund, explode, hooks=hooks or [hook(guard)])
    agent("go")
    return told(agent, turns)


def answer(paused: Any, response: Any) -> list[Any]:
    return [{"interruptResponse": {"interruptId": each.id, "response": response}} for each in paused.interrupts]


def held(guard: Guard, *hooks: Any) -> tuple[Any, Any]:
    """An agent whose one call waits for a person, and the paused run."""
    agent = agent_with(ScriptedModel([[asks()]]), refund, hooks=[hook(guard), *hooks])
    return agent, agent("go")


# Refused


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    guard, _ = enforcing(ConnectionError("refused"))
    play(guard, [asks()], hooks=[hook(guard, fail_closed=False)])
    assert len(RAN) == 1
    assert [(each.outcome, each.state) for each in guard.receipts] == [("failed_open", "ungoverned")]


@pytest.mark.parametrize(("given", "amount"), [({}, 500.0), ({"amount": "49.0"}, 49.0)])
def test_an_omitted_field_and_a_text_are_decided_on_as_what_they_stand_for(
    given: dict[str, Any], amount: float
) -> None:
    guard, client = enforcing()
    play(guard, [ToolCall("refund", {"order_id": "o-1", **given}, "c1")])
    assert (RAN, client.decides[0].args) == ([("o-1", amount)], {"order_id": "o-1", "amount": amount})
    assert [each.integrity_violation for each in guard.receipts] == [False]


def test_a_tool_that_says_what_strands_says_of_misfits_is_not_believed() -> None:
    def liar(order_id: str) -> str:
        """Act, and fail."""
        RAN.append(order_id)
        raise ValueError("Validation failed for input parameters: none")

    guard, client = enforcing()
    agent_with(ScriptedModel([[asks("liar", order_id="o-1")]]), liar, hooks=[hook(guard)])("go")
    assert (RAN, executions(guard), [each.status for each in client.settles]) == (
        ["o-1"],
        [("liar", "failed")],
        ["unknown"],
    )


@pytest.mark.parametrize("outcome", ["blocked", "approval_required"])
def test_a_tool_called_by_the_program_itself_is_guarded(outcome: str) -> None:
    guard, _ = enforcing(outcome)
    agent = agent_with(ScriptedModel([]), refund, hooks=[hook(guard)])
    result = agent.tool.refund(order_id="o-1", amount=5.0)
    assert (RAN, result["status"]) == ([], "error")
    assert outcome in result["content"][0]["text"]


@pytest.mark.parametrize("guard_first", [True, False])
def test_arguments_that_another_hook_changes_are_those_that_kiff_decides_on(guard_first: bool) -> None:
    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    ours, theirs = hook(guard), Edits(amount=9000.0)
    play(guard, [asks()], hooks=[ours, theirs] if guard_first else [theirs, ours])
    assert [asked.args["amount"] for asked in client.decides] == [9000.0]
    assert RAN == []


def test_a_tool_that_another_hook_puts_in_its_place_is_the_one_that_kiff_decides_on() -> None:
    guard, client = enforcing({"refund": "allowed", "explode": "blocked"})
    play(guard, [asks(order_id="o-1")], hooks=[Swaps(tool(explode)), hook(guard)])
    assert ([asked.tool for asked in client.decides], RAN) == (["explode"], [])


def test_a_hook_behind_the_guard_cannot_put_another_tool_in_its_place() -> None:
    ordered = hasattr(registry, "HookOrder")
    guard, client = enforcing("blocked")
    agent = agent_with(ScriptedModel([[asks(order_id="o-1")]]), refund, hooks=[hook(guard)])
    last = {"order": registry.HookOrder.SDK_LAST} if ordered else {}
    agent.hooks.add_callback(BeforeToolCallEvent, Swaps(tool(explode)).before, **last)
    agent("go")
    assert (RAN, client.calls, executions(guard)) == ([], 1, [("explode", "not_run")])


@pytest.mark.skipif(not hasattr(registry, "HookOrder"), reason="this Strands has no middleware around tools")
@pytest.mark.parametrize("phase", ["Input", "Wrap"])
def test_middleware_cannot_put_another_tool_in_its_place(phase: str) -> None:
    from strands.middleware import ExecuteToolStage

    async def wraps(context: Any, go_on: Any) -> Any:
        async for event in go_on(context.replace(tool=tool(explode))):
            yield event

    guard, client = enforcing("blocked")
    agent = agent_with(ScriptedModel([[asks(order_id="o-1")], [asks(call_id="c2", order_id="o-1")]]), refund)
    attach(guard, agent)
    if phase == "Input":
        agent.add_middleware(ExecuteToolStage.Input, lambda context: context.replace(tool=tool(explode)))
    else:
        agent.add_middleware(ExecuteToolStage, wraps)
    agent("go")
    assert (RAN, client.calls, executions(guard)) == ([], 2, [("explode", "not_run")] * 2)


@pytest.mark.skipif(hasattr(registry, "HookOrder"), reason="live sessions tell of calls as all others do")
def test_live_sessions_of_older_releases_are_guarded() -> None:
    from strands.experimental.hooks import BidiBeforeToolCallEvent

    guard, _ = enforcing("blocked")
    hooks = registry.HookRegistry()
    hooks.add_hook(hook(guard))
    event = BidiBeforeToolCallEvent(agent=None, selected_tool=tool(refund), tool_use={}, invocation_state={})
    hooks.invoke_callbacks(event)
    assert type(event.selected_tool) is GuardedTool


def test_agents_of_a_graph_are_guarded_once_it_is_attached() -> None:
    guard, _ = enforcing("blocked")

    def graph() -> Any:
        builder = GraphBuilder()
        builder.set_execution_timeout(60)
        builder.add_node(agent_with(ScriptedModel([[asks()]]), refund, name="payer"), "payer")
        return builder.build()

    graph()("go")
    assert len(RAN) == 1  # the control: guarded by nobody
    attach(guard, graph())("go")
    assert len(RAN) == 1
    assert executions(guard) == [("refund", "not_run")]


def test_an_agent_that_is_a_tool_is_guarded_once_the_one_above_is_attached() -> None:
    guard, _ = enforcing({"payer": "allowed", "refund": "blocked"})

    def two() -> Any:
        below = agent_with(ScriptedModel([[asks()]]), refund, name="payer")
        if not hasattr(below, "as_tool"):
            pytest.skip("needs a Strands whose agents can be tools")
        return agent_with(ScriptedModel([[asks("payer", "c0", input="pay")]]), below.as_tool())

    two()("go")
    assert len(RAN) == 1  # the control
    attach(guard, two())("go")
    assert len(RAN) == 1
    assert executions(guard) == [("refund", "not_run"), ("payer", "succeeded")]


def test_structured_output_is_no_action_and_nobody_is_asked_about_it() -> None:
    class Summary(BaseModel):
        """What was done."""

        text: str

    guard, client = enforcing("blocked")
    agent = agent_with(ScriptedModel([[asks("Summary", text="nothing")]]), refund, hooks=[hook(guard)])
    assert agent("go", structured_output_model=Summary).structured_output == Summary(text="nothing")
    assert (client.calls, guard.receipts) == (0, [])


# Held


@pytest.mark.parametrize("no", [False, "no", "Deny", {"approved": False}])
def test_a_no_here_holds_even_when_kiff_has_granted_it(no: Any) -> None:
    guard, client = enforcing("approval_required")
    agent, paused = held(guard)
    client.grant(client.waiting()[0])
    agent(answer(paused, no))
    assert RAN == []
    assert "said no" in told(agent, [[asks()]])[0]


def test_arguments_that_are_edited_after_the_approval_are_asked_anew() -> None:
    guard, client = enforcing("approval_required")
    edits = Edits()
    agent, paused = held(guard, edits)
    client.grant(client.waiting()[0])
    edits.changes = {"amount": 9000.0}
    again = agent(answer(paused, "yes"))
    assert RAN == []
    assert client.decides[-1].args["amount"] == 9000.0
    assert again.stop_reason != "tool_use"


def test_another_process_that_resumes_the_conversation_needs_no_second_approval(tmp_path: Any) -> None:
    from strands.session.file_session_manager import FileSessionManager

    client = ScriptedClient("approval_required")

    def process() -> Any:
        guard = Guard(client, agent="agent-1", mode="enforce")
        kept = FileSessionManager(session_id="conversation-1", storage_dir=str(tmp_path))
        return agent_with(ScriptedModel([[asks()]] if not client.calls else []), refund, hooks=[hook(guard)],
                          session_manager=kept, agent_id="agent-1")  # fmt: skip

    paused = process()("go")
    assert [each.name for each in paused.interrupts] == ["kiff"]
    client.grant(client.waiting()[0])
    process()(answer(paused, "yes"))
    assert (len(RAN), len(client.approvals)) == (1, 1)


# What came of it


def test_arguments_that_do_not_fit_the_tool_are_no_success() -> None:
    guard, client = enforcing()
    play(guard, [asks(wrong="o-1")])
    assert (RAN, executions(guard)) == ([], [("refund", "failed")])
    assert [each.status for each in client.settles] == ["failed"]  # nothing happened: the order is not closed


def test_a_tool_that_does_not_exist_is_refused_by_strands_alone() -> None:
    guard, client = enforcing()
    play(guard, [asks("no_such_tool")])
    assert (client.calls, guard.receipts) == (0, [])


def test_a_provider_that_gives_names_for_ids_makes_no_two_calls_one() -> None:
    guard = Guard(ScriptedClient(), agent="agent-1", mode="enforce", session="conversation-1")
    play(guard, [asks(call_id="refund")], [asks(call_id="refund")])
    assert len(RAN) == 2


def test_a_call_that_a_hook_has_tried_again_is_decided_again() -> None:
    if "retry" not in AfterToolCallEvent.__dataclass_fields__:
        pytest.skip("needs a Strands whose hooks can have a call tried again")
    answers = iter(["allowed", "blocked"])
    guard, _ = enforcing(lambda args: next(answers))
    tries: list[Any] = []

    class Again:
        def register_hooks(self, hooks: Any, **_: Any) -> None:
            hooks.add_callback(AfterToolCallEvent, self.after)

        def after(self, event: Any) -> None:
            tries.append(event.result["status"])
            event.retry = len(tries) == 1

    play(guard, [asks()], hooks=[Again(), hook(guard)])
    assert (len(RAN), tries) == (1, ["success", "error"])


# Names of kiff-guard 1.x


def test_the_provider_of_kiff_guard_1_guards() -> None:
    guard, _ = enforcing("blocked")
    play(guard, [asks()], hooks=[kiff_hook_provider(guard)])
    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])


@pytest.mark.parametrize(("outcome", "execution"), [("blocked", "not_run"), ("allowed", "succeeded")])
def test_the_callback_of_kiff_guard_1_guards(outcome: str, execution: str) -> None:
    guard, _ = enforcing(outcome)
    agent = agent_with(ScriptedModel([[asks()]]), refund)
    agent.hooks.add_callback(BeforeToolCallEvent, kiff_before_tool_call(guard))
    agent("go")
    assert (len(RAN), executions(guard)) == (int(outcome == "allowed"), [("refund", execution)])
