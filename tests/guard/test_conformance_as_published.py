"""`run_conformance` of kiff-guard 1 goes on working, with its drivers and its client."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from kiff_guard import Guard, Hold
from kiff_guard.conformance import AdapterDriver, ConformanceClient, run_conformance


def middleware(guard: Guard, tool: str, args: dict[str, Any], *, will_run: bool) -> bool:
    ran: list[str] = []
    with suppress(Hold):
        guard.evaluate(tool, args, run=lambda: ran.append(tool))
    return bool(ran)


def vote(guard: Guard, tool: str, args: dict[str, Any], *, will_run: bool) -> bool:
    """As published adapters do it: with the seed's verbs alone."""
    if guard.mode == "observe":
        guard.observe(tool, args)
        return True
    decision = guard.decide_only(tool, args)
    if decision.withheld:
        guard.record_withheld(tool, args, decision)
        return False
    guard.record_executed(tool, args, decision)
    return True


@pytest.mark.parametrize("drive", [middleware, vote], ids=lambda drive: drive.__name__)
def test_a_good_driver_passes(drive: Any) -> None:
    run_conformance(AdapterDriver("mine", drive))


def _stops(guard: Guard, tool: str, args: dict[str, Any], **_: Any) -> bool:
    return False


def _records_nothing(guard: Guard, tool: str, args: dict[str, Any], **_: Any) -> bool:
    return True


def _asks(guard: Guard, tool: str, args: dict[str, Any], *, will_run: bool) -> bool:
    if guard.client is not None and guard.mode == "observe":
        guard.client.decide("t", "a", tool, args)
    return middleware(guard, tool, args, will_run=will_run)


def _runs_all(guard: Guard, tool: str, args: dict[str, Any], *, will_run: bool) -> bool:
    middleware(guard, tool, args, will_run=will_run)
    return True


def _knows_old_words(guard: Guard, tool: str, args: dict[str, Any], *, will_run: bool) -> bool:
    decision = guard.client.decide("t", "a", tool, args) if guard.mode == "enforce" else None
    if decision is None or decision.outcome not in ("allowed", "quarantined"):
        return middleware(guard, tool, args, will_run=will_run)
    guard.client.calls -= 1
    return middleware(guard, tool, args, will_run=will_run) or decision.outcome == "quarantined"


def _adds_roles(guard: Guard, tool: str, args: dict[str, Any], *, will_run: bool) -> bool:
    return middleware(guard, tool, {**args, "roles": ["admin"]} if tool == "refund" else args, will_run=will_run)


def _runs_when_down(guard: Guard, tool: str, args: dict[str, Any], *, will_run: bool) -> bool:
    return middleware(guard, tool, args, will_run=will_run) or getattr(guard.client, "raises", False)


@pytest.mark.parametrize(
    ("drive", "id"),
    [
        (_stops, "O2"),
        (_records_nothing, "O3"),
        (_asks, "O1"),
        (_runs_all, "E2"),
        (_adds_roles, "E3"),
        (_knows_old_words, "E4"),
        (_runs_when_down, "E5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_flaw_is_named(drive: Any, id: str) -> None:
    with pytest.raises(AssertionError, match=rf"^\[mine\] {id}: "):
        run_conformance(AdapterDriver("mine", drive))


def test_the_published_client_counts_and_keeps() -> None:
    client = ConformanceClient(outcome="blocked", reason="no")
    decision = client.decide("t", "a", "refund", {"order_id": "o1"})
    assert (decision.outcome, decision.reason, decision.proposal_id) == ("blocked", "no", "p_conf")
    assert (client.calls, client.seen_args) == (1, [{"order_id": "o1"}])
