"""The proof. It asks neither the agent nor the runtime: it reads the log, the public key, and the bank's own book."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from kiff.analysis import replay_store, verify_store
from kiff.embedded import key_path
from kiff.ledger import parse_jwks
from kiff.stores.keyfile import public_path
from kiff.stores.sqlite import SqliteStore

PAGE = 500


class Proof(NamedTuple):
    """One thing that was checked: what holds, or else what is wrong."""

    name: str
    said: str
    wrong: list[str]


def prove(database: Path, debits: list[dict[str, Any]]) -> Iterator[Proof]:
    """Checks the log, the state, the receipts and the money against each other.

    Args:
        debits: the bank's own list, of all runs.
    """
    keys = parse_jwks(public_path(key_path(database)).read_bytes())
    with closing(SqliteStore(database, read_only=True)) as store:
        verdict, replayed, records = verify_store(store, keys), replay_store(store), list(_records(store))
    decided = [record["data"] for record in records if record["kind"] == "decision_recorded"]
    executed = {record["data"]["operation_id"] for record in records if record["kind"] == "action_executed"}
    cleared = {data["clearance_id"]: _payment(data) for data in decided if _pays(data)}
    paid = sum(debit["cents"] for debit in debits)

    yield Proof("log", f"{verdict.records} records verified under a signed head", _told(verdict.problems))
    again = f"{replayed.entities} invoices and {replayed.decisions} decisions come out the same again"
    yield Proof("replay", again, _told(replayed.problems))
    missing = [f"{len(decided)} decisions, {verdict.receipts} receipts"] * (len(decided) != verdict.receipts)
    yield Proof("receipts", f"{verdict.receipts} signed, one for each decision", missing)
    said = f"{len(debits)} in the bank's book, ${paid / 100:,.2f}: each was cleared by KIFF, none was made twice"
    yield Proof("debits", said, list(_money(cleared, cleared.keys() & executed, debits)))


def _records(store: SqliteStore) -> Iterator[dict[str, Any]]:
    after = -1
    while page := store.records("default", after=after, limit=PAGE):
        yield from (json.loads(row.body) for row in page)
        after = page[-1].seq


def _told(problems: Iterable[Any]) -> list[str]:
    return [f"{problem.where} {problem.field}: {problem.message}" for problem in problems]


def _pays(decision: dict[str, Any]) -> bool:
    return (decision["action"], decision["outcome"]) == ("PAY_INVOICE", "allowed")


def _payment(decision: dict[str, Any]) -> tuple[str, int]:
    proposal = decision["proposal"]
    return proposal["entity"].removeprefix("invoice:"), int(Decimal(str(proposal["parameters"]["amount"])) * 100)


def _money(cleared: dict[str, tuple[str, int]], executed: Iterable[str], debits: list[dict[str, Any]]) -> Iterator[str]:
    """No debit that was not cleared, none twice, none of another amount; and none missing."""
    times = Counter(debit["key"] for debit in debits)
    for debit in debits:
        if cleared.get(debit["key"]) != (debit["invoice"], debit["cents"]):
            yield f"{debit['cents']} cents left for {debit['invoice']}, and KIFF cleared {cleared.get(debit['key'])}"
    yield from (f"operation {key} was paid {n} times" for key, n in times.items() if n > 1)
    yield from (f"operation {key} was reported and never paid" for key in sorted(executed) if key not in times)
