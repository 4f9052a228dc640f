"""K: what is cancelled is told as cancelled, and what nobody settles as unknown."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from kiff_guard.conformance.invariants.table import invariant
from kiff_guard.conformance.trial import PATIENCE_SECONDS, REFUND, Trial, call, expect, shown
from kiff_guard.conformance.world import World, said

GOES_ON_SECONDS = 1.0
"""After that a run that was not cancelled gets its answer, and goes on."""


@invariant("K1", "a run cancelled within a tool leaves a receipt that says cancelled", asynchronous=True)
def cancelled_in_the_tool(trial: Trial) -> None:
    stage = trial.stage()
    played = stage.play(call("wait_for_ever", order_id="o-1"))
    stage.ran_once("wait_for_ever")
    stage.guard.flush()
    receipt = stage.receipt()
    expect(receipt.execution == "cancelled", f"the receipt says {shown([receipt])}")
    ended = isinstance(played.raised, asyncio.CancelledError) or said("wait_for_ever", "o-1") not in played.told
    expect(ended, "the cancelled run ended as if nothing had happened")


@invariant("K2", "a run cancelled while KIFF decides does not run the tool, and leaves one receipt", asynchronous=True)
def cancelled_while_deciding(trial: Trial) -> None:
    world, answer = World(), threading.Event()

    def slow(args: Any) -> str:
        world.cancel.set()
        answer.wait(PATIENCE_SECONDS)
        return "allowed"

    stage = trial.stage(slow, world=world)

    async def let_go() -> None:
        while not world.cancel.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(GOES_ON_SECONDS)  # a run that is cancelled has ended by now, and this with it
        answer.set()

    stage.beside = let_go
    stage.play(REFUND)
    answer.set()
    stage.did_not_run("refund", "after its run was cancelled")
    receipt = stage.receipt()
    expect(not receipt.executed and receipt.execution == "not_run", f"the receipt says {shown([receipt])}")


@invariant("K3", "a call that fell with another's error is no success")
def fallen_sibling(trial: Trial) -> None:
    stage = trial.stage()
    stage.play([call("explode", "call-1", order_id="o-1"), call("refund", "call-2", order_id="o-2", amount=1.0)])
    stage.guard.flush()
    stage.honest()
    expect(len(stage.receipts) == stage.client.calls, f"{stage.client.calls} decisions have {shown(stage.receipts)}")


@invariant("K4", "flush leaves no decision without its receipt", mandatory=True)
def nothing_is_left_open(trial: Trial) -> None:
    stage = trial.stage({"delete_account": "blocked"})
    bad = call("refund", "call-2", order_id="o-2")
    stage.play(REFUND, [bad, call("delete_account", "call-3", account_id="a-1")])
    stage.guard.flush()
    expect(not list(stage.guard.pending()), f"{stage.guard.pending()} are open")
    expect(len(stage.receipts) == stage.client.calls, f"{stage.client.calls} decisions have {shown(stage.receipts)}")
    stage.honest()
