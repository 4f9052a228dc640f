"""The rows beside the log: each must say what the log says, none may be missing, none may be there on its own."""

from __future__ import annotations

from collections import Counter
from typing import cast

from msgspec import DecodeError, Struct, json

from kiff.analysis.across_entities import AcrossEntities
from kiff.analysis.authority import AUTHORITY, AuthorityRows
from kiff.analysis.expected import UNREADABLE, EntityRows
from kiff.analysis.fields import Expected, Fields
from kiff.analysis.findings import Findings
from kiff.analysis.history import BLOBS, PAGE, Versions, pages, read_body, subjects
from kiff.analysis.hooks import check_hooks
from kiff.analysis.published import Published, check_published
from kiff.analysis.vault import unopened
from kiff.canonical import digest
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.clearance import Clearance
from kiff.protocol.limit import Usage
from kiff.protocol.sealed import Sealed
from kiff.protocol.state import EntityState
from kiff.runtime.answers import (
    Activated,
    Decided,
    Established,
    Executed,
    Ingested,
    PolicyActivated,
    Reviewed,
    RolledBack,
    Shadowed,
)
from kiff.runtime.ports import Key, Store
from kiff.runtime.rows import (
    KEYS,
    ActiveDomain,
    ActivePolicy,
    Blob,
    CommandRow,
    DomainVersion,
    LastApproval,
    PolicyVersion,
    Runway,
    TimerRow,
)

NAMES: dict[type, str] = {
    ActiveDomain: "active domain",
    ActivePolicy: "active policy",
    ApprovalRequest: "approval",
    Blob: "blob",
    Clearance: "clearance",
    CommandRow: "command",
    DomainVersion: "domain version",
    EntityState: "entity",
    LastApproval: "last approval",
    PolicyVersion: "policy version",
    Runway: "runway",
    TimerRow: "timer",
    Tenant: "tenant",
    Usage: "usage",
    Member: "member",
    Credential: "credential",
    Sealed: "sealed value",
}
"""What a problem calls a row: `approval appr_…`."""

_BY_ENTITY = (ApprovalRequest, Clearance, CommandRow, EntityState, LastApproval, Runway, Sealed, TimerRow)
_OPEN = ("pending", "granted", "open")
_REVIEW = "review:"
_ADMIN = "admin:"
_BY_PREFIX: dict[str, type[Struct]] = {
    "activate:": Activated,
    "policy:": PolicyActivated,
    "rollback:": RolledBack,
    "shadow:": Shadowed,
}
_AT_ONCE = 500


