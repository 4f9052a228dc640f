"""Every tenant's log, checked at one instant. What a log cannot be read for is a finding about that tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TypeVar

from kiff.analysis.findings import Findings
from kiff.analysis.heads import saved_by_tenant
from kiff.errors import StoreCorrupt, StoreError
from kiff.ledger import Checkpoint, PublicKeys
from kiff.runtime.ports import Store
from kiff.runtime.rows import LogHead

C = TypeVar("C")

Saved = dict[str, list[Checkpoint]]
Begin = Callable[[Store, str, LogHead | None, list[Checkpoint]], C]
"""(snapshot, tenant, its head row, the heads of it that the caller saved) -> a check that has not run."""


def each_log(
    store: Store,
    keys: PublicKeys,
    saved_heads: Iterable[bytes],
    findings: Findings,
    begin: Begin[C],
    run: Callable[[Store, C], None],
) -> tuple[list[C], Saved]:
    """Begins and runs a check for each tenant of a snapshot.

    Raises:
        StoreError: the store cannot be opened or read at all.

    Returns:
        The checks, each as far as it came, and the saved heads by tenant.
    """
    with closing(store.snapshot()) as still:
        heads = {head.tenant: head for head in still.heads()}
        saved = saved_by_tenant(saved_heads, keys, heads, findings)
        checks = []
        for tenant in still.tenants():
            check = begin(still, tenant, heads.get(tenant), saved.get(tenant, []))
            checks.append(check)
            try:
                run(still, check)
            except StoreError as error:
                undecidable = not isinstance(error, StoreCorrupt)
                findings.add(f"tenant {tenant}", "", error.message, undecidable=undecidable)
    return checks, saved
