"""The vault in a step: what is sealed is put with the record that commits to it, opened again to run, and erased.

INVARIANT: nothing is recorded of a call that was not sealed as the version says that governs now. Whoever drew it up
may have known another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

from msgspec import structs

from kiff.errors import DomainChanged, Forbidden, NotFound
from kiff.protocol.authority import AUTHOR
from kiff.protocol.instant import rfc3339
from kiff.protocol.proposal import Proposal
from kiff.protocol.sealed import Sealed, commitments
from kiff.runtime.answers import Erased
from kiff.runtime.commands import Erase
from kiff.runtime.ports import Key
from kiff.runtime.rows import ActiveDomain
from kiff.runtime.world import Change

TOLD_AT_ONCE = 40
"""How many commitments one record names, so that it stays small."""


def drawn_otherwise(change: Change, proposal: Proposal) -> DomainChanged | None:
    """Why the call must be drawn up again; None when its domain governs, and it was sealed as that says now."""
    active = change.get(ActiveDomain, proposal.entity_type)
    if active is None:
        return None  # nothing governs the type, so nothing says what is to be sealed
    marks = change.domain(active.version, active.digest).sensitive
    if active.domain != proposal.domain:
        message = f"`{active.domain}` governs `{proposal.entity_type}` by now; send the call again"
        return DomainChanged(message, proposal_id=proposal.id, version=active.version)
    if not (marks or proposal.sealed):
        return None
    if marks.among(proposal.action, proposal.parameters) == {row.name for row in proposal.sealed}:
        return None
    message = f"`{active.version}` governs by now, and seals other parameters of this call; send it again"
    return DomainChanged(message, proposal_id=proposal.id, version=active.version)


def keep(change: Change, proposal: Proposal) -> None:
    """Puts what a recorded proposal commits to. What was erased meanwhile stays erased."""
    for row in proposal.sealed:
        if row.value is not None:
            change.put(row)


def vault_keys(tenant: str, parameters: Mapping[str, Any]) -> tuple[Key, ...]:
    """Where the values of a proposal's body are that are sealed."""
    return tuple((Sealed, tenant, id) for id in commitments(parameters).values())


def held(change: Change, entity: str, parameters: Mapping[str, Any]) -> tuple[Sealed, ...]:
    """What the vault holds of a proposal's body. A row that is not there counts as erased."""
    change.need(*vault_keys(change.tenant, parameters))
    found = {name: (id, change.get(Sealed, id)) for name, id in commitments(parameters).items()}
    return tuple(row or Sealed(change.tenant, id, entity, name, b"", None) for name, (id, row) in found.items())


def gone(proposal: Proposal) -> tuple[str, ...]:
    """The parameters of a proposal whose values were erased."""
    return tuple(row.name for row in proposal.sealed if row.value is None)


def erase(change: Change, command: Erase) -> None:
    """Takes values out of the vault for good; the log keeps their commitments. Again, it changes nothing."""
    caller = command.caller
    if caller.tenant != change.tenant or AUTHOR not in caller.roles:
        message = f"erasing takes the role `{AUTHOR}`"
        change.answer = Forbidden(message, reason="permission_denied", missing_roles=[AUTHOR])
        return
    rows = {id: change.get(Sealed, id) for id in command.commitments}
    missing = [id for id, row in rows.items() if row is None]
    if missing:
        change.answer = NotFound(f"the vault holds nothing for `{missing[0]}`", commitment=missing[0])
        return
    there = [row for row in rows.values() if row is not None and row.value is not None]
    for row in there:
        change.put(structs.replace(row, salt=b"", value=None))
    for entity, some in _by_entity(there):
        change.record(
            "sensitive_erased",
            caller.principal,
            entity=entity,
            trace=f"trace_{command.suffix}",
            cause=f"erase_{command.suffix}",
            version=None,
            data={"commitments": some},
        )
    change.answer = Erased(tuple(row.id for row in there), rfc3339(change.at), command.more)


def _by_entity(rows: list[Sealed]) -> Iterator[tuple[str, list[str]]]:
    """Commitments of one entity at a time, and not too many of them."""
    for entity, own in groupby(sorted(rows, key=attrgetter("entity", "id")), attrgetter("entity")):
        ids = [row.id for row in own]
        yield from ((entity, ids[start : start + TOLD_AT_ONCE]) for start in range(0, len(ids), TOLD_AT_ONCE))
