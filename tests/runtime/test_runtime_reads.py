"""Reading through the runtime: a caller sees its own tenant, and only what was committed."""

from __future__ import annotations

import asyncio

from lane_cases import AGENT, STRIPE, Door, Spied, opened, place

from kiff import Caller, Principal

STRANGER = Caller(Principal("ops-agent", "agent"), ("ops_agent",), tenant="another")


def test_a_caller_of_another_tenant_sees_nothing() -> None:
    with opened(Spied()) as runtime:
        place(runtime, "order:1").result()
        assert runtime.timeline(STRANGER, "order:1") == []
        assert runtime.rebuild(STRANGER, "order:1").events == 0
        assert runtime.read.state("order:1", tenant="another") is None


def test_what_is_not_committed_is_not_shown() -> None:
    store, door = Spied(), Door()
    with opened(store) as runtime:
        place(runtime, "order:1").result()
        store.before = door
        pending = place(runtime, "order:2")
        door.wait_for_someone()
        assert runtime.timeline(STRIPE, "order:2") == []
        assert runtime.read.state("order:2") is None
        door.open()
        assert pending.result(20).state == "OPEN"


def test_a_timeline_goes_on_from_its_cursor_and_rebuilds() -> None:
    with opened(Spied()) as runtime:
        place(runtime, "order:1").result()
        runtime.execute(AGENT, entity="order:1", action="REFUND").result()
        first = runtime.timeline(AGENT, "order:1", limit=2)
        rest = runtime.timeline(AGENT, "order:1", after=first[-1]["seq"])
        kinds = ["event_ingested", "state_changed", "decision_recorded", "action_validated", "action_executed"]
        assert [record["kind"] for record in [*first, *rest]] == [*kinds, "event_ingested", "state_changed"]
        rebuilt = runtime.rebuild(AGENT, "order:1")
        assert (rebuilt.materialized, rebuilt.replayed, rebuilt.match, rebuilt.events) == (
            "REFUNDED",
            "REFUNDED",
            True,
            2,
        )


async def _through_await(runtime: object) -> object:
    return await place(runtime, "order:async")  # type: ignore[arg-type]


def test_an_answer_can_be_awaited() -> None:
    with opened(Spied()) as runtime:
        assert asyncio.run(_through_await(runtime)).state == "OPEN"  # type: ignore[attr-defined]
