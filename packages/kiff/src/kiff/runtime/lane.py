"""A lane: a queue, a thread, a loop and a commit. Every write goes through one.

    take everything that waits -> load -> step each -> seal -> append once -> answer

There is no linger timer: a batch is whatever queued while the previous commit ran.
INVARIANT: nothing is answered, and nothing is executed, before its commit returned; when the reply of a commit was
lost, before its records were found in the log.

A store with one writer that fails ends its lane: nobody knows what its next answer is worth. One that others write as
well may be away for a while: whoever waits is told so, and the lane goes on when it is back.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from msgspec import Struct

from kiff.domain import Domain
from kiff.errors import (
    Conflict,
    KiffError,
    Overloaded,
    StoreConflict,
    StoreError,
    StoreInDoubt,
    StoreRefused,
    StoreUnavailable,
)
from kiff.protocol.action import ActionContract
from kiff.protocol.clearance import Clearance
from kiff.protocol.proposal import Proposal
from kiff.runtime.commands import Command, Propose, Settle
from kiff.runtime.governed import Governed
from kiff.runtime.outbox import deliveries
from kiff.runtime.ports import Append, Store
from kiff.runtime.queue import FairQueue
from kiff.runtime.rounds import ROUNDS, Ahead, rounds, with_moves
from kiff.runtime.rows import HOOKS, Hooks, LogHead
from kiff.runtime.seal import Sealer
from kiff.runtime.world import Change, Context, World

BATCH = 256
CHECKPOINT_SECONDS = 1.0
TRIES = 40
"""How often a batch is stepped again where other writers may be first."""
OUTAGE_SECONDS = 5.0
"""How long a batch waits for a store that is away; the next ones do not, until it is back."""
TURN_SECONDS, AWAY_SECONDS = 0.001, 0.05
"""How long to pause, the first time, where another writer was first, and where the store is away."""
LOST_IN_A_ROW = 2
"""How many replies may be lost, however long each took, before a batch is given up: it is looked for in between."""
LOOK_SECONDS = 0.2
"""How often a lane looks whether an operation has ended that another process runs."""


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

    def start(self, clearance: Clearance, proposal: Proposal, contract: ActionContract, since: float) -> None: ...

    def reserve(self, tenant: str) -> None:
        """Takes a slot for what may be cleared.

        Raises:
            Overloaded: there is none.
        """

    def release(self, tenant: str) -> None:
        """Gives back a slot that no clearance came for."""


class Attempt(Struct, frozen=True):
    """A commit whose reply was lost, and what is to be told if it happened."""

    append: Append
    tell: Callable[[], None]

    def stands(self, store: Store) -> bool:
        """Whether its records are in the log: a leaf holds ids that nobody else drew."""
        if not self.append.records:
            return False  # notes and the like are written again, and are the same
        first = self.append.records[0]
        return store.leaves(first.tenant, after=first.seq - 1, limit=1) == [first.leaf]


class Lane:
    """Serves one queue with one thread.

    Args:
        domains: the compiled versions the context shows; versions met for the first time are added.
        governs: learns which domains others made govern.
        tenant: whose lane it is; None serves all.
        on_commit: called with the heads that a commit moved.
        on_idle: asked when nothing was to be done for `idle_seconds`; the lane ends if it says so.
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
        governs: Governed | None = None,
        tenant: str | None = None,
        on_commit: Callable[[list[LogHead]], None] | None = None,
        on_idle: Callable[[Lane], bool] | None = None,
        idle_seconds: float = 60.0,
        probe: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._read = with_moves(store.load, store)
        self._sealer = sealer
        self._context = context
        self._domains = domains
        self._runner = runner
        self._monotonic = monotonic
        self._governs = governs or Governed()
        self.tenant = tenant
        self._on_commit = on_commit or _nothing
        self._on_idle = on_idle
        self._idle_seconds = idle_seconds
        self._probe = probe or _nothing
        self._waiters: dict[str, list[Future[Any]]] = {}
        self._elsewhere: dict[str, list[Item]] = {}
        self._unreported: list[Item] = []
        self._unsigned: dict[str, float] = {}
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
        closed = Conflict("the runtime closed before the operation ended; ask again by its id")
        for waiting in self._waiters.values():
            for future in waiting:
                _fail(future, closed)
        for items in self._elsewhere.values():
            self._fail(items, closed)
        self._sealer.close()

    def retire(self) -> None:
        """Ends a lane that nobody needs, from its own thread."""
        self.queue.close()
        self._sealer.close()

    def _run(self) -> None:
        try:
            # Of lanes that come and go, the runtime looks for all: see `Runtime._look`.
            self._unsigned = dict.fromkeys(self._store.unsigned() if self.tenant is None else (), self._monotonic())
        except StoreError as error:
            return self._stop(error, [])
        while True:
            batch = self.queue.take(BATCH, self._patience())
            if batch is None:
                break
            if not batch and self._rests():
                return
            try:
                batch = self._unreported + batch + self._ended_elsewhere()
                self._unreported = []
                self._serve(batch)
            except StoreError as error:
                return self._stop(error, batch)
            except Exception as error:  # noqa: BLE001  a defect, or a signer that fails: nobody may wait for ever
                return self._stop(StoreUnavailable(f"the lane stopped: {type(error).__name__}"), batch)
        if self._unsigned:
            self._try_to_sign()

    def _patience(self) -> float | None:
        """How long to wait for work: until the oldest unsigned head is a second old, or to look at something."""
        waits = [LOOK_SECONDS] if self._elsewhere else []
        if self._unsigned:
            waits.append(max(0.0, min(self._unsigned.values()) + CHECKPOINT_SECONDS - self._monotonic()))
        if self._unreported:
            waits.append(CHECKPOINT_SECONDS)
        if not waits and self._on_idle is not None:
            waits.append(self._idle_seconds)
        return min(waits, default=None)

    def _rests(self) -> bool:
        """Whether nobody needs this lane any more, and it ends."""
        if self._on_idle is None or self._unsigned or self._unreported or self._elsewhere or self._waiters:
            return False
        return self._on_idle(self)

    def _serve(self, batch: list[Item]) -> None:
        """Commits a batch, stepping it again as often as somebody else was first.

        One that the database refuses for good is taken apart, so that only the culprit fails.
        """
        lost: list[Attempt] = []
        gives_up = time.monotonic() + (0 if self.failure else OUTAGE_SECONDS)
        for number in range(ROUNDS if self._store.exclusive else TRIES):
            try:
                if not any(attempt.stands(self._store) and _told(attempt) for attempt in lost):
                    self._commit(batch, lost)
                self.failure = None
                return
            except StoreConflict:  # another writer was first: load and step again, with the same ids
                _pause(TURN_SECONDS, number)
                if not lost:  # whoever came meanwhile need not wait for a turn of their own
                    batch += self.queue.take(BATCH - len(batch), 0) or [] if len(batch) < BATCH else []
            except StoreRefused as error:
                if len(batch) == 1:
                    return self._fail(batch, error)
                for item in batch:
                    self._serve([item])
                return
            except StoreUnavailable as error:
                if self._store.exclusive:
                    raise
                self.failure = error
                if time.monotonic() >= gives_up:
                    return self._give_up(batch, error, lost)
                _pause(AWAY_SECONDS, number)
            except StoreInDoubt as error:
                self.failure = error
                if len(lost) > LOST_IN_A_ROW and time.monotonic() >= gives_up:
                    return self._give_up(batch, error, lost)
        self._give_up(batch, StoreConflict("another writer kept changing this log; try again"), lost)

    def _give_up(self, batch: list[Item], error: StoreError, lost: list[Attempt]) -> None:
        """Tells whoever waits that it is not known, or not done. What an executor reported is kept, and sent again."""
        if lost:
            error = StoreInDoubt("the database went away while this was written; ask again with the same id")
        kept = [item for item in batch if item.future is None and type(item.command) is Settle]
        self._unreported += kept
        self._fail([item for item in batch if item not in kept], error)

    def _commit(self, batch: list[Item], lost: list[Attempt]) -> None:
        self._probe("load")
        signed = self._to_sign(batch)
        tenants = {item.tenant for item in batch} | signed
        if not tenants:
            return  # it was only looked around
        try:
            tell = self._written(batch, tenants, signed, lost)
        finally:
            self._store.leave(tenants)
        tell()

    def _written(
        self, batch: list[Item], tenants: set[str], signed: set[str], lost: list[Attempt]
    ) -> Callable[[], None]:
        """Steps and appends a batch. Returns what tells its callers."""
        loaded = self._monotonic()
        keys = {key for item in batch if item.command is not None for key in item.command.reads()}
        keys |= {(Hooks, tenant, HOOKS) for tenant in tenants}
        world = World(self._context, self._store.load(tenants, keys))
        changes = [(item, self._step(world, item, _ahead(batch, number))) for number, item in enumerate(batch, 1)]
        self._probe("stepped")
        append, unsigned = self._sealed(world, signed)

        def tell() -> None:
            self._tell(append, changes, loaded, signed, unsigned)

        if append.heads or append.rows or append.checkpoints or append.gone:
            self._probe("append")
            try:
                self._store.append(append)
            except StoreInDoubt:
                lost.append(Attempt(append, tell))
                raise
            self._probe("appended")
        if not self._store.exclusive:
            self._governs.learn(world.rows.values(), self._domains)
        return tell

    def _tell(
        self,
        append: Append,
        changes: list[tuple[Item, Change | Exception]],
        loaded: float,
        signed: set[str],
        unsigned: dict[str, Exception],
    ) -> None:
        """Answers a batch that is durable, and hands what it cleared to executors.

        Args:
            loaded: monotonic seconds of when the world that it was stepped in was asked for.
        """
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
            self._deliver(item, change, loaded, notes | unsigned)
        if append.heads:
            self._on_commit([head for _, head in append.heads])

    def _ended_elsewhere(self) -> list[Item]:
        """Calls that wait for an operation of another process, once it has ended: their next step brings the answer."""
        if not self._elsewhere:
            return []
        tenants = {id: items[0].tenant for id, items in self._elsewhere.items()}
        with suppress(StoreError):  # looked at again soon
            keys = [(Clearance, tenant, id) for id, tenant in tenants.items()]
            rows = self._store.peek((), keys).rows
            ended = [key[2] for key in keys if (row := rows[key]) is None or row.status != "open"]  # type: ignore[union-attr]  # a key begins with its row's type
            return [item for id in ended for item in self._elsewhere.pop(id) if self._has_room(item)]
        return []

    def _has_room(self, item: Item) -> bool:
        """Whether what waited may be stepped again; it may clear another operation, which takes a slot."""
        if isinstance(item.command, Propose) and item.command.proposal.mode == "execute":
            try:
                self._runner.reserve(item.tenant)
            except Overloaded as error:
                self._fail([item], error)
                return False
            item.slot = True
        return True

    def _sealed(self, world: World, signed: set[str]) -> tuple[Append, dict[str, Exception]]:
        """Seals the batch; what a command put in that cannot be written or signed fails that command alone."""
        try:
            append, unsigned = self._sealer.seal(world, signed)
            append.rows += deliveries(world)
            append.gone += world.gone.values()
            return append, unsigned
        except StoreError:
            raise
        except Exception as error:
            raise StoreRefused(f"the batch cannot be written: {type(error).__name__}") from error

    def _to_sign(self, batch: list[Item]) -> set[str]:
        """Tenants whose head is a second old, or asked for."""
        late = self._monotonic() - CHECKPOINT_SECONDS
        due = {tenant for tenant, since in self._unsigned.items() if since <= late}
        return due | {item.tenant for item in batch if item.command is None}

    def _step(self, world: World, item: Item, ahead: Ahead) -> Change | Exception:
        """Steps one command. What it raises is its own failure, not the batch's.

        Args:
            ahead: what is stepped after it.
        """
        if item.command is None:
            return Change(world, item.tenant)
        try:
            change = rounds(self._read, self._domains, world, item.command, ahead)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  a defect one command runs into must not take the others with it
            return error
        world.take(change)
        return change

    def _deliver(
        self, item: Item, change: Change | Exception, loaded: float, notes: Mapping[str, bytes | Exception]
    ) -> None:
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
            clearance, proposal, contract = change.run
            self._waiters.setdefault(clearance.id, [])  # for calls that ask for it while it runs
            cleared_ago = (change.at - clearance.cleared_at) / 1_000  # by an earlier try, whose reply was lost
            self._runner.start(clearance, proposal, contract, loaded - cleared_ago)
        elif item.slot:
            item.slot = False
            self._runner.release(item.tenant)
        if item.future is None:
            return
        if item.command is None:
            _answer(item.future, notes[item.tenant])
        elif change.wait is None:
            _answer(item.future, change.answer)
        elif change.wait in self._waiters:
            self._waiters[change.wait].append(item.future)
        elif not self._store.exclusive:
            self._elsewhere.setdefault(change.wait, []).append(item)
        else:
            message = f"this call is in flight as `{change.wait}`; ask again for its outcome"
            _answer(item.future, Conflict(message, operation_id=change.wait))

    def _fail(self, batch: Iterable[Item], error: Exception) -> None:
        for item in batch:
            if item.slot:
                item.slot = False
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
        for items in self._elsewhere.values():
            self._fail(items, error)
        self._elsewhere.clear()

    def _try_to_sign(self) -> None:
        try:
            self._commit([Item(tenant, None, None) for tenant in self._unsigned], [])
        except StoreError as error:
            self.failure = error


def _ahead(batch: list[Item], start: int) -> Ahead:
    return lambda: (item.command for item in islice(batch, start, None) if item.command is not None)


def _told(attempt: Attempt) -> bool:
    attempt.tell()
    return True


def _pause(seconds: float, number: int) -> None:
    """Longer from time to time, and never as long as another lane's that met the same trouble."""
    time.sleep(random.uniform(0, seconds * min(number, 8)))


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
