"""What a scenario is played on: the pure step, the runtime over each store, and a server over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import asdict

import kiff.runtime.runtime
from kiff import ActionFailed, Caller, Domain, Operation, Principal, Runtime
from kiff.canonical import encode
from kiff.ledger import PublicKeys
from kiff.ledger.keys import Ed25519Signer
from kiff.runtime.executors import Running
from kiff.runtime.lane import Item, Lane
from kiff.runtime.ports import Slice, Store
from kiff.runtime.rounds import ROUNDS, load
from kiff.runtime.step import step
from kiff.runtime.world import Change, NotLoaded, World
from kiff.stores.memory import MemoryStore
from kiff.stores.opening import open_store

START = 1_779_616_435_000
SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
PATIENCE_SECONDS = 20.0
"""How long a test waits for what must come; reaching it is a failure."""


class SetClock:
    """Time that stands still until a scenario moves it."""

    def __init__(self) -> None:
        self.wall = START
        self.steady = 0.0

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


class Counter:
    """Ids in the order they are drawn."""

    def __init__(self) -> None:
        self._next = 0
        self._lock = threading.Lock()

    def draw(self) -> str:
        with self._lock:
            self._next += 1
            return f"{self._next:026d}"


class Outside:
    """The world that executors change. It counts what really happened there.

    Attributes:
        behaviour: how the next call goes (spec/scenarios/README.md lists the words).
        effects: entity -> how often it was changed.
    """

    def __init__(self) -> None:
        self.behaviour: Any = "succeed"
        self.effects: dict[str, int] = {}
        self.hanging = 0
        self._turn = threading.Condition()
        self._released: Any = None

    def __call__(self, operation: Operation) -> Any:
        with self._turn:
            behaviour = self.behaviour
            if behaviour == "hang":
                self.hanging += 1
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._released is not None, PATIENCE_SECONDS)
                behaviour = self._released
                self.hanging -= 1
                self._turn.notify_all()
            return self._behave(behaviour, f"{operation.entity_type}:{operation.entity_id}")

    def _behave(self, behaviour: Any, entity: str) -> Any:
        answer = behaviour["answer"] if isinstance(behaviour, dict) else {"status": "succeeded", "message": "done"}
        if behaviour == "fail":
            raise ActionFailed("the outside said no")
        if answer["status"] != "failed":
            self.effects[entity] = self.effects.get(entity, 0) + 1
        if behaviour == "raise":
            raise ConnectionError("the line went dead after the request was sent")
        return "ok" if behaviour == "garbage" else answer

    def wait_until_hanging(self, count: int) -> None:
        with self._turn:
            assert self._turn.wait_for(lambda: self.hanging >= count, PATIENCE_SECONDS), "the executor never started"

    def release(self, behaviour: Any) -> None:
        """Lets hanging executors go on like this, and waits until they have."""
        with self._turn:
            self._released = behaviour
            self._turn.notify_all()
            assert self._turn.wait_for(lambda: self.hanging == 0, PATIENCE_SECONDS)
            self._released = None


class StepLane(Lane):
    """A lane with neither queue nor thread: each command is one pure step over a world that starts empty.

    Whatever the step reads it has to ask for; a second step over the same world must change the same; and the
    keys a command names at submit must be enough for a lane's few rounds of loading.
    """

    def __init__(self, store: Store, *args: Any, **options: Any) -> None:
        super().__init__(store, *args, **options)
        self._turn = threading.RLock()
        self.queue = self  # type: ignore[assignment]

    def start(self) -> None:
        pass

    def close(self) -> None:
        self._sealer.close()

    def put(self, tenant: str, item: Item, *, bounded: bool = True) -> None:
        with self._turn:
            self._serve([item])

    def _step(self, world: World, item: Item, ahead: object = None) -> Change | Exception:
        if item.command is None:
            return Change(world, item.tenant)
        try:
            rounds, _ = self._asked(World(self._context, self._slice(item, named=True)), item)
            assert rounds <= ROUNDS, f"{item.command} asked {rounds} times; a lane gives up after {ROUNDS}"
            _, change = self._asked(World(self._context, self._slice(item, named=False)), item)
            assert shown(change) == shown(step(change.world, item.command)), "a step that is not pure"
        except kiff.KiffError as error:
            return error
        world.take(change)
        return change

    def _slice(self, item: Item, *, named: bool) -> Slice:
        assert item.command is not None
        return self._store.load([item.tenant], item.command.reads() if named else [])

    def _asked(self, world: World, item: Item) -> tuple[int, Change]:
        """Steps until nothing is missing. Returns how often it asked."""
        assert item.command is not None
        for rounds in range(40):
            try:
                return rounds, step(world, item.command)
            except NotLoaded as missing:
                load(self._store.load, self._domains, world, missing.keys)
        raise AssertionError(f"{item.command} never had enough")


def shown(change: Change) -> Any:
    """What a change says, as values that compare."""
    answer = change.answer
    told = (type(answer), answer.args) if isinstance(answer, Exception) else answer
    records = [{**asdict(record), "data": encode(record.data)} for record in change.records]
    return told, change.wait, change.run, change.resolved, change.rows, records


class Driver(Protocol):
    """What a scenario asks of whatever it is played on."""

    def send(self, verb: str, who: dict[str, Any], arguments: dict[str, Any]) -> Future[Any]:
        """One call on its way.

        Args:
            who: the principal as the file has it, with `id`, `roles` and `tenant`.
        """

    def running(self) -> list[Running]:
        """Operations that an executor has."""

    def sweep(self) -> None:
        """What the sweep's thread does once a second, now."""

    def settled(self) -> None:
        """Waits until everything that was reported before this has been served: a lane keeps a tenant's order."""

    def trail(self, entity: str) -> list[dict[str, Any]]:
        """An entity's records."""

    def state(self, entity: str) -> str | None: ...

    def approvals(self) -> list[str]:
        """Statuses, oldest first."""

    def operations(self) -> list[str]:
        """Statuses, oldest first."""

    def rebuilt(self, entity: str) -> bool:
        """Whether an entity's events fold to the state it is in."""

    def receipt(self, receipt_id: str) -> dict[str, Any]:
        """A receipt with its proofs."""

    def keys(self) -> PublicKeys:
        """The published keys."""

    def close(self) -> None: ...


