"""Every order in which a few commands can happen, by breadth-first search over the real `step`.

A state is the rows of the store, the time, what each replica has stepped and not yet written, and what happened.
Replicas load, step and append with the head's compare-and-set, so what one has stepped may be stale by then; the reply
of an append may be lost, or the replica may die. States that are equal are visited once. After every move the promises
of `promises.py` are held against what is there; the way to the first broken one is the shortest there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from promises import Happened, Truths, broken_by_telling, broken_promise, truth_of
from tills import CALLERS, DOMAIN, START

from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.instant import rfc3339
from kiff.runtime.commands import Command, Expire, Settle
from kiff.runtime.edge import Edge
from kiff.runtime.governed import Governed
from kiff.runtime.ports import Key, Slice
from kiff.runtime.rows import ActiveDomain, LogHead
from kiff.runtime.step import step
from kiff.runtime.world import Change, Context, World

TENANT = "default"
CONTEXT = Context("replica", frozenset({"till.pay"}), {DOMAIN.digest: DOMAIN})
GOVERNS = Governed({(TENANT, "till"): DOMAIN})


class Everything(dict[Key, Any]):
    """The whole store as one slice: what is not in it is known to be absent."""

    def __missing__(self, key: Key) -> None:
        return None

    def __contains__(self, key: object) -> bool:
        return True


class Suffix:
    """Ids whose every draw is the same: a command draws one."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix

    def draw(self) -> str:
        return self._suffix


class Sent(NamedTuple):
    """One command of a universe, which is sent once.

    Args:
        needs: the id of an approval or a clearance without which nobody could send it.
    """

    name: str
    command: Command
    needs: str = ""


def call(
    name: str, who: str, action: str, amount: int, *, id: str, mode: str = "execute", approval: str = "", **more: Any
) -> Sent:
    drawn = Edge(Suffix(name), GOVERNS).propose(
        mode,  # type: ignore[arg-type]
        CALLERS[who],
        entity="till:a",
        action=action,
        parameters={"amount": amount},
        id=id,
        approval_id=approval or None,
        **more,
    )
    return Sent(name, drawn, approval)


def review(
    name: str, who: str, verdict: str, approval: str, *, key: str | None = None, use_within: int | None = None
) -> Sent:
    """`use_within` counts from the start of the universe."""
    until = None if use_within is None else rfc3339(START + use_within)
    edge = Edge(Suffix(name), GOVERNS)
    drawn = edge.review(CALLERS[who], approval, verdict, "seen", key, expires_at=until)  # type: ignore[arg-type]
    return Sent(name, drawn, approval)


def settle(name: str, who: str, operation: str, status: str) -> Sent:
    return Sent(name, Edge(Suffix(name), GOVERNS).settle(CALLERS[who], operation, status), operation)  # type: ignore[arg-type]


def event(name: str, who: str, type: str) -> Sent:
    return Sent(name, Edge(Suffix(name), GOVERNS).ingest(CALLERS[who], type=type, entity="till:a", id=name))


class Universe(NamedTuple):
    """What can happen.

    Args:
        commands: each is sent once, in any order.
        ticks: how the time passes (ms), one after the other, at any moment.
        sweeps: whether deadlines are swept, at any moment.
        reports: how an executor may answer.
        replicas: 0: every command is atomic; otherwise how many load, step and append.
        losses: how many replies of appends may be lost, and how many replicas may die, together.
        truths: what the commands are about.
    """

    commands: tuple[Sent, ...]
    ticks: tuple[int, ...] = ()
    sweeps: bool = True
    reports: tuple[str, ...] = ()
    replicas: int = 0
    losses: int = 0
    truths: Truths = MappingProxyType({})


class Flight(NamedTuple):
    """What a replica has stepped and not written; or has written, and does not know."""

    sent: int
    version: int
    change: Change
    stands: bool = False


