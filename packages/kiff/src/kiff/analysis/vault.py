"""The vault beside the log: it opens what the log commits to, unless a record says that a value was erased.

No finding repeats a value or a salt.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from kiff.protocol import sealed
from kiff.protocol.proposal import Proposal
from kiff.protocol.sealed import Sealed, commitments
from kiff.runtime.ports import Store


def opened(store: Store, tenant: str, proposal: Proposal) -> Proposal | str:
    """The proposal of a record with the values that the record only commits to; or why they cannot be had.

    A value that was erased is none: its row is among `sealed`, and its parameter stays a commitment.
    """
    ids = commitments(proposal.parameters)
    if not ids:
        return proposal
    rows = store.load((), [(Sealed, tenant, id) for id in ids.values()]).rows
    found: list[Sealed] = []
    for name, id in ids.items():
        row = rows[Sealed, tenant, id]
        if not isinstance(row, Sealed):
            return f"the vault has no row for `{name}`"
        if not row.erased and not row.opens:
            return f"what the vault holds for `{name}` is not what the record commits to"
        found.append(row)
    return structs.replace(proposal, parameters=sealed.opened(proposal.parameters, found), sealed=tuple(found))


def unopened(row: Sealed) -> Iterator[tuple[str, str]]:
    """What is wrong with a row by itself: (column, what)."""
    if row.erased and row.salt:
        yield "salt", "is still there, and its value was erased"
    if not row.erased and not row.opens:
        yield "value", "together with name and salt it is not what its commitment was made over"
