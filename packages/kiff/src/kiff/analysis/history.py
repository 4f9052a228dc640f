"""Walking what a store holds: records page by page, and the domain versions they name. Nothing here judges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from kiff.canonical import admit, digest
from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.errors import InvalidDomain, InvalidPolicy
from kiff.protocol.action import ActionContract
from kiff.protocol.instant import parse_rfc3339
from kiff.protocol.receipt import Receipt
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Key, Store
from kiff.runtime.rows import Blob, DomainVersion, PolicyVersion, RecordRow
from kiff.runtime.step.fold import Folded, transition

PAGE = 1000
BLOBS = 16
"""How many values beside the log are in memory at a time; each has up to 256 KiB."""


def pages(store: Store, tenant: str, *, entity: str | None = None) -> Iterator[list[RecordRow]]:
    """A tenant's records, or one entity's, in order."""
    after = -1
    while page := store.records(tenant, entity=entity, after=after, limit=PAGE):
        yield page
        after = page[-1].seq


def receipts(store: Store, tenant: str, *, after: int = -1) -> Iterator[Receipt]:
    """A tenant's receipts, in the order of their records."""
    while page := store.receipts(tenant, after=after, limit=PAGE):
        yield from page
        after = page[-1].seq


def subjects(store: Store, tenant: str) -> Iterator[str]:
    """Every entity that a tenant's records speak of, in order."""
    after = ""
    while page := store.subjects(tenant, after=after, limit=PAGE):
        yield from page
        after = page[-1]


def read_body(row: RecordRow) -> dict[str, Any] | None:
    """The record's members; None when its bytes are no JSON object with the members a record has."""
    try:
        value = orjson.loads(row.body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("data"), dict):
        return None
    return value if isinstance(value.get("versions"), dict) and isinstance(value.get("actor"), dict) else None


def bytes_of(value: Any) -> bytes:
    """Canonical bytes of a value read from a record."""
    return admit(value).data


class Versions:
    """A tenant's published versions of domains and policies, compiled when they are first named."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant
        self._known: dict[str, Domain | None] = {}
        self._policies: dict[str, Policy | None] = {}

    def get(self, version: object) -> Domain | None:
        """The domain of this version; None when it is not in the store, or not readable."""
        if not isinstance(version, str):
            return None
        if version not in self._known:
            self._known[version] = self._compiled(version)
        return self._known[version]

    def policy(self, version: object) -> Policy | None:
        """The policy of this version; None when it is not in the store, or not readable."""
        if not isinstance(version, str):
            return None
        if version not in self._policies:
            self._policies[version] = self._compiled_policy(version)
        return self._policies[version]

    def contract(self, version: object, action: object) -> ActionContract | None:
        domain = self.get(version)
        return None if domain is None or not isinstance(action, str) else domain.actions.get(action)

    def _compiled(self, version: str) -> Domain | None:
        key = (DomainVersion, self._tenant, version)
        row = self._store.load((), [key]).rows[key]
        if not isinstance(row, DomainVersion):
            return None
        try:
            return Domain.from_content(row.content)
        except InvalidDomain:
            return None

    def _compiled_policy(self, version: str) -> Policy | None:
        key = (PolicyVersion, self._tenant, version)
        row = self._store.load((), [key]).rows[key]
        if not isinstance(row, PolicyVersion):
            return None
        try:
            return Policy.from_content(row.content)
        except InvalidPolicy:
            return None


def beside(store: Store, tenant: str, data: dict[str, Any], name: str) -> bytes | None:
    """Canonical bytes of a value that a record carries in place or beside the log; None when it is gone."""
    if name in data:
        return bytes_of(data[name])
    reference = data.get(f"{name}_beside")
    if not isinstance(reference, dict) or not isinstance(reference.get("digest"), str):
        return None
    key = (Blob, tenant, reference["digest"])
    row = store.load((), [key]).rows[key]
    return row.data if isinstance(row, Blob) and digest(row.data) == row.digest else None


def refolded(store: Store, tenant: str, domain: Domain, entity: EntityState, record: dict[str, Any]) -> Folded:
    """What the event of a record does to an entity, under a version: its payload and its time are the record's.

    Raises:
        KeyError, TypeError, InvalidInput: this is not the record of an event.
    """
    event = record["data"]["event"]
    payload: Any = {}
    if event["type"] in domain.payloads:
        told = beside(store, tenant, event, "payload")
        payload = {} if told is None else orjson.loads(told)
    if not isinstance(payload, dict):
        raise TypeError("the payload of an event is an object")
    return transition(domain, entity, event["type"], payload, parse_rfc3339(record["at"], field="at"))


def references(tenant: str, seq: int, value: dict[str, Any], path: str, found: dict[Key, tuple[int, str, Any]]) -> None:
    """Values that a record keeps beside the log: `<name>_beside` {bytes, digest}, in its data or one level down."""
    for name, inner in value.items():
        if not isinstance(inner, dict):
            continue
        if name.endswith("_beside") and isinstance(inner.get("digest"), str):
            found[Blob, tenant, inner["digest"]] = (seq, f"{path}.{name.removesuffix('_beside')}", inner.get("bytes"))
        elif path == "data" and name == "event":
            references(tenant, seq, inner, f"{path}.{name}", found)
