"""O: observe sees everything and stops nothing."""

from __future__ import annotations

from typing import Any

from kiff_guard.catalog import Catalog
from kiff_guard.conformance.invariants.table import invariant
from kiff_guard.conformance.trial import DELETE, REFUND, Trial, call, expect, shown, texts
from kiff_guard.conformance.world import broken, said
from kiff_guard.guard import Guard

BLOCKED_ALL = "blocked"


class BrokenLedger:
    """A ledger that cannot be written."""

    blocking = False

    def append(self, receipt: Any) -> None:
        raise OSError("the disk is full")

    def open(self, receipt: Any) -> None:
        raise OSError("the disk is full")

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class BrokenCatalog(Catalog):
    """A catalog that cannot learn."""

    def record(self, agent: str, tool: str, args: Any) -> None:
        raise RuntimeError("the catalog is broken")


def broken_redaction(tool: str, args: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("the redaction is broken")


@invariant("O1", "observe never asks KIFF", mandatory=True)
def never_asks(trial: Trial) -> None:
    stage = trial.stage(BLOCKED_ALL, mode="observe")
    stage.play(REFUND)
    stage.ran_once("refund")
    expect(stage.client.calls == 0, f"KIFF was asked {stage.client.calls} times")


@invariant("O2", "in observe a tool runs even if ledger, catalog or redaction fail", mandatory=True)
def never_stops(trial: Trial) -> None:
    broken: tuple[dict[str, Any], ...] = (
        {},
        {"ledger": BrokenLedger()},
        {"catalog": BrokenCatalog()},
        {"redact": broken_redaction},
    )
    for options in broken:
        stage = trial.stage(BLOCKED_ALL, mode="observe", **options)
        played = stage.play(REFUND)
        stage.ran_once("refund")
        expect(said("refund", "o-1") in texts(played), f"with {list(options)} the model was told {played.told}")


@invariant("O3", "observe leaves one receipt a call, also when the tool raises", mandatory=True)
def leaves_one_receipt(trial: Trial) -> None:
    stage = trial.stage(mode="observe")
    stage.play(REFUND)
    receipt = stage.receipt()
    expect(receipt.executed and receipt.execution == "succeeded", f"the receipt says {shown([receipt])}")
    stage = trial.stage(mode="observe")
    stage.play(call("explode", order_id="o-2"))
    stage.ran_once("explode")
    receipt = stage.receipt()
    expect(
        receipt.executed and receipt.execution == "failed", f"of a tool that raised the receipt says {shown([receipt])}"
    )


@invariant("O4", "observe learns tools and the names of their arguments, and keeps no value")
def learns_names_only(trial: Trial) -> None:
    stage = trial.stage(mode="observe")
    stage.play(call("send_email", to="somebody@example.org", body="a private word"))
    learned = stage.guard.catalog.tools.get("send_email")
    expect(learned == {"to", "body"}, f"of `send_email` it learned {learned}")
    expect("private" not in repr(stage.guard.catalog), "the catalog holds a value")


@invariant("O5", "observe needs no client, no tenant and no network", mandatory=True)
def needs_nothing(trial: Trial) -> None:
    stage = trial.stage(mode="observe", guard=lambda client, **options: Guard(mode="observe"))
    stage.play(REFUND)
    stage.ran_once("refund")
    stage.receipt()


@invariant("O6", "observe changes neither results nor exceptions")
def changes_nothing(trial: Trial) -> None:
    stage = trial.stage(mode="observe")
    played = stage.play(REFUND)
    expect(any(said("refund", "o-1") in text for text in played.told), f"the model was told {played.told}")
    played = trial.stage(mode="observe").play(call("explode", order_id="o-2"))
    hidden = getattr(trial.driver, "hides_errors", False) and bool(played.told or played.raised)
    expect(hidden or broken("o-2") in texts(played), f"of the tool's error there is left: {texts(played)!r}")


@invariant("O7", "a receipt of observe says observed, and never that it was governed")
def says_observed(trial: Trial) -> None:
    stage = trial.stage(mode="observe")
    stage.play(REFUND, DELETE)
    found = stage.receipts
    expect(len(found) == 2, f"there are {shown(found)} receipts of two calls")
    for receipt in found:
        label = (receipt.state, receipt.outcome)
        expect(label == ("observed", "observed"), f"`{receipt.tool}` is labelled {label}")
