"""The plugin in a real Hermes: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from guards import RAN, asks, enforcing, executions, explode, fails_open, refund
from hermes_cli.plugins import get_plugin_manager
from hermes_driver import CONFIG, HOME, TOOLSET, agent_of, at_a_prompt, context, forget_answers, forget_plugins, give
from hermes_model import Model
from model_tools import handle_function_call
from tools.approval import (
    disable_session_yolo,
    enable_session_yolo,
    reset_current_session_key,
    set_current_session_key,
)

from kiff_guard import Guard
from kiff_guard.adapters.hermes import attach, hermes_pre_tool_call, hook, register, register_kiff_guard
from kiff_guard.conformance import ScriptedClient, ToolCall


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget_plugins()
    forget_answers()
    give({"refund": refund, "explode": explode, "press_stop": press_stop})
    yield
    forget_plugins()


def press_stop(order_id: str) -> str:
    """Be interrupted."""
    RAN.append(order_id)
    raise KeyboardInterrupt


def played(*turns: list[ToolCall], toolsets: Sequence[str] = (TOOLSET,)) -> Model:
    """Plays the turns through a real agent; whatever stops the run is raised."""
    model = Model(turns)
    try:
        model.reads(agent_of(model, toolsets=toolsets).run_conversation("go")["messages"])
    finally:
        model.close()
    return model


class Person:
    """Sits at Hermes' prompt."""

    def __init__(self, answer: str, does: Callable[[], Any] = lambda: None) -> None:
        self.answer, self.does = answer, does
        self.asked: list[str] = []

    def __call__(self, target: str, about: str, **_: Any) -> str:
        self.asked.append(about)
        self.does()
        return self.answer


def at_prompt(person: Person, *turns: list[ToolCall]) -> Model:
    with at_a_prompt(person):
        return played(*turns)


# Refused


def test_a_block_always_has_a_text_for_hermes_takes_one_without_for_none() -> None:
    def empty(**_: Any) -> dict[str, str]:
        return {"action": "block", "message": ""}

    context().register_hook("pre_tool_call", empty)
    played([asks()])
    assert len(RAN) == 1  # the control

    guard, _ = enforcing("blocked", reasons={"refund": ""})
    vote = hook(guard).pre_tool_call("refund", {"order_id": "o-1"}, "s", "c1")
    assert vote is not None and vote["message"].startswith("KIFF withheld")


