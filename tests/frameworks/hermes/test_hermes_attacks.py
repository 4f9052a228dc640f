"""Attacks on the guard in Hermes: a prompt of another plugin's, at which a person takes their time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from guards import RAN, asks, enforcing, explode, refund
from hermes_driver import TOOLSET, agent_of, at_a_prompt, context, forget_answers, forget_plugins, give
from hermes_model import Model

from kiff_guard import attempts
from kiff_guard.adapters.hermes import attach


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget_plugins()
    forget_answers()
    give({"refund": refund, "explode": explode})
    yield
    forget_plugins()


@pytest.mark.parametrize(("takes_long", "ran"), [(False, 1), (True, 0)])
def test_a_yes_that_comes_after_the_clearance_ended_asks_kiff_again(
    monkeypatch: pytest.MonkeyPatch, takes_long: bool, ran: int
) -> None:
    said = ["allowed", "blocked"]  # KIFF is frozen meanwhile
    guard, client = enforcing(lambda args: said.pop(0))
    context("other").register_hook("pre_tool_call", lambda **_: {"action": "approve", "message": "sure?"})
    attach(guard)

    def person(*_: object, **__: object) -> str:
        if takes_long:
            monkeypatch.setattr(attempts, "FRESH_SECONDS", -1.0)
        return "once"

    model = Model([[asks()]])
    try:
        with at_a_prompt(person):
            agent_of(model, toolsets=(TOOLSET,)).run_conversation("go")
    finally:
        model.close()
    assert len(RAN) == ran
    ended = [("allowed", "not_run"), ("blocked", "not_run")]
    receipts = [(each.outcome, each.execution) for each in guard.receipts]
    assert receipts == (ended if takes_long else [("allowed", "succeeded")])
    assert [each.status for each in client.settles] == ["cancelled" if takes_long else "succeeded"]
