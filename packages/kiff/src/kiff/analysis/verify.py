"""Verify a whole store from the public keys alone: the log first, then everything that was derived from it.

Order: head and records and tree, tiles, signed heads, receipts; then the rows against the log; then the heads
the caller saved. A log that was cut off together with its heads looks whole: only a saved head shows it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kiff.analysis.each_log import each_log
from kiff.analysis.findings import Findings
from kiff.analysis.log import LogCheck
from kiff.analysis.rows import RowCheck
from kiff.ledger import Checkpoint, Problem, PublicKeys
from kiff.ledger.verdict import Status, status_of
from kiff.runtime.ports import Store
from kiff.runtime.rows import LogHead


class StoreVerdict(Struct, frozen=True):
    """What holds of a store.

    Args:
        status: invalid if anything is wrong, else undecidable if anything could not be checked.
        tenants, records, receipts, checkpoints: how many were read; of checkpoints, those a known key signed.
        unsigned_tail: per tenant, how many records stand after the last signed head; 0 says the whole log is signed.
        saved_heads: how many heads kept outside were compared; without one, a cut-off log cannot be seen.
    """

    status: Status
    tenants: int
    records: int
    receipts: int
    checkpoints: int
    unsigned_tail: dict[str, int]
    saved_heads: int
    problems: tuple[Problem, ...]


def verify_store(store: Store, keys: PublicKeys, saved: Iterable[bytes] = ()) -> StoreVerdict:
    """Check every row of a store.

    Args:
        store: any store; it is read at one instant, also beside a running writer.
        keys: the keys the caller trusts, for receipts and heads.
        saved: signed notes (see `Runtime.checkpoint`) that were kept outside the database.

    Raises:
        StoreError: the store cannot be opened or read at all. What it holds wrongly is a problem, not an error.
    """
    findings = Findings()

    def begin(still: Store, tenant: str, head: LogHead | None, notes: list[Checkpoint]) -> LogCheck:
        return LogCheck(still, tenant, head, keys, notes, findings)

    def run(still: Store, check: LogCheck) -> None:
        check.run()
        RowCheck(still, check.tenant, findings, check.published, check.authority, check.across, check.broken).run()

    checks, notes = each_log(store, keys, saved, findings, begin, run)
    for check in checks:
        if check.records and not check.checkpoints and not notes.get(check.tenant):
            message = (
                f"no signed head covers any of its `{check.records}` records, so nothing outside the rows binds them"
            )
            findings.add(f"log of {check.tenant}", "", message, undecidable=True)
    problems = findings.problems()
    return StoreVerdict(
        status=status_of(problems),
        tenants=len(checks),
        records=sum(check.records for check in checks),
        receipts=sum(check.receipts for check in checks),
        checkpoints=sum(check.checkpoints for check in checks),
        unsigned_tail={check.tenant: max(0, check.records - check.signed_to) for check in checks},
        saved_heads=sum(map(len, notes.values())),
        problems=problems,
    )