class State(NamedTuple):
    rows: Everything
    version: int
    last_at: int
    ticks: int
    sent: frozenset[int]
    flights: tuple[Flight | None, ...]
    losses: int
    happened: Happened

    def key(self) -> Any:
        flights = tuple(f and (f.sent, f.version == self.version, _seen(f.change), f.stands) for f in self.flights)
        happened, rows = self.happened.key(), frozenset(self.rows.values())
        return rows, self.last_at, self.ticks, self.sent, flights, self.losses, happened


def _seen(change: Change) -> Any:
    return frozenset(change.rows.values()), repr(change.answer), change.run is None


class Found(NamedTuple):
    """What the search came to.

    Args:
        states: how many were visited.
        trace: the moves to the first broken promise; empty when none was broken.
        complete: everything that can happen was seen.
    """

    states: int
    moves: int
    broken: str
    trace: tuple[str, ...]
    complete: bool


def search(make: Callable[[], Universe], *, most: int) -> Found:
    """Visits states, the nearest first, until a promise is broken, all were seen, or there were `most` of them."""
    universe = make()
    universe = universe._replace(truths=truth_of(sent.command for sent in universe.commands))
    start = _start(universe)
    came: dict[Any, tuple[Any, str]] = {start.key(): (None, "")}
    queue = deque([(start, start.key())])
    moves = 0
    while queue:
        state, key = queue.popleft()
        for name, after, broken in _moves(universe, state):
            moves += 1
            if broken:
                return Found(len(came), moves, broken, (*_trace(came, key), name), False)
            reached = after.key()
            if reached not in came:
                if len(came) >= most:
                    return Found(len(came), moves, "", (), False)
                came[reached] = (key, name)
                queue.append((after, reached))
    return Found(len(came), moves, "", (), True)


def _trace(came: Mapping[Any, tuple[Any, str]], key: Any) -> list[str]:
    back: list[str] = []
    while came[key][0] is not None:
        key, name = came[key]
        back.append(name)
    return back[::-1]


def _start(universe: Universe) -> State:
    """The till is open, and nothing else happened."""
    rows = Everything({(ActiveDomain, TENANT, "till"): ActiveDomain(TENANT, "till", "tills", "v1", DOMAIN.digest)})
    state = State(rows, 0, START, 0, frozenset(), (None,) * universe.replicas, 0, Happened())
    opened = event("opened", "feed", "OPENED").command
    return _written(universe, state, _stepped(universe, state, opened), opened, delivered=True)[0]


Move = tuple[str, State, str]


def _moves(universe: Universe, state: State) -> Iterator[Move]:
    for number, sent in enumerate(universe.commands):
        if number not in state.sent and _may_be_sent(state, sent):
            yield from _taken_in(universe, state, number, sent)
    for replica, flight in enumerate(state.flights):
        if flight is not None:
            yield from _flown(universe, state, replica, flight)
    if state.ticks < len(universe.ticks):
        yield "time passes", state._replace(ticks=state.ticks + 1), ""
    yield from _reported(universe, state)
    if universe.sweeps:
        yield from _swept(universe, state)


def _may_be_sent(state: State, sent: Sent) -> bool:
    if not sent.needs:
        return True
    kind = ApprovalRequest if sent.needs.startswith("appr_") else Clearance
    return state.rows[kind, TENANT, sent.needs] is not None


def _taken_in(universe: Universe, state: State, number: int, sent: Sent) -> Iterator[Move]:
    taken = state._replace(sent=state.sent | {number})
    if not universe.replicas:
        yield _move(f"{sent.name}", universe, taken, sent.command)
        return
    for replica, flight in enumerate(state.flights):
        if flight is None:
            change = _stepped(universe, state, sent.command)
            flights = _with(state.flights, replica, Flight(number, state.version, change))
            yield f"replica {replica} steps {sent.name}", taken._replace(flights=flights), ""
            return  # replicas are alike: which of them it is makes no difference


