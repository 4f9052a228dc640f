"""C: many calls at once stay many, and each has its own receipt."""

from __future__ import annotations

from functools import partial

from kiff_guard.arguments import digest
from kiff_guard.conformance.driver import ToolCall
from kiff_guard.conformance.invariants.table import invariant
from kiff_guard.conformance.trial import Trial, call, expect, shown, together
from kiff_guard.conformance.world import said

MANY = 6


def _refunds(start: int = 0) -> list[ToolCall]:
    numbers = range(start, start + MANY)
    return [call("refund", f"call-{number}", order_id=f"o-{number}", amount=1.0) for number in numbers]


@invariant("C1", "parallel calls are decided one by one, and results stay with their arguments", mandatory=True)
def parallel_calls(trial: Trial) -> None:
    stage = trial.stage()
    played = stage.play(_refunds())
    found = stage.receipts
    expect(stage.client.calls == len(found) == MANY, f"{MANY} calls: {stage.client.calls} asked, {shown(found)}")
    orders = sorted(receipt.args["order_id"] for receipt in found)
    expect(orders == sorted(f"o-{number}" for number in range(MANY)), f"the receipts are of {orders}")
    for number, text in enumerate(played.told):
        expect(said("refund", f"o-{number}") in text, f"call {number} was told {text!r}")
    hashes = {receipt.args["order_id"]: receipt.result_hash for receipt in found}
    expect(len(set(hashes.values())) == MANY, "different results have one digest")
    plain = {order: digest(said("refund", order)) for order in hashes}
    swapped = [order for order in hashes if hashes[order] in plain.values() and hashes[order] != plain[order]]
    expect(not swapped, f"the receipts of {swapped} have the results of others")


@invariant("C2", "two calls with the same arguments are two calls")
def identical_calls(trial: Trial) -> None:
    stage = trial.stage()
    stage.play([call("refund", f"call-{number}", order_id="o-1", amount=5.0) for number in (1, 2)])
    expect(stage.runs("refund") == 2, f"two calls ran {stage.runs('refund')} times")
    expect(stage.client.calls == 2, f"KIFF was asked {stage.client.calls} times")
    found = stage.receipts
    expect(len(found) == len({receipt.receipt_id for receipt in found}) == 2, f"there are {shown(found)}")
    ids = [receipt.call_id for receipt in found if receipt.call_id]
    expect(len(set(ids)) == len(ids), f"the receipts are of the calls {ids}")
    proposals = [asked.proposal_id for asked in stage.client.decides if asked.proposal_id]
    expect(len(set(proposals)) == len(proposals), f"both were asked as {proposals}")


@invariant("C3", "the catalog counts every call")
def counts_are_exact(trial: Trial) -> None:
    stage = trial.stage()
    stage.play(_refunds(), [call("send_email", "call-99", to="a", body="b")])
    counts = dict(stage.guard.catalog.counts)
    expect(counts == {"refund": MANY, "send_email": 1}, f"the catalog counted {counts}")


@invariant("C4", "one guard serves several runs at once")
def shared_guard(trial: Trial) -> None:
    stage = trial.stage()
    runs = [partial(stage.play, _refunds(start), session=f"session-{start}") for start in (0, MANY, 2 * MANY)]
    together(*runs)
    found = stage.receipts
    orders = sorted(receipt.args["order_id"] for receipt in found)
    expect(orders == sorted(f"o-{number}" for number in range(3 * MANY)), f"the receipts are of {orders}")
    expect(stage.runs("refund") == 3 * MANY, f"the tool ran {stage.runs('refund')} times")
