"""E: in enforce nothing runs that KIFF did not allow, whatever breaks."""

from __future__ import annotations

from typing import Any

from kiff_guard.conformance.invariants.observing import BrokenLedger, broken_redaction
from kiff_guard.conformance.invariants.table import NotHere, invariant
from kiff_guard.conformance.scripted import Garbage
from kiff_guard.conformance.trial import DELETE, REFUND, Stage, Trial, call, expect, shown, texts
from kiff_guard.conformance.world import said
from kiff_guard.guard import Guard


class Interrupted(BaseException):
    """What no `except Exception` sees."""


class BrokenGuard(Guard):
    """A guard that fails itself, whatever it is asked."""

    def _break(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("the guard is broken")

    async def _abreak(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("the guard is broken")

    evaluate = decide_only = _break
    aevaluate = adecide_only = _abreak


@invariant("E1", "an allowed call runs once: one question, one governed receipt, executed, one report", mandatory=True)
def allowed_runs_once(trial: Trial) -> None:
    stage = trial.stage()
    played = stage.play(REFUND)
    stage.ran_once("refund")
    expect(stage.client.calls == 1, f"KIFF was asked {stage.client.calls} times")
    receipt = stage.receipt()
    seen = (receipt.state, receipt.outcome, receipt.executed, receipt.execution)
    expect(seen == ("governed", "allowed", True, "succeeded"), f"the receipt says {seen}")
    expect(said("refund", "o-1") in texts(played), f"the model was told {played.told}")
    reported = [(each.proposal_id == receipt.proposal_id, each.status) for each in stage.client.settles]
    expect(reported == [(True, "succeeded")], f"KIFF was told that it ended as {reported}")


@invariant("E2", "a withheld call does not run: one receipt, not executed; the reason is told", mandatory=True)
def withheld_does_not_run(trial: Trial) -> None:
    for outcome in ("blocked", "invalid", "limit_exceeded"):
        stage = trial.stage(outcome, client={"reasons": {"delete_account": "rule 7 says no"}})
        played = stage.play(DELETE)
        stage.did_not_run("delete_account", f"on {outcome}")
        _withheld(stage, outcome)
        expect(not stage.client.settles, f"KIFF was told of an end: {stage.client.settles}")
        told = texts(played)
        expect(outcome in told and "rule 7 says no" in told, f"of {outcome} was told: {told!r}")


@invariant("E3", "the guard adds no role and no authority, and passes arguments on as they are")
def adds_no_authority(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(call("assign", order_id="o-1", roles=["admin"]))
    expect(stage.client.calls == 1, f"KIFF was asked {stage.client.calls} times")
    asked = stage.client.decides[0]
    expect(asked.args == {"order_id": "o-1", "roles": ["admin"]}, f"KIFF was asked about {asked.args}")
    added = [name for name in asked.options if "role" in name or "permission" in name]
    expect(not added, f"the question carries {added}")


@invariant("E4", "an outcome nobody knows withholds, and so does an answer that is none", mandatory=True)
def unknown_withholds(trial: Trial) -> None:
    for answer in ("quarantined", "", "ALLOWED", Garbage(None), Garbage({"outcome": "allowed"}), Garbage(True)):
        stage = trial.stage(answer)
        stage.play(DELETE)
        stage.did_not_run("delete_account", f"on the answer {answer!r}")
        _withheld(stage, "")


@invariant("E5", "a client that fails withholds: one receipt that says error, and so is told", mandatory=True)
def failing_client_withholds(trial: Trial) -> None:
    for error in (OSError("no route"), TimeoutError("too late"), RuntimeError("a bug"), Interrupted("stop")):
        stage = trial.stage(error)
        played = stage.play(DELETE)
        stage.did_not_run("delete_account", f"when the client raised {error!r}")
        _withheld(stage, "error")
        is_told = isinstance(error, Interrupted) or "error" in texts(played)
        expect(is_told, f"when the client raised {error!r} was told: {texts(played)!r}")


@invariant("E6", "only where it was told so does a call run without an answer, and its receipt says so")
def fails_open_when_told(trial: Trial) -> None:
    stage = trial.stage(OSError("no route"), fail_closed=False)
    stage.play(REFUND)
    stage.ran_once("refund")
    receipt = stage.receipt()
    seen = (receipt.state, receipt.outcome)
    expect(seen == ("ungoverned", "failed_open"), f"the receipt says {seen}")


@invariant("E7", "a tool without a binding is withheld, or runs as told and is never called governed")
def unmapped_follows_the_policy(trial: Trial) -> None:
    client = {"maps": frozenset({"refund"})}
    stage = trial.stage(client=client)
    stage.play(DELETE)
    stage.did_not_run("delete_account", "without a binding")
    stage = trial.stage(client=client, unmapped="allow")
    stage.play(DELETE)
    stage.ran_once("delete_account")
    receipt = stage.receipt()
    expect(receipt.state != "governed" and receipt.outcome != "allowed", f"the receipt says {shown([receipt])}")


@invariant("E8", "KIFF answers before the body begins", mandatory=True)
def decided_first(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(REFUND)
    wanted = [("decide", "refund"), ("body", "refund")]
    expect(stage.world.log == wanted, f"the order was {stage.world.log}")


@invariant("E9", "no failure of hook, ledger or redaction lets a tool run", mandatory=True)
def broken_guard_withholds(trial: Trial) -> None:
    broken: tuple[dict[str, Any], ...] = (
        {"guard": BrokenGuard},
        {"ledger": BrokenLedger()},
        {"redact": broken_redaction},
    )
    for options in broken:
        stage = trial.stage(**options)
        stage.play(DELETE)
        stage.did_not_run("delete_account", f"with a broken {next(iter(options))}")


@invariant("E10", "of two guards both have to allow, whichever comes first")
def both_have_to_allow(trial: Trial) -> None:
    _stacks(trial)
    for first, second in (("blocked", "allowed"), ("allowed", "blocked"), ("allowed", "allowed")):
        stage = trial.stage(first)
        behind = trial.stage(second, world=stage.world)
        stage.also = (behind.guard,)
        stage.play(DELETE)
        if first == second:
            stage.ran_once("delete_account")
            for each in (stage, behind):
                receipt = each.receipt()
                expect(receipt.execution == "succeeded", f"both allowed, and a receipt says {shown([receipt])}")
        else:
            stage.did_not_run("delete_account", f"where the first said {first} and the second {second}")
            stage.guard.flush()
            stage.honest()
            behind.honest()


@invariant("E11", "a guard that is attached twice asks once, and leaves one receipt")
def attached_twice(trial: Trial) -> None:
    _stacks(trial)
    stage = trial.stage()
    stage.also = (stage.guard,)
    stage.play(REFUND)
    stage.ran_once("refund")
    expect(stage.client.calls == 1, f"KIFF was asked {stage.client.calls} times")
    receipt = stage.receipt()
    expect(receipt.execution == "succeeded", f"the receipt says {shown([receipt])}")


@invariant("E12", "a tool goes by the name that the model calls it by, whatever its function is called")
def renamed_tools(trial: Trial) -> None:
    for bound, runs in (("refund", 0), ("pay_back", 1)):
        stage = trial.stage(client={"maps": frozenset({bound})})
        stage.play_with({"pay_back": stage.world.tools()["refund"]}, call("pay_back", **REFUND.args))
        ran = stage.runs("refund")
        expect(ran == runs, f"with a binding for `{bound}` the function `refund`, as `pay_back`, ran {ran} times")


def _stacks(trial: Trial) -> None:
    if not getattr(trial.driver, "stacks", False):
        raise NotHere("it takes one guard alone")


def _withheld(stage: Stage, outcome: str) -> None:
    """There is one receipt, and it says that nothing ran."""
    receipt = stage.receipt()
    ran = receipt.executed or receipt.execution != "not_run"
    expect(not ran and receipt.outcome != "allowed", f"the receipt says {shown([receipt])}")
    expect(not outcome or receipt.outcome == outcome, f"the receipt says {receipt.outcome} instead of {outcome}")
