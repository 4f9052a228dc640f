"""An agent pays an invoice, hears nothing, and asks again, ten times: without KIFF, with KIFF, and the proof.

    python demo.py [--dir DATA] [--fresh]

It ends with 0 only if everything is as promised, with 1 if something is not, with 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

from actions import EXECUTORS
from outside import Bank, bank
from proof import prove

from kiff import Caller, KiffError, Principal, Runtime, load, open_runtime
from kiff.runtime.answers import Executed

HERE = Path(__file__).parent
TRIES = 10
AMOUNT = 10_000


def ten_tries(tool: Callable[[str], object], invoice: str) -> None:
    """The agent: it asks, hears nothing in time, and asks again with a new request id, as agents do."""
    for number in range(1, TRIES + 1):
        with suppress(TimeoutError):
            over_a_bad_line(tool, f"{invoice}-try-{number}")


def over_a_bad_line(tool: Callable[[str], object], request: str) -> None:
    """The request arrives. The answer does not."""
    tool(request)
    raise TimeoutError


class Office:
    """The accounts payable office: who asks KIFF for what. `broken` collects what is not as promised."""

    def __init__(self, runtime: Runtime) -> None:
        people = tomllib.loads((HERE / "principals.toml").read_text("utf-8"))
        self.people = {who: Caller(Principal(who, p["type"]), tuple(p["roles"])) for who, p in people.items()}
        self.runtime = runtime
        self.run = 1
        while runtime.read.state(f"invoice:{self.invoice(1)}") is not None:
            self.run += 1
        self.broken: list[str] = []

    def promise(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.broken.append(f"{what}: expected {expected}, found {found}")

    def invoice(self, number: int) -> str:
        """`inv_101` is the first invoice of the first run, `inv_201` that of the second."""
        return f"inv_{self.run}{number:02d}"

    def received(self, number: int, *, approved: bool = True) -> str:
        """A new invoice from the ERP, and a person's approval."""
        invoice = self.invoice(number)
        event = {"type": "INVOICE_RECEIVED", "entity": f"invoice:{invoice}", "payload": {"amount": AMOUNT}}
        self.runtime.ingest(self.people["erp"], source="erp", **event).result()
        if approved:
            self.ask("grace", "APPROVE_INVOICE", invoice)
        return invoice

    def ask(self, who: str, action: str, invoice: str, request: str | None = None) -> Executed:
        parameters = {"amount": AMOUNT} if action == "PAY_INVOICE" else {}
        call = {"entity": f"invoice:{invoice}", "action": action, "parameters": parameters, "id": request}
        return self.runtime.execute(self.people[who], **call).result()

    def decisions(self, invoice: str) -> Iterator[tuple[str, ...]]:
        """What KIFF wrote down about every call, whether or not the caller heard of it."""
        for record in self.runtime.read.timeline(f"invoice:{invoice}"):
            if record["kind"] == "decision_recorded":
                told = record["data"]
                reason = told["reasons"][0]["code"] if told["reasons"] else ""
                yield record["actor"]["id"], told["action"], told["outcome"], reason, told["receipt"]["id"]


def without_kiff(office: Office, ungoverned: Bank) -> None:
    invoice = office.invoice(1)
    ten_tries(lambda request: ungoverned.pay(invoice, AMOUNT * 100, key=request), invoice)
    debits = len(ungoverned.debits(invoice))
    show(f"\nWithout KIFF, {invoice}: the agent holds the key to the bank", told(debits))
    office.promise("without KIFF: debits", TRIES, debits)


def with_kiff(office: Office) -> None:
    invoice = office.received(1, approved=False)
    office.ask("ap-agent", "PAY_INVOICE", invoice)
    office.ask("ap-agent", "APPROVE_INVOICE", invoice)
    office.ask("grace", "APPROVE_INVOICE", invoice)
    ten_tries(lambda request: office.ask("ap-agent", "PAY_INVOICE", invoice, request), invoice)

    decisions, debits = list(office.decisions(invoice)), len(bank().debits(invoice))
    outcomes = [reason or outcome for _, _, outcome, reason, _ in decisions]
    show(f"\nWith KIFF, {invoice}: the same agent asks KIFF, which holds the key", told(debits))
    for who, action, outcome, reason, receipt in decisions:
        show(f"   {who:<9} {action:<16} {outcome:<8} {reason:<18}", receipt)
    early, ten = outcomes[:3], Counter(outcomes[3:])
    office.promise("with KIFF: before approval", ["state_not_allowed", "permission_denied", "allowed"], early)
    office.promise("with KIFF: the ten calls", {"allowed": 1, "state_not_allowed": TRIES - 1}, dict(ten))
    office.promise("with KIFF: receipts", 3 + TRIES, len({receipt for *_, receipt in decisions}))
    office.promise("with KIFF: debits", 1, debits)
    show(f"\nThe difference: ${AMOUNT * (TRIES - debits):,.2f} that left the company without KIFF and not with it")


