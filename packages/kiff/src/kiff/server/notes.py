"""Notes of one kind: what is kept beside a tenant's log under names that begin alike."""

from __future__ import annotations

from collections.abc import Iterator

from kiff.runtime.ports import Store
from kiff.runtime.rows import NoteRow

PAGE = 50


def note(store: Store, tenant: str, id: str) -> NoteRow | None:
    """The note, unless it was never written, or forgotten."""
    row = store.row(NoteRow, tenant, id)
    return row if row is not None and row.body else None


def notes(store: Store, tenant: str, kind: str, *, after: str = "") -> Iterator[NoteRow]:
    """Every note of a kind, in order of their names.

    Args:
        kind: how their ids begin, e.g. `draft:`; one whose id is no more than that is not among them.
        after: only those with a greater name.
    """
    after = f"{kind}{after}"
    while page := store.rows(NoteRow, tenant, after=after, limit=PAGE):
        for row in page:
            if not row.id.startswith(kind):
                return
            if row.body:
                yield row
        after = page[-1].id
