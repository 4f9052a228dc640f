"""Running executors: in slots reserved before deciding, on a deadline, outside the lane.

The registry is what the operator passes; a name found in a tenant's YAML is only looked up in it, never imported.
"""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from kiff.canonical import admit
from kiff.errors import ActionFailed, ActionUnknown, InvalidInput, Overloaded
from kiff.protocol.action import ActionContract
from kiff.protocol.clearance import Clearance
from kiff.protocol.ids import require_id
from kiff.protocol.proposal import Proposal
from kiff.runtime.commands import Settle
from kiff.runtime.ports import Clock, Executor, Ids, Remote

MESSAGE_CHARACTERS = 2_000
OUTPUT_BYTES = 65_536
EVENTS = 32
"""How many events one report may name: each is folded while others wait."""


class Operation(Struct, frozen=True):
    """What an executor is given.

    Args:
        id: pass it on as the idempotency key of the effect.
        entity_type, entity_id: `order`, `ord_002`.
        principal: who proposed it.
        deadline: instant (ms since the epoch) after which nobody waits for the answer.
        fencing: grows with every clearance on the entity; an outside system can refuse a smaller one.
    """

    id: str
    tenant: str
    entity_type: str
    entity_id: str
    action: str
    parameters: dict[str, Any]
    principal: str
    deadline: int
    fencing: int
    approval_id: str | None
    receipt_id: str
    trace_id: str


class Running(Struct, frozen=True):
    """An operation in its slot."""

    operation: Operation
    tenant: str
    deadline: float


