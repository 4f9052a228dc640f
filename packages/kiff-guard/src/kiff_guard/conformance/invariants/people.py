"""H: what waits for a person waits for KIFF's word that a person said yes, and for nothing else."""

from __future__ import annotations

from kiff_guard.conformance.driver import Played, ToolCall
from kiff_guard.conformance.invariants.table import NotHere, invariant
from kiff_guard.conformance.trial import DELETE, Stage, Trial, call, expect, shown, texts

HELD = {"delete_account": "approval_required", "send_email": "approval_required"}


def _held(trial: Trial) -> tuple[Stage, Played, str]:
    """A stage with one held call, what was played, and its approval."""
    stage = trial.stage(HELD)
    held = stage.play(DELETE)
    stage.did_not_run("delete_account", "while it waits for a person")
    waiting = stage.client.waiting()
    expect(len(waiting) == 1, f"{len(waiting)} approvals wait for one call")
    return stage, held, waiting[0]


@invariant("H1", "a call that needs approval pauses or is withheld, and names its approval", mandatory=True)
def held_calls_wait(trial: Trial) -> None:
    stage, held, approval = _held(trial)
    expect(approval in texts(held), f"the approval {approval} is named nowhere: {texts(held)!r}")
    receipt = stage.receipt()
    seen = (receipt.outcome, receipt.executed, receipt.execution, receipt.approval_id)
    expect(seen == ("approval_required", False, "not_run", approval), f"the receipt says {seen}")


@invariant("H2", "once granted, the call runs once, and its receipt names the approval", mandatory=True)
def granted_calls_run(trial: Trial) -> None:
    stage, held, approval = _held(trial)
    stage.client.grant(approval)
    stage.again(held, DELETE)
    stage.ran_once("delete_account")
    found = stage.receipts
    expect(len(found) == 2, f"of a held and a granted call there are {shown(found)}")
    last = found[-1]
    seen = (last.outcome, last.execution, last.approval_id)
    expect(seen == ("allowed", "succeeded", approval), f"the second receipt says {seen}")


@invariant("H3", "once denied, the call never runs", mandatory=True)
def denied_calls_end(trial: Trial) -> None:
    stage, held, approval = _held(trial)
    stage.client.deny(approval, "the reviewer said never")
    stage.again(held, DELETE)
    stage.play(ToolCall("delete_account", dict(DELETE.args), "call-3"))
    stage.did_not_run("delete_account", "after it was denied")
    stage, held, approval = _held(trial)
    stage.again(held, DELETE, yes=False)
    stage.did_not_run("delete_account", "after it was rejected where it paused")


@invariant("H4", "other arguments are another call: an approval does not reach them", mandatory=True)
def edited_calls_are_asked(trial: Trial) -> None:
    stage, _, approval = _held(trial)
    stage.client.grant(approval)
    stage.play(call("delete_account", "call-3", account_id="a-1000"))
    stage.did_not_run("delete_account", "with other arguments than those approved")
    asked = [each.args["account_id"] for each in stage.client.decides]
    expect("a-1000" in asked, f"KIFF was asked about {asked} only")


@invariant("H5", "a yes that is not KIFF's runs nothing", mandatory=True)
def local_yes_is_none(trial: Trial) -> None:
    stage, held, approval = _held(trial)
    again = stage.again(held, DELETE, yes=True)
    stage.did_not_run("delete_account", "by the framework's own yes")
    expect(all(not receipt.executed for receipt in stage.receipts), f"the receipts say {shown(stage.receipts)}")
    expect(approval in texts(again), f"the approval {approval} that it waits for is named nowhere: {texts(again)!r}")


@invariant("H6", "an approval that expired, was used, or is another tool's runs nothing", mandatory=True)
def dead_approvals(trial: Trial) -> None:
    stage, held, approval = _held(trial)
    stage.client.expire(approval)
    stage.again(held, DELETE)
    stage.did_not_run("delete_account", "by an approval that expired")

    stage, held, approval = _held(trial)
    stage.client.grant(approval)
    stage.again(held, DELETE)
    stage.ran_once("delete_account")
    stage.play(ToolCall("delete_account", dict(DELETE.args), "call-3"))
    stage.ran_once("delete_account")

    stage, held, approval = _held(trial)
    stage.client.grant(approval)
    stage.play(call("send_email", "call-4", to="a", body="b"))
    stage.did_not_run("send_email", "by an approval of another tool")


@invariant("H7", "who may approve is KIFF's to say: its refusal is told as it came")
def refusals_are_told(trial: Trial) -> None:
    stage, held, approval = _held(trial)
    stage.client.deny(approval, "whoever proposes may not approve")
    again = stage.again(held, DELETE)
    stage.did_not_run("delete_account", "after KIFF refused its approval")
    expect("whoever proposes may not approve" in texts(again), f"of the refusal was told: {texts(again)!r}")


@invariant("H8", "a no that is said where a call paused stands, although KIFF granted it")
def local_no_stands(trial: Trial) -> None:
    stage, held, approval = _held(trial)
    if held.resume is None:
        raise NotHere("it has no pause of its own where anybody could say no")
    stage.client.grant(approval)
    stage.again(held, DELETE, yes=False)
    stage.did_not_run("delete_account", "after it was rejected where it paused")
