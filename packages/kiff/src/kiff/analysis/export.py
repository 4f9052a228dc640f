"""Taking a log out: the lines that `kiff.ledger.verify_export` checks, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from kiff.analysis.history import pages, read_body, references
from kiff.canonical import encode
from kiff.errors import NotFound
from kiff.ledger.export import VERSION, line
from kiff.ledger.receipts import flat
from kiff.runtime.ports import Key, Store
from kiff.runtime.reading import Reading
from kiff.runtime.rows import Blob, RecordRow


def export_lines(store: Store, tenant: str, *, entity: str | None = None) -> Iterator[bytes]:
    """The header, then a line for each record under the newest signed head: of the log, or of one entity.

    Args:
        store: best a snapshot.

    Raises:
        NotFound: no signed head covers anything of this tenant.
    """
    note = store.checkpoint(tenant)
    if note is None:
        raise NotFound(
            f"nothing of `{tenant}` is under a signed head yet; one is signed within a second", tenant=tenant
        )
    origin = note.note.split(b"\n", 1)[0].decode()
    header = {"kiff_export": VERSION, "tenant": tenant, "log": origin, "size": note.size, "entity": entity}
    yield encode(header | {"checkpoint": note.note.decode()})
    reading = Reading(store, {})
    for page in pages(store, tenant, entity=entity):
        for row in page:
            if row.seq >= note.size:
                return
            beside = _beside(store, tenant, row)
            if entity is not None:
                beside["inclusion"] = reading.inclusion(tenant, row.seq, note.size)
            yield line(row.body, **beside)


def _beside(store: Store, tenant: str, row: RecordRow) -> dict[str, Any]:
    """What belongs to a record: the receipt it binds, and values too large for the log, by their digests."""
    if b'"receipt":{' not in row.body and b"_beside" not in row.body:
        return {}
    record = read_body(row)
    if record is None:
        return {}
    named: dict[Key, tuple[int, str, Any]] = {}
    references(tenant, row.seq, record["data"], "data", named)
    values = {blob.digest: blob.data.decode() for blob in store.load((), named).rows.values() if isinstance(blob, Blob)}
    receipt = _receipt(store, tenant, record["data"].get("receipt"))
    return ({"beside": values} if values else {}) | ({"receipt": receipt} if receipt else {})


def _receipt(store: Store, tenant: str, bound: Any) -> dict[str, Any] | None:
    found = store.receipt(tenant, bound["id"]) if isinstance(bound, dict) and "id" in bound else None
    if found is None:
        return None
    proofs = {} if found.batch is None else {"batch": orjson.loads(found.batch)}
    return flat(found.core, found.signature, proofs)
