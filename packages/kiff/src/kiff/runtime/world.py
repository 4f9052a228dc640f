"""The slice of the world a batch sees, and what one step changes in it.

INVARIANT: a key that was not loaded is never read as absent. Absent is a loaded None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from kiff.canonical import digest, fragment
from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.protocol.actor import Principal
from kiff.protocol.receipt import ReceiptDraft
from kiff.protocol.record import Record
from kiff.runtime.ports import Key, Slice
from kiff.runtime.rows import KEYS, POLICY, ActivePolicy, Blob, Delivery, DomainVersion, LogHead, PolicyVersion, Row

T = TypeVar("T")

INLINE_BYTES = 4096
"""Larger values stand beside the log (DESIGN section 3, Record)."""


class NotLoaded(Exception):
    """A step read keys that are not in its slice. The lane loads them and steps again."""

    def __init__(self, *keys: Key) -> None:
        super().__init__(*keys)
        self.keys = keys


class Context(Struct, frozen=True):
    """What does not change between batches.

    Args:
        owner: this replica.
        executors: the names the operator registered.
        usable: (tenant, address) -> whether the operator lets the tenant use a remote executor; the same all along.
        domains: compiled versions by digest.
        policies: compiled policy versions by digest; versions met for the first time are added.
    """

    owner: str
    executors: frozenset[str]
    domains: Mapping[str, Domain]
    policies: dict[str, Policy] = {}
    usable: Callable[[str, str], bool] = lambda tenant, address: False


class OpenLog:
    """A tenant's log while a batch adds to it."""

    __slots__ = ("at", "head", "records")

    def __init__(self, head: LogHead | None, now: int) -> None:
        self.head = head
        self.at = now if head is None else max(now, head.last_at)
        self.records: list[Record] = []

    @property
    def size(self) -> int:
        """How many records there are, those of this batch included."""
        return len(self.records) + (0 if self.head is None else self.head.size)


class World:
    """Loaded rows with the batch's own changes laid over them."""

    __slots__ = ("changed", "context", "gone", "logs", "rows")

    def __init__(self, context: Context, loaded: Slice) -> None:
        self.context = context
        self.rows: dict[Key, Row | None] = loaded.rows
        self.logs = {tenant: OpenLog(head, loaded.now) for tenant, head in loaded.heads.items()}
        self.changed: dict[Key, Row] = {}
        self.gone: dict[Key, Delivery] = {}

    def add(self, loaded: Slice) -> None:
        """Takes in keys that were missing; what the batch already has stays as it is."""
        self.rows = loaded.rows | self.rows

    def take(self, change: Change) -> None:
        """Lays one step's change over the world, so that later steps see it."""
        self.rows.update(change.rows)
        self.changed.update(change.rows)
        for key, row in change.gone.items():
            self.rows[key] = None
            self.gone[key] = row
            self.changed.pop(key, None)
        for key in [key for key in self.gone if key in change.rows]:
            del self.gone[key]  # told, and to be told again
        self.logs[change.tenant].records += change.records


class Change:
    """What one step reads and writes. Nothing of it shows until the world takes it."""

    __slots__ = (
        "_seq",
        "answer",
        "at",
        "gone",
        "receipts",
        "records",
        "resolved",
        "rows",
        "run",
        "tenant",
        "wait",
        "world",
    )

    def __init__(self, world: World, tenant: str) -> None:
        log = world.logs[tenant]
        self.world = world
        self.tenant = tenant
        self.at = log.at
        self._seq = log.size
        self.rows: dict[Key, Row] = {}
        self.gone: dict[Key, Delivery] = {}
        self.records: list[Record] = []
        self.answer: Any = None
        """The answer value, an exception to raise, or (with `wait`) nothing yet."""
        self.wait: str | None = None
        """The operation whose outcome is the answer."""
        self.run: Any = None
        """The clearance to hand to its executor, with its proposal's parameters."""
        self.resolved: tuple[str, Any] | None = None
        """(operation id, answer): callers that wait for this operation have their answer."""

    def get(self, row: type[T], id: str) -> T | None:
        """The row, None when it is known to be absent.

        Raises:
            NotLoaded: the slice does not say.
        """
        key = (row, self.tenant, id)
        if key in self.rows:
            return self.rows[key]  # type: ignore[return-value]  # a key begins with its row's type
        try:
            return self.world.rows[key]  # type: ignore[return-value]
        except KeyError:
            raise NotLoaded(key) from None

    def need(self, *keys: Key) -> None:
        """Asks for several keys at once, where reading one after the other would take too many rounds.

        Raises:
            NotLoaded: those of them that the slice does not speak of.
        """
        missing = [key for key in keys if key not in self.rows and key not in self.world.rows]
        if missing:
            raise NotLoaded(*missing)

    def put(self, row: Row) -> None:
        self.rows[(type(row), self.tenant, getattr(row, KEYS[type(row)]))] = row

    def drop(self, row: Delivery) -> None:
        """A delivery that was made is a row no longer."""
        self.gone[(Delivery, self.tenant, row.id)] = row

    def domain(self, version: str, content_digest: str) -> Domain:
        """A compiled domain version.

        Raises:
            NotLoaded: it has not been compiled in this process yet.
        """
        found = self.world.context.domains.get(content_digest)
        if found is None:
            raise NotLoaded((DomainVersion, self.tenant, version))
        return found

    def active_policy(self) -> ActivePolicy | None:
        """Which policy version holds for every domain of the tenant now.

        Raises:
            NotLoaded: the slice does not say.
        """
        active = self.get(ActivePolicy, POLICY)
        return None if active is None or not active.version else active

    def policy(self) -> Policy | None:
        """The policy that holds for every domain of the tenant now.

        Raises:
            NotLoaded: the slice does not say, or it has not been compiled in this process yet.
        """
        active = self.active_policy()
        if active is None:
            return None
        found = self.world.context.policies.get(active.digest)
        if found is None:
            raise NotLoaded((PolicyVersion, self.tenant, active.version))
        return found

    def record(
        self,
        kind: str,
        actor: Principal,
        *,
        entity: str | None,
        trace: str,
        cause: str,
        version: str | None,
        data: dict[str, Any],
        receipt: ReceiptDraft | None = None,
        policy: str | None = None,
    ) -> None:
        """Appends one record, with the receipt it binds.

        Args:
            version, policy: the domain version and the policy version that had a say.
        """
        seq = self._seq + len(self.records)
        self.records.append(
            Record(self.tenant, seq, self.at, kind, actor, entity, trace, cause, version, data, receipt, policy)
        )

    def value(self, name: str, data: bytes) -> dict[str, Any]:
        """How a record carries a caller's value: in place, or beside the log and bound by its digest.

        Args:
            data: canonical JSON.
        """
        if len(data) <= INLINE_BYTES:
            return {name: fragment(data)}
        blob = Blob(self.tenant, digest(data), data)
        self.put(blob)
        return {f"{name}_beside": {"bytes": len(data), "digest": blob.digest}}
