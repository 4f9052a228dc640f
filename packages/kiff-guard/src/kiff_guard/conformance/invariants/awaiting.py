"""A: what is awaited is settled when it is done, and nobody's loop stands still."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from kiff_guard.conformance.driver import ToolCall
from kiff_guard.conformance.invariants.table import invariant
from kiff_guard.conformance.trial import PATIENCE_SECONDS, REFUND, Trial, call, expect, shown, texts
from kiff_guard.conformance.world import World, said

SLOW = call("refund_slowly", order_id="o-1")


@invariant("A1", "an asynchronous tool is settled when it is done, and not when it begins", asynchronous=True)
def settles_after_the_await(trial: Trial) -> None:
    world = World()
    stage = trial.stage(world=world)
    seen: list[int] = []
    world.inside = lambda: seen.append(len(stage.receipts))
    played = stage.play(SLOW)
    stage.ran_once("refund_slowly")
    expect(seen == [0], "its receipt was there while it ran")
    receipt = stage.receipt()
    expect(receipt.execution == "succeeded" and receipt.result_hash, f"the receipt says {shown([receipt])}")
    expect(said("refund_slowly", "o-1") in texts(played), f"the model was told {played.told}")


@invariant("A2", "while KIFF decides, the event loop goes on", asynchronous=True)
def decides_beside_the_loop(trial: Trial) -> None:
    for wanted in (REFUND, SLOW):
        _decides_beside_the_loop(trial, wanted)


def _decides_beside_the_loop(trial: Trial, wanted: ToolCall) -> None:
    asked, ticked = threading.Event(), threading.Event()

    def slow(args: Any) -> str:
        asked.set()
        return "allowed" if ticked.wait(PATIENCE_SECONDS) else "blocked"

    async def tick() -> None:
        while not asked.is_set():
            await asyncio.sleep(0.001)
        ticked.set()

    stage = trial.stage(slow)
    stage.beside = tick
    stage.play(wanted)
    expect(asked.is_set(), "KIFF was not asked")
    expect(ticked.is_set() and stage.runs(wanted.tool) == 1, "the loop stood still until KIFF had answered")


@invariant("A3", "a plain tool in a running loop is decided, run and settled like any other", asynchronous=True)
def plain_tool_in_a_loop(trial: Trial) -> None:
    stage = trial.stage({"delete_account": "blocked"})
    stage.play(REFUND, call("delete_account", "call-2", account_id="a-9"))
    stage.ran_once("refund")
    stage.did_not_run("delete_account", "as a plain tool in a running loop")
    seen = [(receipt.tool, receipt.execution) for receipt in stage.receipts]
    expect(seen == [("refund", "succeeded"), ("delete_account", "not_run")], f"the receipts say {seen}")


@invariant("A4", "a hook that cannot be used the way it is called never lets a tool run")
def no_way_round_the_hook(trial: Trial) -> None:
    for tool in ("refund_slowly", "delete_account"):
        stage = trial.stage("blocked")
        name = "order_id" if tool == "refund_slowly" else "account_id"
        stage.play(call(tool, **{name: "x-1"}))
        stage.did_not_run(tool, f"when KIFF blocked it ({trial.way})")


@invariant("A5", "an asynchronous tool that raises has failed", asynchronous=True)
def awaited_tool_failed(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(call("explode_slowly", order_id="o-1"))
    stage.ran_once("explode_slowly")
    receipt = stage.receipt()
    seen = (receipt.executed, receipt.execution)
    expect(seen == (True, "failed"), f"the receipt says {seen}")
