"""Callers who do not give up, alone and in a crowd: what failed is asked again, with the same id.

They tell what they were answered: what a store had promised when it broke.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from refund_shop import HUMAN, STRIPE, WAIT, large_refund, refund

from kiff import Runtime
from kiff.errors import ApprovalDecided, Conflict, Overloaded, StoreError
from kiff.runtime.pending import Pending

READY_SECONDS = 10.0
"""Within so many seconds of a fault a call is answered again."""
PAUSE_SECONDS, LOOK_SECONDS = 0.02, 0.25

Told = Callable[[dict[str, Any]], None]
"""Takes {"event": id, "entity": ref} or {"receipt": id, "operation": id or None, "status": status or None}."""


class NotReady(AssertionError):
    """A call was not answered in time."""


def answered(ask: Callable[[], Pending[Any]], outage: Callable[[], bool] = lambda: False) -> Any:
    """The answer to a call, asked again until the store serves.

    Args:
        outage: whether the database is down on purpose now; that time does not count.
    """
    end = time.monotonic() + READY_SECONDS
    pending: Pending[Any] | None = None
    failed: Exception | None = None
    while time.monotonic() < end:
        if outage():
            end = time.monotonic() + READY_SECONDS
        try:
            pending = pending or ask()
            return pending.result(LOOK_SECONDS)
        except TimeoutError as error:
            failed = error
            continue
        except ApprovalDecided:
            raise
        except (StoreError, Overloaded, Conflict) as error:  # a conflict: in flight somewhere, so it is asked again
            pending, failed = None, error
        time.sleep(PAUSE_SECONDS)
    raise NotReady(f"no answer within {READY_SECONDS} seconds, the last one was: {failed!r}")


def serves(runtime: Runtime, order: str) -> bool:
    """Whether a runtime takes in, decides and runs, each within the time that a call may take.

    What the executor's own network does to it is another matter: its outcome may be unknown.
    """
    entity = f"order:{order}"
    for kind in ("ORDER_PLACED", "ORDER_PAID"):
        id = f"{order}_{kind}"
        answered(lambda kind=kind, id=id: runtime.ingest(STRIPE, type=kind, entity=entity, id=id))  # type: ignore[misc]
    return answered(lambda: refund(runtime, entity, id=f"prop_{order}")).status in ("succeeded", "unknown")


class Caller:
    """One of them. Its orders are its own, or shared with those of the same `crowd`.

    Args:
        seed: draws what is asked for.
        name: makes its ids its own.
    """

    def __init__(
        self,
        runtime: Runtime,
        told: Told,
        seed: int,
        name: str,
        *,
        crowd: str = "",
        outage: Callable[[], bool] = lambda: False,
    ) -> None:
        self._runtime = runtime
        self._told = told
        self._draw = random.Random(seed)
        self._name = name
        self._crowd = crowd
        self._outage = outage
        self._number = 0

    def live(self) -> None:
        """One order's life: it is placed and paid, and somebody wants the money back. Refusals are part of it."""
        self._number += 1
        shared = self._crowd and self._draw.random() < 0.5
        entity = f"order:{self._crowd}{self._number}" if shared else f"order:{self._name}_{self._number}"
        for kind in ("ORDER_PLACED", "ORDER_PAID"):
            self._ingest(kind, entity)
        if self._draw.random() < 0.6:
            self._decided(lambda id: refund(self._runtime, entity, id=id))
        else:
            self._held(entity)

    def _ingest(self, kind: str, entity: str) -> None:
        id = f"{self._name}_{self._number}_{kind}"
        answer = self._answered(lambda: self._runtime.ingest(STRIPE, type=kind, entity=entity, id=id))
        self._told({"event": answer.event_id, "entity": entity})

    def _decided(self, ask: Callable[[str], Pending[Any]]) -> Any:
        id = f"prop_{self._name}_{self._number}"
        answer = self._answered(lambda: ask(id))
        self._told({"receipt": answer.receipt_id, "operation": answer.clearance_id, "status": answer.status})
        return answer

    def _held(self, entity: str) -> None:
        hold = self._decided(lambda id: large_refund(self._runtime, entity, id=id))
        if hold.outcome != "approval_required":
            return
        try:
            self._answered(lambda: self._runtime.grant(HUMAN, hold.approval_id, "verified", key=f"g{hold.approval_id}"))
        except ApprovalDecided:  # another caller was first
            return
        self._decided(lambda id: large_refund(self._runtime, entity, id=id, approval_id=hold.approval_id))

    def _answered(self, ask: Callable[[], Pending[Any]]) -> Any:
        return answered(ask, self._outage)


@contextmanager
def crowd(
    runtimes: list[Runtime], seed: int, outage: Callable[[], bool] = lambda: False
) -> Iterator[list[dict[str, Any]]]:
    """Three callers at work on each runtime. Yields what they are told; at the end raises what went wrong with one."""
    told: list[dict[str, Any]] = []
    wrong: list[BaseException] = []
    over = threading.Event()

    def work(number: int) -> None:
        runtime = runtimes[number % len(runtimes)]
        caller = Caller(runtime, told.append, seed + number, f"c{number}x", crowd="s", outage=outage)
        try:
            while not over.is_set():
                caller.live()
        except BaseException as error:  # noqa: BLE001  told by the thread that waits for this one
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3 * len(runtimes))]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        over.set()
        for thread in threads:
            thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads), "a caller never came back"
    if wrong:
        raise wrong[0]
