"""The proof. It asks neither the agents nor the runtime: it reads the log, the public key, and the mailroom's book."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from kiff.analysis import replay_store, verify_store
from kiff.embedded import key_path
from kiff.ledger import parse_jwks
from kiff.stores.keyfile import public_path
from kiff.stores.sqlite import SqliteStore

PAGE = 500
Record = dict[str, Any]


class Proof(NamedTuple):
    """One thing that was checked: what holds, or else what is wrong."""

    name: str
    said: str
    wrong: list[str]


def prove(database: Path, effects: list[dict[str, str]]) -> Iterator[Proof]:
    """Checks the log, the state, the receipts, the effects and the halts against each other.

    Args:
        effects: the mailroom's own list, of all runs.
    """
    keys = parse_jwks(public_path(key_path(database)).read_bytes())
    with closing(SqliteStore(database, read_only=True)) as store:
        verdict, replayed, records = verify_store(store, keys), replay_store(store), list(read(store))
    decisions = sum(record["kind"] == "decision_recorded" for record in records)

    yield Proof("log", f"{verdict.records} records verified under a signed head", _told(verdict.problems))
    again = f"{replayed.entities} customers and {replayed.decisions} decisions come out the same again"
    yield Proof("replay", again, _told(replayed.problems))
    missing = [f"{decisions} decisions, {verdict.receipts} receipts"] * (decisions != verdict.receipts)
    yield Proof("receipts", f"{verdict.receipts} signed, one for each decision", missing)
    said = f"{len(effects)} in the mailroom's book: each was cleared by KIFF, none was made twice"
    yield Proof("effects", said, list(_effects(records, effects)))
    said = "from flag to lifting, only what a second person approved was cleared"
    yield Proof("halt", said, list(_halts(records)))


def read(store: SqliteStore) -> Iterator[Record]:
    """The whole log, oldest first."""
    after = -1
    while page := store.records("default", after=after, limit=PAGE):
        yield from (json.loads(row.body) for row in page)
        after = page[-1].seq


def _told(problems: Iterable[Any]) -> list[str]:
    return [f"{problem.where} {problem.field}: {problem.message}" for problem in problems]


def _effects(records: list[Record], effects: list[dict[str, str]]) -> Iterator[str]:
    """No effect that was not cleared, none twice; and none missing."""
    cleared = {r["data"]["operation_id"]: r for r in records if r["kind"] == "action_validated"}
    for each in effects:
        record = cleared.get(each["key"], {"entity": None, "data": {"action": None}})
        if (record["entity"], record["data"]["action"]) != (f"customer:{each['customer']}", each["effect"]):
            yield f"{each['effect']} reached {each['customer']}, and KIFF did not clear it"
    times = Counter(each["key"] for each in effects)
    yield from (f"operation {key} reached its customer {n} times" for key, n in times.items() if n > 1)
    for record in records:
        key = record["data"].get("operation_id")
        if record["kind"] == "action_executed" and record["data"]["action"] != "LIFT_PROTECTION" and key not in times:
            yield f"operation {key} was reported and reached nobody"


def _halts(records: list[Record]) -> Iterator[str]:
    """What the contact centre said is taken from the events themselves, not from what the domain made of them."""
    flagged: dict[str, int] = {}
    approved: set[str] = set()
    for record in records:
        customer, seq, data = record["entity"], record["seq"], record["data"]
        event = data["event"]["type"] if record["kind"] == "event_ingested" else None
        if event == "VULNERABILITY_FLAGGED":
            flagged.setdefault(customer, seq)
        elif event == "VULNERABILITY_LIFTED":
            flagged.pop(customer, None)
        elif record["kind"] == "decision_recorded" and data["facts"].get("approval") == "granted":
            approved.add(data.get("clearance_id"))
        elif record["kind"] == "action_validated" and customer in flagged and data["operation_id"] not in approved:
            yield f"{data['action']} was cleared at #{seq}; {customer} is flagged since #{flagged[customer]}"
