"""What the runtime needs from the outside: Protocols only. Back ends share the conformance suite, not a base class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.receipt import Receipt
from kiff.protocol.state import EntityState
from kiff.runtime.rows import (
    ActiveDomain,
    CheckpointRow,
    Delivery,
    DomainVersion,
    LogHead,
    RecordRow,
    Row,
    TileRow,
    TimerRow,
)

T = TypeVar("T", bound=Struct)

Key = tuple[type, str, str]
"""(row type, tenant, id): how a row is asked for."""


class Slice(Struct, frozen=True):
    """A part of the world as the store holds it.

    Args:
        now: the store's clock (ms), read once for the batch.
        heads: the log head of each tenant asked for; None when it never wrote.
        rows: each key asked for; None when there is no such row. Absent is a loaded value.
    """

    now: int
    heads: dict[str, LogHead | None]
    rows: dict[Key, Row | None]


class Append(Struct):
    """What one commit writes.

    Args:
        heads: (as loaded, as it becomes) per tenant; compared and set before anything else.
        rows: the last value of every changed row.
        receipts: may be lazy: signatures are made while the rows are bound.
        gone: deliveries to take out; a newer version of one stays.
    """

    heads: list[tuple[LogHead | None, LogHead]]
    rows: list[Row]
    records: list[RecordRow]
    receipts: Iterable[Receipt]
    tiles: list[TileRow]
    checkpoints: list[CheckpointRow]
    gone: list[Delivery] = []


class Store(Protocol):
    """Load a slice, append a batch, answer a handful of queries.

    `exclusive`: this process is the only writer, so whatever another owner left open is orphaned.

    Driver errors never leave a store: they become StoreConflict (load and step again), StoreUnavailable
    (nothing was written), or StoreCorrupt (what is there is not what was written).
    """

    exclusive: bool

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        """The heads and rows asked for, and the clock. Only the lane that appends may ask."""

    def leave(self, tenants: Iterable[str]) -> None:
        """The batch that loaded these heads is over, whether or not it was appended: nobody waits for it any more."""

    def peek(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        """What `load` gives, for readers beside the lane: every row as committed, not all at one instant."""

    def row(self, kind: type[T], tenant: str, id: str) -> T | None:
        """One row as it was last committed: for readers beside the lane."""

    def append(self, batch: Append) -> None:
        """All of it, durably, or none of it.

        Raises:
            StoreConflict: a head moved since it was loaded.
            StoreRefused: a row breaks a rule of the database, or cannot be bound.
        """

    def heads(self) -> list[LogHead]:
        """Every tenant's log head."""

    def records(self, tenant: str, *, entity: str | None = None, after: int = -1, limit: int = 1000) -> list[RecordRow]:
        """Records with seq > after, in order; of one entity, of none (`""`), or all."""

    def leaves(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[bytes]:
        """Leaf hashes of records with seq > after, in order."""

    def follow(self, moved: Callable[[list[LogHead]], None]) -> None:
        """Calls `moved`, in another thread, with heads that other processes moved; of them only the tenant and size
        are told. It is a hint: late, or lost, and from a store with one writer never.
        """

    def receipt(self, tenant: str, receipt_id: str) -> Receipt | None: ...

    def receipts(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[Receipt]:
        """Receipts whose decision has seq > after, in order."""

    def entities(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[EntityState]:
        """Entities with a reference > after, in order."""

    def approvals(self, tenant: str, *, status: str | None = None, limit: int = 1000) -> list[ApprovalRequest]:
        """Approvals, oldest first."""

    def clearances(self, tenant: str, *, status: str | None = None, limit: int = 1000) -> list[Clearance]:
        """Operations, oldest first."""

    def unsigned(self) -> list[str]:
        """Tenants whose last records no signed head covers, in order: a process that was killed left them so."""

    def snapshot(self) -> Store:
        """The store as it stands now, for a long read; what is written meanwhile does not show. Close it."""

    def tenants(self) -> list[str]:
        """Every tenant that has any row at all, in order. Notes and sealed keys alone make no tenant."""

    def subjects(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[str]:
        """Entities that records speak of, with a reference > after, in order."""

    def rows(self, kind: type[T], tenant: str, *, after: str = "", limit: int = 1000) -> list[T]:
        """Rows of one kind (a `Row`) with a key > after, in order."""

    def count(self, kind: type, tenant: str) -> int:
        """How many rows of one kind there are: of a `Row`, or of the log (record, receipt, tile, checkpoint)."""

    def active_domains(self) -> list[ActiveDomain]: ...

    def domain_versions(self) -> list[DomainVersion]: ...

    def due(self, now: int, *, limit: int = 256) -> list[Clearance | ApprovalRequest | TimerRow]:
        """What a sweep should look at: rows whose `due_at` has come."""

    def open_clearances(self, limit: int = 10_000) -> list[Clearance]:
        """Every clearance in flight, whoever owns it."""

    def backlogs(self, now: int) -> list[tuple[str, str]]:
        """(tenant, endpoint) of every endpoint with a delivery whose time has come, in order."""

    def lease(self, tenant: str, endpoint: str, now: int, until: int, *, limit: int) -> list[Delivery]:
        """Deliveries of an endpoint whose time has come, for this caller alone until `until` or until one is written.

        Of those that are due to one entity only the first: whoever waits for it keeps the order.
        """

    def deliveries(
        self, tenant: str, endpoint: str, *, status: str | None = None, after: int = -1, limit: int = 1000
    ) -> list[Delivery]:
        """Deliveries of an endpoint of records with seq > after, in order."""

    def tile(self, tenant: str, level: int, number: int) -> bytes | None: ...

    def checkpoint(self, tenant: str, *, size: int | None = None) -> CheckpointRow | None:
        """The signed note at this size, or the newest."""

    def checkpoints(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[CheckpointRow]: ...

    def close(self) -> None: ...


class Clock(Protocol):
    def now(self) -> int:
        """Milliseconds since the epoch; may step backwards."""

    def monotonic(self) -> float:
        """Seconds; never steps backwards."""


class Ids(Protocol):
    def draw(self) -> str:
        """A fresh, unguessable suffix (`[0-9A-Z]{26}`)."""


class Remote(Protocol):
    """Executors that are reached over a wire, by the address that a contract names: `https://…`, `mcp://…`.

    What is usable is the operator's word, and stays as it is while the process lives.
    """

    def usable(self, tenant: str, address: str) -> bool:
        """Whether the operator lets this tenant use it. Anything that is no address is not."""

    def reserve(self, tenant: str, address: str) -> None:
        """Takes room for one call, before it is decided.

        Raises:
            Overloaded: the tenant has enough calls there, or what is there did not answer for a while.
        """

    def release(self, tenant: str, address: str) -> None:
        """Gives the room back, once for each `reserve`."""

    def run(self, address: str, operation: Any, seconds: float) -> Any:
        """Has it done, and says how it ended, as an `Executor` does, after at most that many seconds."""

    def close(self) -> None: ...


class Executor(Protocol):
    """The operator's code that makes the effect. It may be `async`.

    Returns:
        {status: succeeded|failed, message?, output?, events?}; anything else is an unknown outcome.
    """

    def __call__(self, operation: Any, /) -> Any: ...
