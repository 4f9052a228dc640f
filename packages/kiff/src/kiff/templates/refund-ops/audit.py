"""What an auditor does: opens the database to read only, trusts the published key and the outside ledger's own list.

Nothing here asks the runtime that wrote the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct, field, json

from kiff.analysis import replay_store, verify_store
from kiff.ledger import PublicKeys, parse_jwks, verify_receipt
from kiff.runtime.ports import Store
from kiff.runtime.reading import Reading
from kiff.stores.opening import open_store

TENANT = "default"
PAGE = 500


class Payment(NamedTuple):
    """Money that left: `ord_001`, in cents."""

    order: str
    amount_minor: int


class Findings(Struct):
    """What holds and what does not.

    Args:
        verified: receipts that the public key alone shows to be signed and in the log.
        cleared: operation id -> what its receipt allowed to be paid.
        executed: operations whose effect was reported.
        log, replay, receipts, ledger: the problems of each, in words.
    """

    records: int = 0
    entities: int = 0
    events: int = 0
    decisions: int = 0
    issued: int = 0
    verified: int = 0
    cleared: dict[str, Payment] = field(default_factory=dict)
    executed: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    replay: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    ledger: list[str] = field(default_factory=list)


def audit(
    where: str, jwks: bytes, debits: Iterable[Mapping[str, Any]], saved: Iterable[bytes], tenant: str = TENANT
) -> Findings:
    """Checks the log, the state, the receipts and the money against each other.

    Args:
        where: the database: a path, or a URL.
        jwks: the published key set.
        debits: the outside ledger's list.
        saved: signed heads that were kept outside the database.
        tenant: whose receipts and money; other logs in the same database are verified too.
    """
    found = Findings()
    keys = parse_jwks(jwks)
    store = open_store(where, read_only=True)
    try:
        verdict = verify_store(store, keys, saved)
        found.records = verdict.records
        found.log = [f"{each.where} {each.field}: {each.message}" for each in verdict.problems]
        if verdict.status != "valid" and not found.log:
            found.log.append(f"the log is {verdict.status}")
        written = sum(head.size for head in store.heads())
        if found.records != written:
            found.log.append(f"{found.records} of {written} records were verified")
        replayed = replay_store(store)
        found.entities, found.events, found.decisions = replayed.entities, replayed.events, replayed.decisions
        found.replay = [f"{each.where} {each.field}: {each.message}" for each in replayed.problems]
        if not replayed.match and not found.replay:
            found.replay.append("materialised state and replay differ")
        _receipts(found, store, keys, tenant)
        found.executed = set(_executed(store, tenant))
    finally:
        store.close()
    found.ledger = list(_money(found, list(debits)))
    return found


def _receipts(found: Findings, store: Store, keys: PublicKeys, tenant: str) -> None:
    """Every receipt, from its own proofs and the public key; those that allowed a refund say how much."""
    reading = Reading(store, {})
    after = -1
    while page := store.receipts(tenant, after=after, limit=PAGE):
        for row in page:
            receipt = reading.receipt(row.id, tenant=tenant, proof=True)
            verdict = verify_receipt(receipt, keys)
            found.issued += 1
            if verdict.status == "valid" and verdict.reached == "INCLUDED":
                found.verified += 1
            else:
                found.receipts.append(f"{row.id} is {verdict.status}")
            told = receipt["proofs"]["record"]["data"]
            if receipt["decision"] == "allowed" and "amount" in told["proposal"]["parameters"]:
                cents = int(Decimal(str(told["proposal"]["parameters"]["amount"])) * 100)
                found.cleared[told["clearance_id"]] = Payment(receipt["entity"].partition(":")[2], cents)
        after = page[-1].seq


def _executed(store: Store, tenant: str) -> Iterator[str]:
    after = -1
    while page := store.records(tenant, after=after, limit=PAGE):
        for row in page:
            record = json.decode(row.body)
            if record["kind"] == "action_executed":
                yield record["data"]["operation_id"]
        after = page[-1].seq


def _money(found: Findings, debits: list[Mapping[str, Any]]) -> Iterator[str]:
    """No debit without a receipt that allowed it, none twice, none other; and none missing."""
    paid = Counter(debit["key"] for debit in debits)
    for debit in debits:
        allowed = found.cleared.get(debit["key"])
        if allowed != Payment(debit["order"], debit["amount_minor"]):
            yield f"{dollars(debit['amount_minor'])} left for {debit['order']} and the receipts say {allowed}"
    yield from (f"operation {key} was paid {times} times" for key, times in paid.items() if times > 1)
    yield from (f"operation {key} was reported and never paid" for key in sorted(_refunds(found) - paid.keys()))


def _refunds(found: Findings) -> set[str]:
    return found.executed & found.cleared.keys()


def dollars(cents: int) -> str:
    return f"${Decimal(cents) / 100:,.2f}"