class InProcess:
    """A runtime in this process, which vouches for its callers."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        runtime._sweeper.close()

    def send(self, verb: str, who: dict[str, Any], arguments: dict[str, Any]) -> Future[Any]:
        about = dict(who)
        roles, tenant = tuple(about.pop("roles", ())), about.pop("tenant", "default")
        caller = Caller(Principal(**about), roles, tenant)
        first = FIRST.get(verb)
        positional = () if first is None else (arguments.pop(first),)
        pending: Future[Any] = getattr(self.runtime, METHODS.get(verb, verb))(caller, *positional, **arguments)
        return pending

    def running(self) -> list[Running]:
        return self.runtime.running()

    def sweep(self) -> None:
        sweep(self.runtime)

    def settled(self) -> None:
        self.runtime.checkpoint().result(timeout=PATIENCE_SECONDS)

    def trail(self, entity: str) -> list[dict[str, Any]]:
        return self.runtime.read.timeline(entity)

    def state(self, entity: str) -> str | None:
        return getattr(self.runtime.read.state(entity), "state", None)

    def approvals(self) -> list[str]:
        return [row.status for row in self.runtime.read.approvals()]

    def operations(self) -> list[str]:
        return [row.status for row in self.runtime.read.operations()]

    def rebuilt(self, entity: str) -> bool:
        return self.runtime.read.rebuild(entity).match

    def receipt(self, receipt_id: str) -> dict[str, Any]:
        return self.runtime.read.receipt(receipt_id, proof=True)

    def keys(self) -> PublicKeys:
        return PublicKeys([SIGNER.public])

    def close(self) -> None:
        self.runtime.close()


METHODS = {"decide": "propose"}
"""Verbs of a scenario that the runtime calls otherwise."""
FIRST = {"grant": "approval_id", "deny": "approval_id", "settle": "operation_id"}
"""What a verb takes first, and by no name."""


def open_on(
    driver: str, folder: Path, domain: Domain, clock: SetClock, outside: Outside, database: str = ""
) -> InProcess:
    """A runtime whose sweep runs only when it is told to.

    Args:
        database: the URL of an empty one, for `postgres`.
    """
    stores: dict[str, Callable[[], Store]] = {
        "step": lambda: MemoryStore(clock),
        "memory": lambda: MemoryStore(clock),
        "sqlite": lambda: open_store(str(folder / "kiff.db"), clock=clock),
        "postgres": lambda: open_store(database, clock=clock),
    }
    real = kiff.runtime.runtime.Lane
    kiff.runtime.runtime.Lane = StepLane if driver == "step" else real  # type: ignore[misc]
    try:
        runtime = Runtime(
            stores[driver](),
            SIGNER,
            domains=[domain],
            executors=executors_of(domain, outside),
            clock=clock,
            ids=Counter(),
        )
    finally:
        kiff.runtime.runtime.Lane = real  # type: ignore[misc]
    return InProcess(runtime)


def executors_of(domain: Domain, outside: Outside) -> dict[str, Outside]:
    """Whatever the domain's actions name changes the same outside."""
    return {contract.executor_name: outside for contract in domain.actions.values() if contract.executor_name}


def sweep(runtime: Runtime) -> None:
    """What the sweep's thread does once a second, now."""
    runtime._sweeper._overdue()
    runtime._sweeper._due()