class Slots:
    """A fixed number of threads that run executors. A hung one keeps its slot, and is shown.

    Args:
        report: takes the outcome, as a Settle command.
        share: how many of them one tenant may hold, so that the others keep some.
        remote: what a contract names by its address, when no name is registered for it.
    """

    def __init__(
        self,
        executors: Mapping[str, Executor],
        size: int,
        report: Callable[[Settle], None],
        clock: Clock,
        ids: Ids,
        probe: Callable[[str], None] | None,
        *,
        share: int | None = None,
        remote: Remote | None = None,
    ) -> None:
        self._executors = dict(executors)
        self._remote = remote
        self._size = size
        self._report = report
        self._clock = clock
        self._ids = ids
        self._probe = probe
        self._share = size if share is None else share
        self._free = size
        self._held: dict[str, int] = {}
        self._threads = 0
        self._idle = 0
        self._work: deque[tuple[Executor, Operation]] = deque()
        self._running: dict[str, Running] = {}
        self._gone: set[str] = set()
        self._closed = False
        self._lock = threading.Condition(threading.Lock())

    def reserve(self, tenant: str) -> None:
        """Takes a slot before a decision is asked for.

        Raises:
            Overloaded: every slot is taken, or the tenant's share of them; nothing was recorded.
        """
        with self._lock:
            held = self._held.get(tenant, 0)
            if self._free == 0 or held >= self._share:
                slots = self._share if self._free else self._size
                raise Overloaded(f"all {slots} executor slots are taken; try again shortly", slots=slots)
            self._free -= 1
            self._held[tenant] = held + 1

    def release(self, tenant: str) -> None:
        with self._lock:
            self._free += 1
            held = self._held.pop(tenant) - 1
            if held:
                self._held[tenant] = held

    def start(self, clearance: Clearance, proposal: Proposal, contract: ActionContract, since: float) -> None:
        """Runs a cleared proposal in the slot that was reserved for it.

        INVARIANT: one whose time is up is not begun: another process may have given it up by now, and a person settled
        it. Its commit took that long, or the reply of it was lost.

        Args:
            since: monotonic seconds of when it was cleared, or before.
        """
        deadline = since + contract.timeout_seconds
        if deadline <= self._clock.monotonic():
            self.release(clearance.tenant)
            message = "its time was up before it could be started; nothing was sent"
            entity, suffix = clearance.entity, self._ids.draw()
            self._report(
                Settle(clearance.tenant, clearance.id, "failed", "executor", suffix, entity=entity, message=message)
            )
            return
        entity_type, _, entity_id = clearance.entity.partition(":")
        operation = Operation(
            clearance.id,
            clearance.tenant,
            entity_type,
            entity_id,
            clearance.action,
            proposal.parameters,
            clearance.principal,
            clearance.deadline,
            clearance.fencing,
            clearance.approval_id,
            clearance.receipt_id,
            clearance.trace_id,
        )
        with self._lock:
            self._running[operation.id] = Running(operation, clearance.tenant, deadline)
            self._work.append((self._executor(contract.executor_name, contract.timeout_seconds), operation))
            if self._idle:
                self._lock.notify()
            elif self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._serve, name="kiff-executor", daemon=True).start()

    def _executor(self, name: str, seconds: float) -> Executor:
        """What the gate found ready, under that name or at that address."""
        if name in self._executors or self._remote is None:
            return self._executors[name]
        remote = self._remote
        return lambda operation: remote.run(name, operation, seconds)

    def overdue(self) -> list[Running]:
        """Operations past their deadline, each told once."""
        now = self._clock.monotonic()
        with self._lock:
            late = [r for r in self._running.values() if r.deadline <= now and r.operation.id not in self._gone]
            self._gone.update(running.operation.id for running in late)
            return late

    def in_flight(self) -> list[Running]:
        with self._lock:
            return list(self._running.values())

    def close(self, timeout: float) -> None:
        """Waits for what runs, up to `timeout` seconds. What is still running then is unknown after the next start."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
            self._lock.wait_for(lambda: not self._running, timeout)

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not self._work:
                    if self._closed:
                        return
                    self._idle += 1
                    self._lock.wait()
                    self._idle -= 1
                executor, operation = self._work.popleft()
            outcome = self._run(executor, operation)
            self.release(operation.tenant)  # before the answer goes out: its caller may ask for the next slot at once
            self._report(outcome)
            with self._lock:
                self._running.pop(operation.id, None)
                self._gone.discard(operation.id)
                if self._closed:
                    self._lock.notify_all()

    def _run(self, executor: Executor, operation: Operation) -> Settle:
        if self._probe is not None:
            self._probe("execute")
        try:
            said = executor(operation)
            if inspect.isawaitable(said):
                said = _awaited(said)
            status, message, output, events = _read(said)
        except ActionFailed as failure:
            status, message, output, events = _read({"status": "failed", "message": str(failure.message)})
        except ActionUnknown as doubt:
            status, message, output, events = "unknown", _sound(str(doubt.message)), b"null", None
        except BaseException as error:  # noqa: BLE001  the operator's code: whatever it raised, the effect may have happened
            # The text of an exception may hold a secret, so only its type is told.
            status, message, output, events = (
                "unknown",
                f"the executor raised {type(error).__name__}",
                b"null",
                None,
            )
        if self._probe is not None:
            self._probe("executed")
        return Settle(
            tenant=operation.tenant,
            operation_id=operation.id,
            status=status,  # type: ignore[arg-type]  # _read lets only these pass
            by="executor",
            suffix=self._ids.draw(),
            entity=f"{operation.entity_type}:{operation.entity_id}",
            message=message,
            output=output,
            events=events,
        )


def _awaited(awaitable: Any) -> Any:
    import asyncio

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


def _sound(message: str) -> str:
    """A message that fits in a record."""
    try:
        return str(admit(message[:MESSAGE_CHARACTERS], field="message").value)
    except InvalidInput:
        return "the executor cannot tell whether it happened"


def _read(said: object) -> tuple[str, str, bytes, tuple[tuple[str, bytes], ...] | None]:
    """What an executor returned: {status, message?, output?, events?}. Anything else is garbage, so unknown."""
    if not isinstance(said, dict) or said.get("status") not in ("succeeded", "failed"):
        return "unknown", "the executor did not return {status: succeeded|failed, ...}", b"null", None
    strange = sorted(str(key) for key in said if key not in ("status", "message", "output", "events"))
    message = said.get("message", "")
    if strange or not isinstance(message, str):
        return "unknown", "the executor returned fields that do not belong to an outcome", b"null", None
    try:
        message = admit(message[:MESSAGE_CHARACTERS], field="message").value
        output = admit(said.get("output"), field="output", max_bytes=OUTPUT_BYTES).data
        events = None if "events" not in said else read_events(said["events"])
    except InvalidInput as error:
        return "unknown", f"the executor returned something that does not fit in `{error.field}`", b"null", None
    return said["status"], message, output, events


def read_events(events: object) -> tuple[tuple[str, bytes], ...]:
    """What a report says about events, as (type, canonical payload).

    Raises:
        InvalidInput: not a list of names and {"type", "payload"}, or too many of them.
    """
    if not isinstance(events, list | tuple) or len(events) > EVENTS:
        raise InvalidInput(f"expected a list of at most {EVENTS} events", field="events")
    return tuple(_event(event) for event in events)


def _event(event: object) -> tuple[str, bytes]:
    """`ORDER_REFUNDED`, or {"type": "ORDER_REFUNDED", "payload": {...}}."""
    if isinstance(event, str):
        return require_id(event, "events"), b"{}"
    if isinstance(event, Mapping) and event.keys() <= {"type", "payload"}:
        payload = event.get("payload", {})
        if isinstance(payload, Mapping):
            return require_id(event.get("type"), "events"), admit(dict(payload), field="events.payload").data
    raise InvalidInput('an event is a name, or {"type", "payload"}', field="events")