def test_a_guard_that_itself_fails_withholds_for_hermes_runs_what_raises() -> None:
    class Broken(Guard):
        def decide_only(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("out of order")

    def raising(**_: Any) -> None:
        raise RuntimeError("out of order")

    context().register_hook("pre_tool_call", raising)
    context().register_middleware("tool_execution", raising)
    played([asks()])
    assert len(RAN) == 1  # the control

    forget_plugins()
    attach(Broken(ScriptedClient(), mode="enforce"))
    model = played([asks()])
    assert len(RAN) == 1
    assert "out of order" in model.said()[0]


def test_a_guard_that_itself_fails_while_it_observes_stops_nothing() -> None:
    class Broken(Guard):
        def decide_only(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("out of order")

        settle = decide_only

    attach(Broken())

    assert played([asks()]).said() == ["refunded o-1"]


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    def play(guard: Guard) -> None:
        attach(guard, fail_closed=False)
        played([asks()])

    fails_open(play)


def test_text_that_hermes_makes_a_number_of_is_decided_on_as_the_number() -> None:
    guard, client = enforcing("blocked")
    attach(guard)

    played([asks(order_id="o-1", amount="9000")])

    assert client.decides[0].args["amount"] in (9000, "9000")
    assert RAN == []


def test_a_call_that_a_script_of_the_models_makes_is_guarded() -> None:
    guard, _ = enforcing("blocked")
    attach(guard)

    told = handle_function_call("refund", {"order_id": "o-1"})  # what execute_code's tools call, without an id

    assert RAN == []
    assert "blocked" in json.loads(told)["error"]


def test_a_sub_agent_is_guarded() -> None:
    guard, _ = enforcing({"refund": "blocked"})
    attach(guard)
    delegate = asks("delegate_task", "d1", goal="refund o-1")

    played([delegate], [asks()], toolsets=["delegation", TOOLSET])

    assert RAN == []
    assert ("refund", "not_run") in executions(guard)
    assert ("delegate_task", "succeeded") in executions(guard)


# Other plugins


def says(directive: Any) -> Callable[..., Any]:
    return lambda **_: directive


def test_another_plugins_word_before_ours_does_not_let_a_blocked_call_run() -> None:
    guard, _ = enforcing("blocked")
    context("other").register_hook("pre_tool_call", says({"action": "approve", "message": "sure?"}))
    attach(guard)
    person = Person("once")

    model = at_prompt(person, [asks()])

    assert person.asked  # Hermes followed the other plugin, and the person said yes
    assert RAN == []
    assert "blocked" in model.said()[0]


def test_a_call_that_another_plugin_blocks_after_ours_was_let_run_is_no_success() -> None:
    guard, _ = enforcing()
    attach(guard)
    context("other").register_hook("pre_tool_call", says({"action": "block", "message": "not on a Friday"}))

    model = played([asks()])

    assert RAN == []
    assert "Friday" in model.said()[0]
    assert executions(guard) == [("refund", "not_run")]


def edits(**_: Any) -> dict[str, Any]:
    return {"args": {"order_id": "o-1", "amount": 9000.0}}


def passes_on_something_else(next_call: Any = None, **_: Any) -> Any:
    return next_call({"order_id": "o-1", "amount": 9000.0})


@pytest.mark.parametrize("guard_first", [False, True])
@pytest.mark.parametrize(
    ("kind", "other"), [("tool_request", edits), ("tool_execution", passes_on_something_else)], ids=["before", "around"]
)
def test_arguments_that_another_plugin_changes_are_decided_on(
    kind: str, other: Callable[..., Any], guard_first: bool
) -> None:
    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    if guard_first:
        attach(guard)
    context("other").register_middleware(kind, other)
    attach(guard)

    played([asks()])

    assert client.decides[-1].args["amount"] == 9000.0
    assert RAN == []
    guard.flush()
    assert {each.execution for each in guard.receipts} == {"not_run"}


def test_a_guard_that_cannot_settle_withholds_what_it_withholds() -> None:
    class Forgetful(Guard):
        def settle(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("out of order")

    context("other").register_middleware("tool_execution", passes_on_something_else)
    attach(Forgetful(ScriptedClient(lambda args: "blocked" if args["amount"] > 100 else "allowed"), mode="enforce"))

    played([asks()])

    assert RAN == []


def test_a_vote_that_changed_arguments_overtook_did_not_run() -> None:
    guard, _ = enforcing()
    context("other").register_middleware("tool_execution", passes_on_something_else)
    attach(guard)

    handle_function_call("refund", {"order_id": "o-1", "amount": 5.0})  # without an id only its arguments tell it
    guard.flush()

    assert RAN == [("o-1", 9000.0)]
    assert [(each.args["amount"], each.execution) for each in guard.receipts] == [
        (5.0, "not_run"),
        (9000.0, "succeeded"),
    ]


# Held


@pytest.mark.parametrize("answer", ["once", "session", "always"])
def test_a_yes_at_the_prompt_is_no_grant(answer: str) -> None:
    guard, _ = enforcing("approval_required")
    attach(guard)
    person = Person(answer)

    model = at_prompt(person, [asks()], [asks(call_id="c2")], [asks(call_id="c3", order_id="o-2", amount=1.0)])

    assert RAN == []
    assert all("approval_required" in text for text in model.said())


def test_a_session_that_says_yes_to_everything_is_no_grant() -> None:
    guard, _ = enforcing("approval_required")
    attach(guard)
    token = set_current_session_key("yolo")
    enable_session_yolo("yolo")
    try:
        model = played([asks()])
    finally:
        disable_session_yolo("yolo")
        reset_current_session_key(token)

    assert RAN == []
    assert "appr_0001" in model.said()[0]


def test_where_nobody_sits_at_a_prompt_the_model_is_told_and_asks_again_once_it_is_granted() -> None:
    guard, client = enforcing("approval_required")
    attach(guard)
    assert "appr_0001" in played([asks()]).said()[0]
    client.grant("appr_0001")

    assert played([asks(call_id="c2")]).said() == ["refunded o-1"]

    assert RAN == [("o-1", 5.0)]


def test_without_a_pause_the_model_is_told_and_nobody_is_asked() -> None:
    guard, _ = enforcing("approval_required")
    attach(guard, pause=False)
    person = Person("once")

    model = at_prompt(person, [asks()])

    assert person.asked == []
    assert "appr_0001" in model.said()[0]


# How calls end


def test_an_interrupted_call_is_cancelled() -> None:
    guard, _ = enforcing()
    attach(guard)

    with pytest.raises(KeyboardInterrupt):
        played([asks("press_stop", order_id="o-1")])

    assert executions(guard) == [("press_stop", "cancelled")]


def test_calls_that_hermes_makes_at_the_same_time_are_asked_about_once_each(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "b.txt")]
    for path in paths:
        path.write_text(f"text of {path.name}\n", "utf-8")
    guard, client = enforcing()
    attach(guard)

    turn = [asks("read_file", f"c{number}", path=str(path)) for number, path in enumerate(paths)]
    model = played(turn, toolsets=["file"])

    assert client.calls == 2
    assert executions(guard) == [("read_file", "succeeded")] * 2
    assert ["text of a.txt" in model.said()[0], "text of b.txt" in model.said()[1]] == [True, True]


def test_calls_at_the_same_time_are_withheld_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text of a.txt\n", "utf-8")
    guard, _ = enforcing(lambda args: "allowed" if args["path"] == str(path) else "blocked")
    attach(guard)

    turn = [asks("read_file", "c1", path=str(path)), asks("read_file", "c2", path=str(tmp_path / "secret"))]
    model = played(turn, toolsets=["file"])

    assert [each.execution for each in guard.receipts if each.call_id == "c2"] == ["not_run"]
    assert "text of a.txt" in model.said()[0]
    assert "blocked" in model.said()[1]


# The verbs


def test_attach_gives_the_agent_back_and_receipts_tell_the_call() -> None:
    guard, _ = enforcing()

    assert attach(guard, attach(guard, "agent")) == "agent"
    played([asks()])

    [receipt] = guard.receipts
    assert (receipt.session, receipt.call_id, receipt.adapter) == ("session-1", "c1", "hermes")


def test_the_published_names_work() -> None:
    guard, _ = enforcing("blocked")
    register_kiff_guard(context("kiff"), guard)
    played([asks()])
    forget_plugins()
    context("kiff").register_hook("pre_tool_call", hermes_pre_tool_call(guard))
    played([asks(call_id="c2")])

    assert RAN == []
    assert executions(guard) == [("refund", "not_run")] * 2


def test_the_published_vote_does_not_claim_to_know_how_a_call_ended() -> None:
    guard, client = enforcing()
    context("kiff").register_hook("pre_tool_call", hermes_pre_tool_call(guard))

    played([asks("explode", order_id="o-1")])

    assert executions(guard) == [("explode", "unknown")]
    assert client.decides[0].options["settles"] is False


def test_a_wrapped_function_is_guarded_without_the_plugin() -> None:
    guard, client = enforcing("blocked")
    give({"refund": guard.wrap(refund)})

    model = played([asks(order_id="o-1")])

    assert RAN == []
    assert client.decides[0].args == {"order_id": "o-1", "amount": 500.0}
    assert "blocked" in model.said()[0]


# The plugin as Hermes finds it


def discovered(*enabled: str) -> Any:
    (HOME / "config.yaml").write_text(f"plugins:\n  enabled: {json.dumps(enabled)}\n{CONFIG}", "utf-8")
    manager = get_plugin_manager()
    manager.discover_and_load(force=True)
    return manager


@pytest.fixture
def rediscovered() -> Iterator[None]:
    yield
    discovered()


@pytest.mark.usefixtures("rediscovered")
def test_the_installed_plugin_observes_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIFF_GUARD", raising=False)
    loaded = discovered("kiff")._plugins["kiff"]
    assert loaded.enabled and loaded.error is None
    give({"refund": refund})

    played([asks()])

    lines = (HOME / "kiff" / "receipts.jsonl").read_text("utf-8").splitlines()
    assert RAN == [("o-1", 5.0)]
    assert any('"refund"' in line and '"succeeded"' in line for line in lines)


@pytest.mark.usefixtures("rediscovered")
def test_the_installed_plugin_takes_the_guard_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "our_guard.py").write_text(
        "from kiff_guard import Guard\n"
        "from kiff_guard.conformance import ScriptedClient\n"
        "guard = Guard(ScriptedClient('blocked'), mode='enforce')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KIFF_GUARD", "our_guard:guard")
    discovered("kiff")
    give({"refund": refund})

    model = played([asks()])

    assert RAN == []
    assert "blocked" in model.said()[0]


@pytest.mark.parametrize("named", ["no_such_module:guard", "json:dumps", "json:missing"])
def test_a_guard_that_cannot_be_made_withholds_for_hermes_goes_on_without_a_plugin_that_does_not_load(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("KIFF_GUARD", named)
    register(context("kiff"))

    model = played([asks()])

    assert RAN == []
    assert "no_guard" in model.said()[0]
