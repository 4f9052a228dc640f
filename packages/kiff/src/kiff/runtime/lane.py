"""A lane: a queue, a thread, a loop and a commit. Every write goes through one.

    take everything that waits -> load -> step each -> seal -> append once -> answer

There is no linger timer: a batch is whatever queued while the previous commit ran.
INVARIANT: nothing is answered, and nothing is executed, before its commit returned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Protocol

from msgspec import Struct

from kiff.domain import Domain
from kiff.errors import Conflict, KiffError, StoreConflict, StoreError, StoreRefused, StoreUnavailable
from kiff.protocol.action import ActionContract
from kiff.protocol.clearance import Clearance
from kiff.protocol.proposal import Proposal
from kiff.runtime.commands import Command
from kiff.runtime.ports import Append, Store
from kiff.runtime.queue import FairQueue
from kiff.runtime.rounds import ROUNDS, rounds, with_moves
from kiff.runtime.rows import LogHead
from kiff.runtime.seal import Sealer
from kiff.runtime.world import Change, Context, World

BATCH = 256
CHECKPOINT_SECONDS = 1.0


class Item(Struct, eq=False):
    """A command on its way, with whom to tell.

    Args:
        command: None asks for a signed checkpoint of the tenant's log.
        future: None when nobody waits (an operation's outcome).
        slot: an executor slot was reserved for it.
    """

    tenant: str
    command: Command | None
    future: Future[Any] | None
    slot: bool = False


class Runner(Protocol):
    """What a lane hands a durable clearance to."""

    def start(self, clearance: Clearance, proposal: Proposal, contract: ActionContract) -> None: ...

    def release(self, tenant: str) -> None:
        """Gives back a slot that no clearance came for."""


class Lane:
    """Serves one queue with one thread.

    Args:
        domains: the compiled versions the context shows; versions met for the first time are added.
        on_commit: called with the heads that a commit moved.
        probe: called with the name of each point a crash could fall on; for tests.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        context: Context,
        domains: dict[str, Domain],
        runner: Runner,
        *,
        max_waiting: int,
        monotonic: Callable[[], float],
        on_commit: Callable[[list[LogHead]], None] | None = None,
        probe: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._read = with_moves(store.load, store)
        self._sealer = sealer
        self._context = context
        self._domains = domains
        self._runner = runner
        self._monotonic = monotonic
        self._on_commit = on_commit or _nothing
        self._probe = probe or _nothing
        self._waiters: dict[str, list[Future[Any]]] = {}
        self._unsigned: dict[str, float] = dict.fromkeys(_unsigned(store), monotonic())
        self.queue: FairQueue[Item] = FairQueue(max_waiting)
        self.failure: KiffError | None = None
        self._thread = threading.Thread(target=self._run, name="kiff-lane", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Serves what was taken in, signs the last heads, and stops."""
        self.queue.close()
        if self._thread.is_alive():
            self._thread.join()
        for waiting in self._waiters.values():
            for future in waiting:
                _fail(future, Conflict("the runtime closed before the operation ended; ask again by its id"))
        self._sealer.close()

    def _run(self) -> None:
        while True:
            batch = self.queue.take(BATCH, self._patience())
            if batch is None:
                break
            try:
                self._serve(batch)
            except StoreError as error:
                return self._stop(error, batch)
            except Exception as error:  # noqa: BLE001  a defect, or a signer that fails: nobody may wait for ever
                return self._stop(StoreUnavailable(f"the lane stopped: {type(error).__name__}"), batch)
        if self._unsigned:
            self._try_to_sign()

    def _patience(self) -> float | None:
        """How long to wait for work before the oldest unsigned head is a second old."""
        if not self._unsigned:
            return None
        return max(0.0, min(self._unsigned.values()) + CHECKPOINT_SECONDS - self._monotonic())

    def _serve(self, batch: list[Item]) -> None:
        """Commits a batch; one that the database refuses for good is taken apart, so that only the culprit fails."""
        for _ in range(ROUNDS):
            try:
                return self._commit(batch)
            except StoreConflict:
                continue  # another writer was first: load and step again, with the same ids
            except StoreRefused as error:
                if len(batch) == 1:
                    return self._fail(batch, error)
                for item in batch:
                    self._serve([item])
                return
        self._fail(batch, StoreConflict("another writer kept changing this log; try again"))

    def _commit(self, batch: list[Item]) -> None:
        self._probe("load")
        signed = self._to_sign(batch)
        tenants = {item.tenant for item in batch} | signed
        keys = {key for item in batch if item.command is not None for key in item.command.reads()}
        world = World(self._context, self._store.load(tenants, keys))
        changes = [(item, self._step(world, item)) for item in batch]
        self._probe("stepped")
        append, unsigned = self._sealed(world, signed)
        if append.heads or append.rows or append.checkpoints:
            self._probe("append")
            self._store.append(append)
            self._probe("appended")
        now = self._monotonic()
        for _, head in append.heads:
            self._unsigned.setdefault(head.tenant, now)
        notes: dict[str, bytes | Exception] = {each.tenant: each.note for each in append.checkpoints}
        for tenant in signed & self._unsigned.keys():
            if tenant in notes:
                del self._unsigned[tenant]
            else:
                self._unsigned[tenant] = now  # its key does not sign: it is tried again in a second
        for item, change in changes:
            self._deliver(item, change, notes | unsigned)
        if append.heads:
            self._on_commit([head for _, head in append.heads])

    def _sealed(self, world: World, signed: set[str]) -> tuple[Append, dict[str, Exception]]:
        """Seals the batch; what a command put in that cannot be written or signed fails that command alone."""
        try:
            return self._sealer.seal(world, signed)
        except StoreError:
            raise
        except Exception as error:
            raise StoreRefused(f"the batch cannot be written: {type(error).__name__}") from error

    def _to_sign(self, batch: list[Item]) -> set[str]:
        """Tenants whose head is a second old, or asked for."""
        late = self._monotonic() - CHECKPOINT_SECONDS
        due = {tenant for tenant, since in self._unsigned.items() if since <= late}
        return due | {item.tenant for item in batch if item.command is None}

    def _step(self, world: World, item: Item) -> Change | Exception:
        """Steps one command. What it raises is its own failure, not the batch's."""
        if item.command is None:
            return Change(world, item.tenant)
        try:
            change = rounds(self._read, self._domains, world, item.command)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  a defect one command runs into must not take the others with it
            return error
        world.take(change)
        return change

    def _deliver(self, item: Item, change: Change | Exception, notes: Mapping[str, bytes | Exception]) -> None:
        """Tells whoever waits; hands a clearance to its executor. Everything here is durable already."""
        if isinstance(change, Exception):
            self._fail([item], change)
            return
        if change.resolved is not None:
            operation_id, answer = change.resolved
            for future in self._waiters.pop(operation_id, ()):
                _answer(future, answer)
        if change.run is not None:
            self._probe("run")
            self._waiters.setdefault(change.run[0].id, [])  # for calls that ask for it while it runs
            self._runner.start(*change.run)
        elif item.slot:
            self._runner.release(item.tenant)
        if item.future is None:
            return
        if item.command is None:
            _answer(item.future, notes[item.tenant])
        elif change.wait is None:
            _answer(item.future, change.answer)
        elif change.wait in self._waiters:
            self._waiters[change.wait].append(item.future)
        else:
            message = f"this call is in flight as `{change.wait}`; ask again for its outcome"
            _answer(item.future, Conflict(message, operation_id=change.wait))

    def _fail(self, batch: list[Item], error: Exception) -> None:
        for item in batch:
            if item.slot:
                self._runner.release(item.tenant)
            if item.future is not None:
                _fail(item.future, error)

    def _stop(self, error: StoreError, batch: list[Item]) -> None:
        """The store cannot serve: nothing more is taken in, and nobody is told that anything happened."""
        self.failure = error
        self.queue.close(error)
        while batch:
            self._fail(batch, error)
            batch = self.queue.take(BATCH, 0) or []
        for waiting in self._waiters.values():
            for future in waiting:
                _fail(future, error)
        self._waiters.clear()

    def _try_to_sign(self) -> None:
        try:
            self._commit([Item(tenant, None, None) for tenant in self._unsigned])
        except StoreError as error:
            self.failure = error


def _unsigned(store: Store) -> list[str]:
    """Tenants whose last records no signed head covers: a process that was killed left them so."""
    notes = [(head, store.checkpoint(head.tenant)) for head in store.heads()]
    return [head.tenant for head, note in notes if note is None or note.size < head.size]


def _answer(future: Future[Any], answer: Any) -> None:
    if isinstance(answer, Exception):
        _fail(future, answer)
        return
    with suppress(InvalidStateError):  # the caller cancelled its wait; what it asked for is done all the same
        future.set_result(answer)


def _fail(future: Future[Any], error: Exception) -> None:
    with suppress(InvalidStateError):  # as above
        future.set_exception(error)


def _nothing(_: object) -> None:
    return None
