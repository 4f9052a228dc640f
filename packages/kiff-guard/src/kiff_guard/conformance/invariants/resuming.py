"""I: the same call again is the same call."""

from __future__ import annotations

from kiff_guard.conformance.driver import ToolCall
from kiff_guard.conformance.invariants.table import NotHere, invariant
from kiff_guard.conformance.trial import DELETE, REFUND, Trial, call, expect, shown

SESSION = "conversation-1"


@invariant("I1", "the same call of the same conversation, delivered twice, runs once")
def delivered_twice(trial: Trial) -> None:
    stage = trial.stage(session=SESSION)
    for _ in range(2):
        stage.play(REFUND, session=SESSION)
    stage.ran_once("refund")
    proposals = {asked.proposal_id for asked in stage.client.decides}
    expect(len(proposals) == 1, f"it was asked as {proposals}")
    succeeded = [receipt for receipt in stage.receipts if receipt.execution == "succeeded"]
    expect(len(succeeded) == 1, f"there are {shown(stage.receipts)}")


@invariant("I2", "resuming a paused run does not run again what has run")
def sibling_runs_once(trial: Trial) -> None:
    stage = trial.stage({"delete_account": "approval_required"})
    held = stage.play([REFUND, DELETE])
    if held.resume is None:
        raise NotHere("it has no pause of its own to resume from")
    stage.client.grant(_only(stage.client.waiting()))
    stage.again(held, DELETE)
    stage.ran_once("refund")
    stage.ran_once("delete_account")
    stage.receipt("refund")


@invariant("I3", "a retry after a failure is a new attempt at the same call")
def retries_are_numbered(trial: Trial) -> None:
    stage = trial.stage(session=SESSION)
    for _ in range(2):
        stage.play(call("flaky", order_id="o-1"), session=SESSION)
    expect(stage.runs("flaky") == 2, f"it ran {stage.runs('flaky')} times")
    seen = [(receipt.attempt, receipt.execution) for receipt in stage.receipts]
    expect(seen == [(1, "failed"), (2, "succeeded")], f"the receipts say {seen}")
    expect(len({receipt.call_id for receipt in stage.receipts}) == 1, "the attempts have different call ids")
    proposals = [asked.proposal_id for asked in stage.client.decides]
    expect(len(set(proposals)) == 2, f"the attempts were asked as {proposals}")


@invariant("I4", "another process that resumes a conversation asks with the same id")
def same_id_elsewhere(trial: Trial) -> None:
    asked = []
    for _ in range(2):
        stage = trial.stage(session=SESSION)
        stage.play(REFUND, session=SESSION)
        asked += [each.proposal_id for each in stage.client.decides]
    expect(len(asked) == 2 and asked[0] and asked[0] == asked[1], f"two processes asked with {asked}")


@invariant("I5", "a call tried again after KIFF did not answer in time runs once", mandatory=True)
def tried_again_after_a_timeout(trial: Trial) -> None:
    for call_id in ("call-1", "call-2"):
        answers = iter([TimeoutError("too late"), "allowed"])
        stage = trial.stage(lambda args, answers=answers: next(answers), session=SESSION)
        stage.play(REFUND, session=SESSION)
        stage.did_not_run("refund", "while KIFF had not answered")
        stage.play(ToolCall("refund", dict(REFUND.args), call_id), session=SESSION)
        stage.ran_once("refund")
        seen = [(receipt.outcome, receipt.execution) for receipt in stage.receipts]
        expect(seen == [("error", "not_run"), ("allowed", "succeeded")], f"the receipts say {seen}")


@invariant("I6", "a call id of another conversation is another call", mandatory=True)
def other_conversations(trial: Trial) -> None:
    stage = trial.stage()
    for session in (SESSION, "conversation-2"):
        stage.play(REFUND, session=session)
    expect(stage.runs("refund") == 2, f"a call in each of two conversations: `refund` ran {stage.runs('refund')} times")
    expect(stage.client.calls == 2, f"KIFF was asked {stage.client.calls} times")
    proposals = [asked.proposal_id for asked in stage.client.decides if asked.proposal_id]
    expect(len(set(proposals)) == len(proposals), f"both were asked as {proposals}")


def _only(ids: list[str]) -> str:
    expect(len(ids) == 1, f"{len(ids)} approvals wait")
    return ids[0]
