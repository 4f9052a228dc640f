"""R: a receipt says what was asked, and what came of it."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from kiff_guard.arguments import freeze
from kiff_guard.conformance.invariants.observing import BrokenLedger
from kiff_guard.conformance.invariants.table import invariant
from kiff_guard.conformance.trial import DELETE, REFUND, Trial, call, expect, shown, texts
from kiff_guard.conformance.world import said
from kiff_guard.ledgers import JSONLLedger
from kiff_guard.ledgers.verify import verify

SECRET = "sk_live_0123456789"


@invariant("R1", "one receipt for each attempt at each call", mandatory=True)
def one_receipt_each(trial: Trial) -> None:
    stage = trial.stage({"delete_account": "blocked"})
    stage.play(REFUND, DELETE, call("explode", "call-3", order_id="o-3"))
    found = stage.receipts
    tools = sorted(receipt.tool for receipt in found)
    expect(tools == ["delete_account", "explode", "refund"], f"of three calls there are {shown(found)}")
    ids = {receipt.receipt_id for receipt in found}
    keys = {(receipt.session, receipt.call_id or receipt.receipt_id, receipt.attempt) for receipt in found}
    expect(len(ids) == len(keys) == 3, f"the receipts share ids: {ids}, {keys}")


@invariant("R2", "what is decided on is frozen: a change made later reaches neither receipt nor digest")
def arguments_are_frozen(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(call("label", order_id="o-1", labels=["late"]))
    stage.ran_once("label")
    receipt = stage.receipt()
    expect(receipt.args == {"order_id": "o-1", "labels": ["late"]}, f"the receipt holds {receipt.args}")
    expect(receipt.args_hash == freeze({"order_id": "o-1", "labels": ["late"]})[1], "the digest is of something else")


@invariant("R3", "what runs is what was decided on, by the digest of its arguments")
def decided_is_executed(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(REFUND)
    stage.ran_once("refund")
    ran = freeze(stage.world.ran[0].args)[1]
    asked = freeze(stage.client.decides[0].args)[1]
    receipt = stage.receipt()
    expect(ran == asked == receipt.args_hash, f"decided {asked}, executed {ran}, the receipt says {receipt.args_hash}")
    expect(not receipt.integrity_violation, "the receipt claims a violation of integrity")


@invariant("R4", "a receipt keeps the digest of a result, not the result, and no secret")
def keeps_no_secret(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(call("charge", order_id="o-1", api_key=SECRET))
    stage.ran_once("charge")
    expect(stage.world.ran[0].args["api_key"] == SECRET, "the tool did not get its argument")
    receipt = stage.receipt()
    expect(SECRET not in repr(receipt), "the receipt holds the secret")
    expect(said("charge", "o-1") not in repr(receipt), "the receipt holds the result")
    expect(receipt.result_hash, "the receipt has no digest of the result")


@invariant("R5", "receipts stand in the order in which their calls were settled, and their file verifies")
def receipts_in_order(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(*(call("refund", f"call-{number}", order_id=f"o-{number}", amount=1.0) for number in range(1, 5)))
    found = stage.receipts
    orders = [receipt.args["order_id"] for receipt in found]
    expect(orders == ["o-1", "o-2", "o-3", "o-4"], f"the receipts stand as {orders}")
    ends = [receipt.ended_at for receipt in found]
    expect(ends == sorted(ends), f"the receipts were settled at {ends}")
    with TemporaryDirectory() as folder:
        _keeps_a_file(trial, f"{folder}/receipts.jsonl")


def _keeps_a_file(trial: Trial, path: str) -> None:
    """The same with a ledger that waits for a disk."""
    stage = trial.stage({"delete_account": "blocked"}, ledger=JSONLLedger(path, fsync=False))
    stage.play([REFUND, DELETE])
    stage.guard.close()
    file = verify(path)
    expect(file.ok, f"the receipts file does not verify: {file.problems}")
    expect(file.receipts == 2, f"of two calls the file has {file.receipts} receipts")


@invariant("R6", "a receipt that cannot be kept is never lost without a word")
def lost_receipts_are_told(trial: Trial) -> None:
    ledger = _FailsLater()
    stage = trial.stage(ledger=ledger)
    played = stage.play(REFUND)
    stage.ran_once("refund")
    expect(said("refund", "o-1") in texts(played), f"the result was lost with the receipt: {texts(played)!r}")
    try:
        stage.guard.flush()
    except OSError:
        pass
    else:
        expect(False, "flush says nothing of a receipt that cannot be kept")
    ledger.works = True
    stage.guard.flush()
    expect(len(ledger.kept) == 1, f"once the ledger works again it has {len(ledger.kept)} receipts")


@invariant("R7", "what the model leaves out or writes as text is decided on as it wrote it, or as the tool gets it")
def decided_as_written_or_as_run(trial: Trial) -> None:
    for written in ({}, {"amount": "49.0"}, {"amount": "a lot"}):
        stage = trial.stage()
        stage.play(call("pay", order_id="o-1", **written))
        expect(written or stage.runs("pay") == 1, "it did not run without what it needs not be told")
        got = [each.args for each in stage.world.ran]
        meant = [{"order_id": "o-1", **written}, *got]
        asked = [each.args for each in stage.client.decides]
        expect(asked or not got, f"it ran with {got}, and KIFF was not asked")
        expect(all(args in meant for args in asked), f"KIFF was asked about {asked}; written and run were {meant}")
        stage.guard.flush()
        stage.honest()


class _FailsLater(BrokenLedger):
    """A ledger that takes what begins, and fails when it ended, until it works again."""

    def __init__(self) -> None:
        self.works = False
        self.kept: list[object] = []

    def open(self, receipt: object) -> None:
        pass

    def append(self, receipt: object) -> None:
        if not self.works:
            raise OSError("the disk is full")
        self.kept.append(receipt)
