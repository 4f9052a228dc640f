"""The proof. It asks neither the agent nor the tower: it reads the log, the public key, and the outside file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from kiff.analysis import replay_store, verify_store
from kiff.embedded import key_path
from kiff.ledger import parse_jwks, verify_receipt
from kiff.ledger.keys import PublicKeys
from kiff.runtime.reading import Reading
from kiff.stores.keyfile import public_path
from kiff.stores.sqlite import SqliteStore

PAGE = 500
Json = dict[str, Any]


class Proof(NamedTuple):
    """One thing that was checked: what holds, or else what is wrong."""

    name: str
    said: str
    wrong: list[str]


def prove(database: Path, effects: list[Json]) -> Iterator[Proof]:
    """Checks the log, the state, the receipts and the outside effects against each other.

    Args:
        effects: everything that happened outside, of all runs.
    """
    keys = parse_jwks(public_path(key_path(database)).read_bytes())
    with closing(SqliteStore(database, read_only=True)) as store:
        verdict, replayed, records = verify_store(store, keys), replay_store(store), list(_records(store))
        decided = [record["data"] for record in records if record["kind"] == "decision_recorded"]
        unproven = list(_unproven(store, keys, [data["receipt"]["id"] for data in decided]))
    cleared = {data["clearance_id"]: data["proposal"] for data in decided if data["outcome"] == "allowed"}
    executed = {record["data"]["operation_id"] for record in records if record["kind"] == "action_executed"}

    problems = _told(verdict.problems) or [f"the log is {verdict.status}"] * (verdict.status != "valid")
    yield Proof("log", f"{verdict.records} records verified under a signed head", problems)
    again = f"{replayed.entities} tickets and {replayed.decisions} decisions come out the same again"
    yield Proof("replay", again, _told(replayed.problems))
    said = f"{len(decided)} verified by the public key alone, one for each decision"
    yield Proof("receipts", said, unproven)
    said = f"{len(effects)} in the outside file: each has its receipt, none happened twice"
    yield Proof("effects", said, list(_effects(cleared, executed, effects)))


def _records(store: SqliteStore) -> Iterator[Json]:
    after = -1
    while page := store.records("default", after=after, limit=PAGE):
        yield from (json.loads(row.body) for row in page)
        after = page[-1].seq


def _unproven(store: SqliteStore, keys: PublicKeys, receipts: Iterable[str]) -> Iterator[str]:
    reading = Reading(store, {})
    for receipt in receipts:
        verdict = verify_receipt(reading.receipt(receipt, proof=True), keys)
        if (verdict.status, verdict.reached) != ("valid", "INCLUDED"):
            yield f"{receipt} is {verdict.status}"


def _told(problems: Iterable[Any]) -> list[str]:
    return [f"{problem.where} {problem.field}: {problem.message}" for problem in problems]


def _effects(cleared: dict[str, Json], executed: set[str], effects: list[Json]) -> Iterator[str]:
    """No effect that was not cleared, none twice, none other than what was cleared; and none missing."""
    times = Counter(effect["key"] for effect in effects)
    for effect in effects:
        proposal = cleared.get(effect["key"])
        if proposal is None:
            yield f"{effect['action']} happened to {effect['ticket']} and no receipt allows it"
        elif _asked(proposal) != (effect["ticket"], effect["action"], effect["parameters"]):
            yield f"{effect['action']} happened to {effect['ticket']}, other than its receipt allows"
    yield from (f"operation {key} happened {n} times outside" for key, n in times.items() if n > 1)
    yield from (f"operation {key} was reported and never happened" for key in sorted(executed - times.keys()))


def _asked(proposal: Json) -> tuple[str, str, Json]:
    return proposal["entity"].removeprefix("ticket:"), proposal["action"], proposal["parameters"]