def all_at_once(office: Office) -> None:
    invoice, start = office.received(2), Barrier(TRIES)

    def call(_: int) -> Executed:
        start.wait()
        return office.ask("ap-agent", "PAY_INVOICE", invoice)

    with ThreadPoolExecutor(TRIES) as threads:
        answers = list(threads.map(call, range(TRIES)))
    reasons, debits = Counter(answer.reason for answer in answers), len(bank().debits(invoice))
    show(f"\n{TRIES} threads at once, {invoice}: {counted(reasons)}", told(debits))
    office.promise("at once: calls that ran", 1, reasons.pop("allowed", 0))
    office.promise("at once: other reasons", set(), reasons.keys() - {"entity_busy", "state_not_allowed"})
    office.promise("at once: receipts", TRIES, len({answer.receipt_id for answer in answers}))
    office.promise("at once: debits", 1, debits)


def one_id(office: Office) -> None:
    invoice = office.received(3)
    answers = [office.ask("ap-agent", "PAY_INVOICE", invoice, f"pay-{invoice}") for _ in range(TRIES)]
    same, debits = answers.count(answers[0]), len(bank().debits(invoice))
    show(f"{TRIES} retries with one id, {invoice}: {same} equal answers, one receipt", told(debits))
    office.promise("one id: equal answers", TRIES, same)
    office.promise("one id: it ran", True, answers[0].executed)
    office.promise("one id: debits", 1, debits)


def proof(office: Office, database: Path) -> None:
    office.runtime.checkpoint().result()
    show("\nProof, for all runs")
    for each in prove(database, bank().debits()):
        show(f"   {each.name:<9} {'WRONG' if each.wrong else 'ok':<6}{each.wrong[0] if each.wrong else each.said}")
        office.broken += [f"{each.name}: {problem}" for problem in each.wrong]


def show(text: str, right: str = "") -> None:
    print(text + right.rjust(96 - len(text.lstrip("\n"))) if right else text, flush=True)


def told(debits: int) -> str:
    return f"{debits} debit{'s' * (debits != 1)}, ${debits * AMOUNT:,.2f}"


def counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{times} {reason}" for reason, times in sorted(reasons.items()))


def near(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)


def play(folder: Path, *, fresh: bool) -> list[str]:
    """One run on the data in a folder. Returns what was not as promised."""
    folder.mkdir(parents=True, exist_ok=True)
    database, book, ungoverned = folder / "kiff.db", folder / "bank.jsonl", folder / "without-kiff.jsonl"
    os.environ["BANK_FILE"] = str(book)
    for left in (*folder.glob("kiff.db*"), book, ungoverned) if fresh else ():
        left.unlink(missing_ok=True)
    domain = load((HERE / "kiff.yaml").read_text("utf-8"))
    with open_runtime(database, domains=[domain], executors=EXECUTORS) as runtime:
        office = Office(runtime)
        show(f"accounts-payable: an agent pays ${AMOUNT:,.2f} and hears nothing, {TRIES} times", f"run {office.run}")
        without_kiff(office, Bank(ungoverned))
        with_kiff(office)
        all_at_once(office)
        one_id(office)
        proof(office, database)
    return office.broken


def main() -> int:
    options = argparse.ArgumentParser(description="The duplicate payment that does not happen.")
    options.add_argument("--dir", type=Path, default=HERE, help="where the data are kept (default: beside this file)")
    options.add_argument("--fresh", action="store_true", help="forget what earlier runs left")
    given = options.parse_args()
    sys.stdout.reconfigure(errors="replace")  # a terminal that cannot write a folder's name shows the rest
    try:
        broken = play(given.dir, fresh=given.fresh)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    except (KiffError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    for deviation in broken:
        print(f"demo: not as promised: {deviation}", file=sys.stderr)
    if not broken:
        show(f"\neverything as promised; see for yourself: kiff verify {near(given.dir / 'kiff.db')}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
