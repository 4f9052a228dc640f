"""Who is told: the endpoints of a tenant must be those that its records leave, and lead to the same places."""

from __future__ import annotations

from typing import Any

from msgspec import DecodeError

from kiff.analysis.findings import Findings
from kiff.protocol.webhook import endpoints_of
from kiff.runtime.ports import Store
from kiff.runtime.rows import HOOKS, Hooks

REMOVED = "removed"


def check_hooks(store: Store, tenant: str, told: dict[str, dict[str, Any]], findings: Findings) -> None:
    """Compares a tenant's row of endpoints with its log.

    Args:
        told: id -> the endpoint as the last record of it has it.
    """
    row = store.row(Hooks, tenant, HOOKS)
    try:
        found = {} if row is None else {each.id: each.told() for each in endpoints_of(row.endpoints)}
    except DecodeError:
        findings.add("webhooks", "endpoints", "cannot be read")
        return
    for id in sorted(told.keys() | found.keys()):
        if id not in found:
            findings.add(f"webhook {id}", "", "the log tells of it, and it is not among the endpoints")
        elif id not in told:
            findings.add(f"webhook {id}", "", "is among the endpoints, and the log does not tell of it")
        else:
            for name in (name for name, value in found[id].items() if value != told[id].get(name)):
                findings.add(f"webhook {id}", name, "is not what the log says")
