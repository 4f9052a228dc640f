"""S: a tool that gives its result in pieces is done with the last one."""

from __future__ import annotations

from kiff_guard.conformance.invariants.table import NotHere, invariant
from kiff_guard.conformance.trial import Trial, call, expect, shown, texts
from kiff_guard.conformance.world import broken, chunks


def _streams(trial: Trial) -> None:
    if not getattr(trial.driver, "streams", False):
        raise NotHere("its tools give one result")


@invariant("S1", "a stream is settled when it is used up")
def settled_at_the_end(trial: Trial) -> None:
    _streams(trial)
    stage = trial.stage()
    stage.play(call("count_up", order_id="o-1"))
    stage.ran_once("count_up")
    receipt = stage.receipt()
    expect(receipt.execution == "succeeded", f"the receipt says {shown([receipt])}")


@invariant("S2", "a stream that is left early was cancelled", asynchronous=True)
def left_early(trial: Trial) -> None:
    _streams(trial)
    stage = trial.stage()
    stage.play(call("drip", order_id="o-1"))
    stage.ran_once("drip")
    stage.guard.flush()
    receipt = stage.receipt()
    expect(receipt.execution == "cancelled", f"the receipt says {shown([receipt])}")


@invariant("S3", "a stream that breaks off has failed")
def broke_off(trial: Trial) -> None:
    _streams(trial)
    stage = trial.stage()
    played = stage.play(call("break_off", order_id="o-1"))
    stage.ran_once("break_off")
    receipt = stage.receipt()
    expect(receipt.execution == "failed", f"the receipt says {shown([receipt])}")
    hidden = getattr(trial.driver, "hides_errors", False)
    expect(hidden or broken("o-1") in texts(played), f"of the tool's error there is left: {texts(played)!r}")


@invariant("S4", "the pieces of a stream arrive as they were given")
def pieces_unchanged(trial: Trial) -> None:
    _streams(trial)
    stage = trial.stage()
    played = stage.play(call("count_up", order_id="o-1"))
    told = texts(played)
    places = [told.find(piece.strip()) for piece in chunks("o-1")]
    expect(-1 not in places and places == sorted(places), f"the model was told {played.told}")
