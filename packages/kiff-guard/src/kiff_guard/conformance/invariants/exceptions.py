"""X: what went wrong is told as gone wrong."""

from __future__ import annotations

from kiff_guard.conformance.driver import ToolCall
from kiff_guard.conformance.invariants.table import NotHere, invariant
from kiff_guard.conformance.trial import DELETE, REFUND, Trial, call, expect, shown, texts
from kiff_guard.conformance.world import ToolBroke, broken, said


@invariant("X1", "a tool that raises leaves one receipt: executed, failed; its error goes on", mandatory=True)
def raising_tool_failed(trial: Trial) -> None:
    stage = trial.stage()
    played = stage.play(call("explode", order_id="o-1"))
    stage.ran_once("explode")
    receipt = stage.receipt()
    seen = (receipt.executed, receipt.execution)
    expect(seen == (True, "failed"), f"the receipt says {seen}")
    reported = [each.status for each in stage.client.settles]
    expect(reported == ["unknown"], f"it may have acted, and KIFF was told that it ended as {reported}")
    hidden = getattr(trial.driver, "hides_errors", False)
    expect(hidden or broken("o-1") in texts(played), f"of the tool's error there is left: {texts(played)!r}")
    if isinstance(played.raised, ToolBroke) or getattr(trial.driver, "names_errors", False):
        expect(receipt.error_type == "ToolBroke", f"the receipt names `{receipt.error_type}`")


@invariant("X2", "a tool that says by its result that it failed has failed")
def error_result_failed(trial: Trial) -> None:
    tool = getattr(trial.driver, "error_tool", None)
    if tool is None:
        raise NotHere("its tools tell errors by raising")
    stage = trial.stage()
    stage.play_with({"error_tool": tool}, ToolCall("error_tool", {"order_id": "o-1"}, "call-1"))
    receipt = stage.receipt()
    expect(receipt.execution == "failed", f"the receipt says {shown([receipt])}")


@invariant("X3", "bad arguments and unknown tools, found after the decision, are no success", mandatory=True)
def never_ran_is_no_success(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(call("refund", order_id="o-1"))
    stage.did_not_run("refund", "without an argument it must have")
    _none_succeeded(stage.receipts)
    stage = trial.stage()
    stage.play(call("no_such_tool", order_id="o-1"))
    _none_succeeded(stage.receipts)


@invariant("X4", "a withheld call beside others never becomes a success")
def hold_is_no_success(trial: Trial) -> None:
    stage = trial.stage({"delete_account": "blocked"})
    played = stage.play([REFUND, DELETE])
    stage.did_not_run("delete_account", "beside a call that was allowed")
    expect(said("delete_account", "a-9") not in texts(played), "the model was told of a success")
    receipt = stage.receipt("delete_account")
    expect(receipt.execution == "not_run", f"the receipt says {shown([receipt])}")
    stage.honest()


def _none_succeeded(receipts: list) -> None:  # type: ignore[type-arg]
    wrong = [receipt for receipt in receipts if receipt.execution == "succeeded"]
    expect(not wrong, f"nothing ran, and there are {shown(wrong)}")