def _flown(universe: Universe, state: State, replica: int, flight: Flight) -> Iterator[Move]:
    """A replica writes what it has stepped, and is told so, or is not; or it dies."""
    name = f"replica {replica} writes {universe.commands[flight.sent].name}"
    command = universe.commands[flight.sent].command
    landed = state._replace(flights=_with(state.flights, replica, None))
    if flight.stands:
        told = landed._replace(happened=state.happened.told(flight.change, command))
        broken = broken_by_telling(state.rows, flight.change, command, told.happened)
        yield f"replica {replica} finds what it wrote", told, broken
        return
    first = is_first(flight.version, state.version)
    if not first:
        again = Flight(flight.sent, state.version, _stepped(universe, state, command))
        yield f"{name}: another was first", state._replace(flights=_with(state.flights, replica, again)), ""
    else:
        after, broken = _written(universe, landed, flight.change, command, delivered=True)
        yield name, after, broken
    if state.losses < universe.losses:
        dead = landed._replace(losses=state.losses + 1)
        yield f"replica {replica} dies before it writes {universe.commands[flight.sent].name}", dead, ""
        if first:
            after, broken = _written(universe, dead, flight.change, command, delivered=False)
            yield f"{name} and dies", after, broken
            doubts = after._replace(flights=_with(after.flights, replica, flight._replace(stands=True)))
            yield f"{name}, the reply is lost", doubts, broken


def is_first(seen: int, version: int) -> bool:
    """The head's compare-and-set."""
    return seen == version


def _reported(universe: Universe, state: State) -> Iterator[Move]:
    for operation in state.happened.working:
        left = state._replace(happened=state.happened.reported(operation))
        for status in universe.reports:
            report = Settle(TENANT, operation, status, "executor", f"{operation}-{status}")  # type: ignore[arg-type]
            yield _move(f"executor says {status} of {operation}", universe, left, report)


def _swept(universe: Universe, state: State) -> Iterator[Move]:
    now = _now(universe, state)
    # A lane looks at once whether a commit whose reply was lost is there, so it is sooner than a deadline's grace.
    looked_for = {f.change.run[0].id for f in state.flights if f is not None and f.stands and f.change.run is not None}
    for row in list(state.rows.values()):
        if not isinstance(row, ApprovalRequest | Clearance) or row.id in looked_for:
            continue
        if row.due_at is not None and row.due_at <= now:
            kind = "approval" if isinstance(row, ApprovalRequest) else "clearance"
            expire = Expire(TENANT, kind, row.id, f"due-{row.id}-{row.status}")  # type: ignore[arg-type]
            yield _move(f"sweep of {row.id}", universe, state, expire)


def _move(name: str, universe: Universe, state: State, command: Command) -> Move:
    """One command, whole."""
    return name, *_written(universe, state, _stepped(universe, state, command), command, delivered=True)


def _now(universe: Universe, state: State) -> int:
    return START + sum(universe.ticks[: state.ticks])


def _stepped(universe: Universe, state: State, command: Command) -> Change:
    head = LogHead(TENANT, "log", 0, b"", b"", state.last_at)
    return step(World(CONTEXT, Slice(_now(universe, state), {TENANT: head}, state.rows)), command)


def _written(
    universe: Universe, state: State, change: Change, command: Command, *, delivered: bool
) -> tuple[State, str]:
    """The state when a change is durable, and which promise it breaks."""
    moved = bool(change.records or change.rows)
    rows = Everything({**state.rows, **change.rows}) if change.rows else state.rows
    last_at = change.at if change.records else state.last_at
    happened = state.happened.written(change)
    happened = happened.told(change, command) if delivered else happened
    after = state._replace(rows=rows, version=state.version + moved, last_at=last_at, happened=happened)
    return after, broken_promise(universe.truths, state.rows, rows, change, command, happened, delivered=delivered)


def _with(flights: tuple[Flight | None, ...], at: int, flight: Flight | None) -> tuple[Flight | None, ...]:
    return (*flights[:at], flight, *flights[at + 1 :])
