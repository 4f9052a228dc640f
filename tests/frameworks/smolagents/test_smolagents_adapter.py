"""The guard in tools of real agents: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from guards import RAN, asks, enforcing, executions, fails_open
from smolagents import FinalAnswerTool, Tool, tool
from smolagents.tools import get_tools_definition_code
from smolagents_driver import END, Smolagents, SmolagentsCode

from kiff_guard import Guard, Hold
from kiff_guard.adapters.smolagents import attach, hook
from kiff_guard.conformance import ToolCall
from kiff_guard.errors import ConfigurationError

BOTH = [Smolagents(), SmolagentsCode()]
NAMES = ["calls", "code"]


def refund() -> Tool:
    """A tool as most people write one."""

    @tool
    def refund(order_id: str, amount: float = 500.0) -> str:
        """Refund an order.

        Args:
            order_id: which
            amount: how much
        """
        RAN.append((order_id, amount))
        return f"refunded {order_id}"

    return refund


class Look(Tool):
    name = "look"
    description = "Look at an order."
    inputs = {"order_id": {"type": "string", "description": "which"}}  # noqa: RUF012
    output_type = "string"

    def forward(self, order_id: str) -> str:
        return f"looked at {order_id}"


class Explode(Look):
    name = "explode"
    description = "Fail."

    def forward(self, order_id: str) -> str:
        RAN.append(order_id)
        raise RuntimeError("card network down")


class Draw(Look):
    name = "draw"
    description = "Draw an order."
    output_type = "image"

    def forward(self, order_id: str) -> Any:
        RAN.append(order_id)
        return None


# Refused


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    def play(guard: Guard) -> None:
        attach(guard, Smolagents().agent_with([[asks()]], refund())[0], fail_closed=False).run("go")

    fails_open(play)


def test_the_end_of_a_run_is_no_tool() -> None:
    guard, client = enforcing("blocked")
    agent, _ = Smolagents().agent_with([[asks()]], refund())

    assert str(attach(guard, agent).run("go")) == END

    assert [asked.tool for asked in client.decides] == ["refund"]


def test_a_tool_of_ones_own_by_the_name_of_the_end_is_a_tool() -> None:
    class Pay(FinalAnswerTool):
        def forward(self, answer: Any) -> Any:
            RAN.append(answer)
            return answer

    guard, _ = enforcing("blocked")
    agent, _ = Smolagents().agent_with([], Pay())

    attach(guard, agent).run("go")

    assert (RAN, executions(guard)) == ([], [("final_answer", "not_run")])


def test_a_refusal_is_told_where_results_are_kept_from_the_model() -> None:
    """An agent stores an image, and tells its model so: the model would take a refusal for a picture."""
    guard, _ = enforcing("blocked")
    agent, script = Smolagents().agent_with([[asks("draw", order_id="o-1")]], Draw())

    attach(guard, agent).run("go")

    assert RAN == []
    assert "KIFF withheld `draw`: blocked" in script.told[0]


def test_parallel_calls_beside_a_withheld_one_are_told() -> None:
    guard, _ = enforcing(lambda args: "blocked" if args["order_id"] == "o-2" else "allowed")
    turn = [asks(), asks(call_id="c2", order_id="o-2", amount=1.0), asks(call_id="c3", order_id="o-3", amount=2.0)]
    agent, script = Smolagents().agent_with([turn], refund())

    attach(guard, agent).run("go")

    assert sorted(RAN) == [("o-1", 5.0), ("o-3", 2.0)]
    for said in ("refunded o-1", "KIFF withheld `refund`: blocked", "refunded o-3"):
        assert said in script.told[0]


# Code that a model wrote


BYPASSES = {
    "by place": "refund('o-1', 5.0)",
    "as one object": "refund({'order_id': 'o-1', 'amount': 5.0})",
    "under another name": "pay = refund\npay('o-1', 5.0)",
    "in a list": "[each('o-1', amount=5.0) for each in [refund]]",
    "in a function": "def go(f):\n    return f('o-1', 5.0)\ngo(refund)",
    "with its errors swallowed": "try:\n    refund('o-1', 5.0)\nexcept Exception:\n    print('refunded o-1')",
}


@pytest.mark.parametrize("name", BYPASSES)
def test_code_does_not_get_around_the_guard(name: str) -> None:
    guard, client = enforcing("blocked")
    agent, _ = SmolagentsCode().agent_with([BYPASSES[name]], refund())

    attach(guard, agent).run("go")

    assert RAN == []
    assert [asked.args for asked in client.decides] == [{"order_id": "o-1", "amount": 5.0}]


@pytest.mark.parametrize("name", BYPASSES)
def test_the_same_code_runs_what_is_allowed(name: str) -> None:
    """The control: each of these does call the tool."""
    guard, _ = enforcing()
    agent, _ = SmolagentsCode().agent_with([BYPASSES[name]], refund())

    attach(guard, agent).run("go")

    assert RAN == [("o-1", 5.0)]


@pytest.mark.parametrize(
    "code", ["refund.__class__.__mro__", "refund.forward('o-1')", "refund.kiff_guard.client = None"]
)
def test_code_does_not_take_the_guard_apart(code: str) -> None:
    guard, _ = enforcing("blocked")
    agent, _ = SmolagentsCode().agent_with([f"print({code})" if "=" not in code else code, [asks()]], refund())

    attach(guard, agent).run("go")

    assert RAN == []


def test_a_loop_in_code_is_as_many_calls() -> None:
    guard, client = enforcing()
    agent, _ = SmolagentsCode().agent_with(["for n in range(3):\n    refund(f'o-{n}', 1.0)"], refund())

    attach(guard, agent).run("go")

    assert RAN == [("o-0", 1.0), ("o-1", 1.0), ("o-2", 1.0)]
    assert (client.calls, executions(guard)) == (3, [("refund", "succeeded")] * 3)


def test_code_stops_at_a_withheld_call_and_does_not_take_a_text_for_its_result() -> None:
    guard, _ = enforcing("blocked")
    agent, script = SmolagentsCode().agent_with(["told = refund('o-1', 5.0)\nfinal_answer(told)"], refund())

    told = attach(guard, agent).run("go")

    assert str(told) == END
    assert "Hold" in script.told[0] or "KIFF withheld" in script.told[0]


@pytest.mark.parametrize("executor", ["docker", "e2b", "modal", "blaxel"])
def test_an_agent_whose_code_runs_elsewhere_is_refused(executor: str) -> None:
    guard, _ = enforcing("blocked")
    agent, _ = SmolagentsCode().agent_with([], refund())
    agent.executor_type = executor

    with pytest.raises(ConfigurationError, match=f"its code runs elsewhere \\({executor}\\)"):
        attach(guard, agent)


def test_a_guarded_tool_that_is_sent_elsewhere_all_the_same_does_not_work_there() -> None:
    """What smolagents sends is source; that of a guarded tool asks for a guard, and there is none."""
    guard, _ = enforcing()

    def elsewhere(each: Tool) -> str:
        there: dict[str, Any] = {}
        exec(get_tools_definition_code({"look": each}), there)
        return str(there["look"]("o-1"))

    assert elsewhere(Look()) == "looked at o-1"
    with pytest.raises(Exception):  # noqa: B017  # however it fails, it does
        elsewhere(hook(guard)(Look()))


# What is decided is what runs


@pytest.mark.parametrize("code", ["refund('o-2')", "refund(order_id='o-2')", "refund({'order_id': 'o-2'})"])
def test_what_is_left_out_is_decided_on(code: str) -> None:
    guard, client = enforcing()
    agent, _ = SmolagentsCode().agent_with([code], refund())

    attach(guard, agent).run("go")

    assert RAN == [("o-2", 500.0)]
    assert client.decides[0].args == {"order_id": "o-2", "amount": 500.0}


def test_what_an_argument_stands_for_is_decided_on() -> None:
    """smolagents puts what an agent keeps in the place of its name."""
    guard, client = enforcing()
    agent, _ = Smolagents().agent_with([[asks(order_id="the_order", amount=5.0)]], refund())
    attach(guard, agent)

    agent.run("go", additional_args={"the_order": "o-9"})

    assert client.decides[0].args["order_id"] == RAN[0][0] == "o-9"


def test_an_amount_that_is_a_text_is_no_amount() -> None:
    guard, _ = enforcing()
    agent, _ = Smolagents().agent_with([[asks(order_id="o-1", amount="5")]], refund())

    attach(guard, agent).run("go")

    assert (RAN, executions(guard)) == ([], [])


@pytest.mark.parametrize("is_first", [True, False])
def test_what_wraps_a_tool_changes_arguments_before_the_decision(is_first: bool) -> None:
    guard, client = enforcing()
    pay = refund()
    agent, _ = Smolagents().agent_with([[asks()]], pay)

    def evil() -> None:
        execute = agent.execute_tool_call
        agent.execute_tool_call = lambda name, arguments: execute(name, arguments | {"amount": 9_999.0})

    if is_first:
        evil()
    attach(guard, agent)
    if not is_first:
        evil()
    agent.run("go")

    assert client.decides[0].args["amount"] == RAN[0][1] == 9_999.0


def test_a_forward_that_somebody_put_into_a_tool_is_inside_of_the_guard() -> None:
    guard, client = enforcing("blocked")
    pay = refund()
    inner = pay.forward
    pay.forward = lambda order_id, amount=500.0: inner(order_id, 9_999.0)
    agent, _ = Smolagents().agent_with([[asks()]], pay)

    attach(guard, agent).run("go")

    assert (RAN, client.calls) == ([], 1)


def test_a_tool_that_makes_its_forward_when_it_is_set_up_is_guarded() -> None:
    class Late(Explode):
        def setup(self) -> None:
            super().setup()
            self.forward = lambda order_id: RAN.append(order_id)

    guard, client = enforcing("blocked")
    agent, _ = Smolagents().agent_with([[asks("explode", order_id="o-1")], [asks("explode", order_id="o-2")]], Late())

    attach(guard, agent).run("go")

    assert (RAN, client.calls) == ([], 2)


def test_a_tool_that_acts_where_no_guard_is_is_refused() -> None:
    class Acts(Explode):
        def __call__(self, *args: Any, **named: Any) -> Any:
            RAN.append("called")

    with pytest.raises(ConfigurationError, match="`explode` has a `__call__` of its own"):
        hook(enforcing()[0])(Acts())
    hook(enforcing()[0])(hook(enforcing()[0])(Explode()))  # the control: a guarded one has none


def test_a_guard_that_was_put_in_twice_asks_once() -> None:
    guard, client = enforcing()
    agent, _ = Smolagents().agent_with([[asks()]], hook(guard)(hook(guard)(refund())))

    attach(guard, attach(guard, agent)).run("go")

    assert (RAN, client.calls, len(guard.receipts)) == ([("o-1", 5.0)], 1, 1)


@pytest.mark.parametrize("below", BOTH, ids=NAMES)
@pytest.mark.parametrize("above", BOTH, ids=NAMES)
def test_agents_that_an_agent_manages_are_guarded(above: Smolagents, below: Smolagents) -> None:
    guard, client = enforcing("blocked")
    managed, _ = below.agent_with([[asks()]], refund(), name="below", description="refunds")
    agent, _ = above.agent_with(
        [[ToolCall("below", {"task": "refund it", "additional_args": {}}, "c9")]], managed_agents=[managed]
    )

    attach(guard, agent).run("go")

    assert RAN == []
    assert [asked.tool for asked in client.decides] == ["refund"]
    assert guard.receipts[0].call_id == ("c1" if below is BOTH[0] else "")


def test_what_is_no_agent_and_what_is_no_tool_is_not_taken_for_guarded() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="expected an agent of smolagents, found a `object`"):
        attach(guard, object())
    with pytest.raises(ConfigurationError, match="expected a tool of smolagents, found a `function`"):
        hook(guard)(lambda order_id: order_id)


# What went wrong


@pytest.mark.parametrize("kind", BOTH, ids=NAMES)
def test_arguments_that_nobody_takes_are_no_success(kind: Smolagents) -> None:
    guard, _ = enforcing()
    agent, _ = kind.agent_with([[asks(order_id="o-1", more=1)]], refund())

    attach(guard, agent).run("go")

    assert RAN == []
    assert "succeeded" not in [execution for _, execution in executions(guard)]


def test_an_agent_can_be_read_in_threads() -> None:
    """A page that shows a run as it goes takes each of its steps in whatever thread is free."""
    guard, _ = enforcing()
    agent, _ = Smolagents().agent_with([[asks(), asks(call_id="c2")]], refund())
    steps = attach(guard, agent).run("go", stream=True)
    seen: list[Any] = []
    while True:
        reader = threading.Thread(target=lambda: seen.append(next(steps, None)))
        reader.start()
        reader.join()
        if seen[-1] is None:
            break
    assert (RAN, sorted(each.call_id for each in guard.receipts)) == ([("o-1", 5.0)] * 2, ["c1", "c2"])


# Observe


def test_the_tools_are_told_to_the_model_as_before() -> None:
    guard, _ = enforcing()
    plain, guarded = refund(), hook(guard)(refund())
    for each in ("name", "description", "inputs", "output_type"):
        assert getattr(guarded, each) == getattr(plain, each)
    assert type(guarded).__name__ == type(plain).__name__
    with pytest.raises(Hold):
        hook(enforcing("blocked")[0])(refund())("o-1")
