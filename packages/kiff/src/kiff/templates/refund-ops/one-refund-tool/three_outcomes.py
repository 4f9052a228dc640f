"""One refund tool, three outcomes: $49 runs, $4,900 waits for a person, $7,000 is blocked.

    python three_outcomes.py [--dir DATA]

The agent has one tool and calls it as it likes. What may run is decided before anything happens, by kiff.yaml; what
happened is counted in a book outside of KIFF. It ends with 0 only if everything is as promised.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kiff import Caller, KiffError, Operation, Principal, Runtime, load, open_runtime
from kiff.runtime.answers import Executed

HERE = Path(__file__).parent
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
ADA = Caller(Principal("ada", "human"), ("supervisor",))
SHOP = Caller(Principal("shop", "service"), ("shop",))


class Payments:
    """The world outside: a book of what was paid back. KIFF never reads it."""

    def __init__(self, book: Path) -> None:
        self._book = book

    def refund(self, operation: Operation) -> dict[str, Any]:
        line = json.dumps({"purchase": operation.entity_id, "amount": operation.parameters["amount"]}) + "\n"
        book = os.open(self._book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(book, line.encode())
            os.fsync(book)
        finally:
            os.close(book)
        return {"status": "succeeded", "message": f"${operation.parameters['amount']:,.2f} returned"}

    def made(self, purchase: str) -> list[float]:
        if not self._book.exists():
            return []
        lines = map(json.loads, self._book.read_text("utf-8").splitlines())
        return [line["amount"] for line in lines if line["purchase"] == purchase]


@dataclass
class Played:
    """What came of the calls: (amount, outcome, why), and what was not as promised."""

    purchase: str
    calls: list[tuple[float, str, str]] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)

    def promise(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.deviations.append(f"{what}: expected {expected}, found {found}")


def play(folder: Path) -> Played:
    """The calls of one run, on the data in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    payments = Payments(folder / "payments.jsonl")
    domain = load((HERE / "kiff.yaml").read_text("utf-8"), "kiff.yaml")
    executors = {"payments.refund": payments.refund}
    with open_runtime(folder / "kiff.db", domains=[domain], executors=executors) as runtime:
        played = Played(_bought(runtime))
        tool = _tool(runtime, played)
        small, large, largest = tool(49), tool(4900), tool(7000)
        played.promise("$49", ("allowed", "allowed"), (small.outcome, small.reason))
        played.promise("$4,900", ("approval_required", "amount_above_threshold"), (large.outcome, large.reason))
        played.promise("$7,000", ("blocked", "above_ceiling"), (largest.outcome, largest.reason))
        played.promise("paid so far", [49], payments.made(played.purchase))
        if large.approval_id is None:
            return played  # nobody is asked, so there is nothing to grant
        runtime.grant(ADA, large.approval_id, "the customer called").result()
        other = tool(4901, large.approval_id)
        played.promise("another amount under ada's yes", "approval_mismatch", other.reason)
        played.promise("ada's yes", "allowed", tool(4900, large.approval_id).outcome)
        played.promise("ada's yes, again", "approval_used", tool(4900, large.approval_id).reason)
        played.promise("paid in the end", [49, 4900], payments.made(played.purchase))
    return played


def _bought(runtime: Runtime) -> str:
    """A purchase of $10,000 that no earlier run knows."""
    number = 1
    while runtime.read.state(f"purchase:pur_{number}") is not None:
        number += 1
    runtime.ingest(SHOP, type="BOUGHT", entity=f"purchase:pur_{number}", payload={"total": 10000}).result()
    return f"pur_{number}"


def _tool(runtime: Runtime, played: Played) -> Callable[..., Executed]:
    """The agent's one tool."""

    def refund(amount: float, approval_id: str | None = None) -> Executed:
        parameters = {"amount": amount, "reason": "customer request"}
        answer = runtime.execute(
            AGENT,
            entity=f"purchase:{played.purchase}",
            action="REFUND",
            parameters=parameters,
            approval_id=approval_id,
        ).result()
        played.calls.append((amount, answer.outcome, "" if answer.outcome == "allowed" else answer.message))
        return answer

    return refund


def main() -> int:
    options = argparse.ArgumentParser(description="One refund tool, three outcomes.")
    options.add_argument("--dir", type=Path, default=HERE / ".run", help="where the data are kept")
    given = options.parse_args()
    try:
        played = play(given.dir)
    except (KiffError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    for amount, outcome, why in played.calls:
        print(f"REFUND {played.purchase}  {f'${amount:,.2f}':>10}  {outcome:<18} {why}")
    for deviation in played.deviations:
        print(f"demo: not as promised: {deviation}", file=sys.stderr)
    return 1 if played.deviations else 0


if __name__ == "__main__":
    sys.exit(main())