class RowCheck:
    """Compares one tenant's rows with its log. An entity at a time: memory follows the longest history, not the log.

    Args:
        published: the versions that the records published, and which of them are in force.
        authority: what the records that changed authority lead to.
        across: what limits count, and locks with a key.
        broken: records that were named already as changed.
    """

    def __init__(
        self,
        store: Store,
        tenant: str,
        findings: Findings,
        published: Published,
        authority: AuthorityRows,
        across: AcrossEntities,
        broken: set[int],
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._findings = findings
        self._published = published
        self._tenants = authority.rows | across.rows
        self._hooks = authority.hooks
        self._broken = broken
        self._versions = Versions(store, tenant)
        self._found: Counter[type] = Counter()
        self._waiting: Expected = {}

    def run(self) -> None:
        check_published(self._store, self._tenant, self._published, self._findings, self._compare)
        check_hooks(self._store, self._tenant, self._hooks, self._findings)
        for entity in subjects(self._store, self._tenant):
            self._entity(entity)
            if len(self._waiting) >= _AT_ONCE:
                self._compare_waiting()
        self._waiting |= self._tenants
        self._compare_waiting()
        for kind in (*_BY_ENTITY, *AUTHORITY, Usage):
            if self._store.count(kind, self._tenant) != self._found[kind]:
                self._strays(kind)
        self._blobs()

    def _entity(self, entity: str) -> None:
        rows, changed = self._told(entity, self._findings)
        # What a changed record leads to is no measure for the rows: then they only have to be there.
        self._waiting |= {key: {} for key in rows.rows()} if changed else rows.rows()

    def _told(self, entity: str, findings: Findings) -> tuple[EntityRows, bool]:
        """The rows that an entity's records lead to, and whether any of those records was changed."""
        changed = False
        rows = EntityRows(self._store, self._tenant, entity, self._versions)
        for page in pages(self._store, self._tenant, entity=entity):
            for row in page:
                changed |= row.seq in self._broken
                record = read_body(row)
                if record is None:
                    continue  # the walk over the log named it
                try:
                    rows.take(record)
                except UNREADABLE as error:
                    if row.seq in self._broken:
                        continue
                    message = f"lacks what its kind needs ({type(error).__name__}: {error!s:.80})"
                    findings.add(f"record {row.seq}", "data", message)
        return rows, changed

    def _compare_waiting(self) -> None:
        keys: dict[Key, Fields] = {(kind, self._tenant, key): fields for (kind, key), fields in self._waiting.items()}
        loaded = self._store.load((), keys).rows
        for key, expected in keys.items():
            row = loaded[key]
            if row is None:
                self._findings.add(f"{NAMES[key[0]]} {key[2]}", "", "the log tells of it, and it has no row")
                continue
            self._found[key[0]] += 1
            self._compare(row, f"{NAMES[key[0]]} {key[2]}", expected)
        self._waiting = {}

    def _compare(self, row: Struct, where: str, expected: Fields) -> None:
        for name, value in expected.items():
            found = getattr(row, name)
            if name == "answer":
                self._answer(cast("CommandRow", row), where, value)
            elif found != value:
                self._findings.add(where, name, f"the row says {_shown(found)}, the log says {_shown(value)}")
        if isinstance(row, ApprovalRequest | Clearance) and row.status in _OPEN and row.due_at is None:
            self._findings.add(where, "due_at", "nothing would ever end it: expected an instant")
        for name, message in unopened(row) if isinstance(row, Sealed) else ():
            self._findings.add(where, name, message)

    def _answer(self, row: CommandRow, where: str, expected: Fields | None) -> None:
        if expected is None:
            if row.answer:
                self._findings.add(where, "answer", "the operation is running, and an answer is there")
            return
        try:
            answer = json.decode(row.answer, type=_shape(row))
        except DecodeError:
            self._findings.add(where, "answer", "cannot be read")
            return
        for name, value in expected.items():
            found = json.decode(json.encode(getattr(answer, name, None)))
            if found != value:
                message = f"the row says {_shown(found)}, the log says {_shown(value)}"
                self._findings.add(where, f"answer.{name}", message)

    def _strays(self, kind: type) -> None:
        """There are more rows than the log tells of: they are looked for, which takes memory for their keys."""
        known: set[str] = {key for row_kind, key in self._tenants if row_kind is kind}
        for entity in subjects(self._store, self._tenant):
            told = self._told(entity, Findings())[0].rows()
            known |= {key for row_kind, key in told if row_kind is kind}
        after = ""
        while page := list[Struct](self._store.rows(kind, self._tenant, after=after, limit=PAGE)):
            keys = [str(getattr(row, KEYS[kind])) for row in page]
            for key in keys:
                if key not in known:
                    self._findings.add(f"{NAMES[kind]} {key}", "", "has a row, and the log does not tell of it")
            after = keys[-1]

    def _blobs(self) -> None:
        """Values beside the log are named by their digest. One that no record names any more harms nobody."""
        after = ""
        while page := self._store.rows(Blob, self._tenant, after=after, limit=BLOBS):
            for row in page:
                if digest(row.data) != row.digest:
                    self._findings.add(f"blob {row.digest}", "data", "is not what its digest names")
            after = page[-1].digest


def _shape(row: CommandRow) -> type[Struct]:
    if row.id.startswith("event:"):
        return Ingested
    if row.id.startswith(_REVIEW):
        return Reviewed
    if row.id.startswith(_ADMIN):
        return Established
    for prefix, answer in _BY_PREFIX.items():
        if row.id.startswith(prefix):
            return answer
    return Decided if row.digest.startswith("decide:") else Executed


def _shown(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return f"`{text:.80}`"
