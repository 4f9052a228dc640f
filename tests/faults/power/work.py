"""The program that loses its power, or whose disk fails: callers of a runtime, one round after the other.

It says in the trace, between the operations of the disk, every answer it was given and every effect it made, at the
moment it was. Standard input brings plans, one JSON line each; a forked child runs it:

    {"disk": folder, "trace": file, "seed": n, "rounds": n, "fail": null | [call, at, errno, for_ever, short],
     "mutant": "" | "careless" | "hasty", "kill": false, "made": operations whose effect was made before,
     "patience": seconds for an answer}
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from kiff import Operation, Runtime
from kiff.errors import KiffError, StoreError
from kiff.runtime.ports import Append
from kiff.stores import sqlite
from power.disk import inodes_of
from power.shop import AGENT, HUMAN, OWNER, domain, event, open_shop, refund
from power.trace import say

CALLS = ("write", "sync", "truncate", "open", "read", "unlink", "map")
"""What can fail, in the order of shim.c."""
HANGS_SECONDS = 120
COPY_BACK_BYTES = 96 << 10
"""Small, so that a short run copies its write-ahead log back, and starts it over, many times."""


class HastyStore:
    """The mutant: it takes an append that failed for one that was made."""

    def __init__(self, store: sqlite.SqliteStore) -> None:
        self._store = store

    def append(self, batch: Append) -> None:
        try:
            self._store.append(batch)
        except StoreError:
            batch.receipts = list(batch.receipts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def careless(store: sqlite.SqliteStore) -> sqlite.SqliteStore:
    """The mutant: it answers before anything is synced."""
    store._writer.execute("PRAGMA synchronous = OFF")
    return store


MUTANTS: dict[str, Callable[[sqlite.SqliteStore], Any]] = {"": lambda s: s, "careless": careless, "hasty": HastyStore}


class Work:
    """Rounds of everything that callers do. What fails is said, and the next thing is tried."""

    def __init__(self, runtime: Runtime, bank: Bank, trace: int, seed: int, patience: float) -> None:
        self._runtime = runtime
        self._bank = bank
        self._trace = trace
        self._patience = patience
        self._draw = random.Random(seed)
        self._name = f"{seed:x}"
        self._placed = 0
        self._paid: list[str] = []

    def round(self) -> None:
        """A few orders, then something with one of them."""
        for entity in [self._new() for _ in range(self._draw.randrange(1, 4))]:
            self._wait(self._event("PLACED", entity), self._event("PAID_FOR", entity))
            self._paid.append(entity)
        works = (self._small, self._at_once, self._large, self._large, self._erase, self._settle, self._note)
        self._draw.choice(works)()

    def _small(self) -> None:
        self._wait(*(self._refund(self._take()) for _ in range(self._draw.randrange(1, 4)) if self._paid))

    def _at_once(self) -> None:
        entity = self._take()
        self._wait(*(self._refund(entity) for _ in range(3)), self._event("NOTED", entity))

    def _large(self) -> None:
        entity = self._take()
        hold = self._wait(self._refund(entity, large=True))[0]
        if hold is None or hold.approval_id is None:
            return
        say_no = self._draw.random() < 0.2
        review = self._runtime.deny if say_no else self._runtime.grant
        self._wait(self._ask("reviewed", lambda: review(HUMAN, hold.approval_id, "looked at it")))
        again = {"id": hold.proposal_id, "approval_id": hold.approval_id}
        self._wait(self._ask("decided", lambda: refund(self._runtime, entity, large=True, **again)))

    def _erase(self) -> None:
        entity = self._take()
        self._wait(self._refund(entity))
        self._wait(self._ask("erased", lambda: self._runtime.erase(OWNER, entity)))

    def _settle(self) -> None:
        """A person looks at the bank, and says how it was."""
        for operation in self._unknown()[:2]:
            status: Any = "succeeded" if operation.id in self._bank.made else "failed"
            self._wait(self._ask("settled", lambda: self._runtime.settle(HUMAN, operation.id, status)))  # noqa: B023

    def _unknown(self) -> list[Any]:
        try:
            return self._runtime.read.operations(status="unknown")
        except Exception as error:  # noqa: BLE001  it is said, and judged by whoever reads it
            self._failed(error)
            return []

    def _note(self) -> None:
        id = f"note-{self._draw.randrange(3)}"
        self._wait(self._ask("noted", lambda: self._runtime.note(AGENT, id, b'{"seen": true}')))
        self._wait(self._ask("head", self._runtime.checkpoint))

    def _new(self) -> str:
        self._placed += 1
        return f"order:{self._name}-{self._placed}"

    def _take(self) -> str:
        return self._paid.pop(self._draw.randrange(len(self._paid)))

    def _event(self, type: str, entity: str) -> Future[Any] | None:
        return self._ask("event", lambda: event(self._runtime, type, entity))

    def _refund(self, entity: str, *, large: bool = False) -> Future[Any] | None:
        id = f"prop_{self._name}_{self._draw.randrange(1 << 60):x}"
        say(self._trace, {"what": "asked", "proposal": id, "entity": entity, "large": large})
        return self._ask("decided", lambda: refund(self._runtime, entity, large=large, id=id))

    def _ask(self, what: str, ask: Callable[[], Future[Any]]) -> Future[Any] | None:
        """Asks, and says the answer at the moment it comes."""
        try:
            future = ask()
        except Exception as error:  # noqa: BLE001  it is said, and judged by whoever reads it
            self._failed(error)
            return None
        future.add_done_callback(lambda done: self._answered(what, done))
        return future

    def _wait(self, *futures: Future[Any] | None) -> list[Any]:
        answers = []
        for future in futures:
            try:
                answers.append(None if future is None else future.result(self._patience))
            except Exception:  # noqa: BLE001  said already
                answers.append(None)
        return answers

    def _answered(self, what: str, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None:
            self._failed(error)
        else:
            say(self._trace, {"what": what} | _SAID[what](done.result()))

    def _failed(self, error: BaseException) -> None:
        say(self._trace, {"what": "failed", "type": type(error).__name__, "typed": isinstance(error, KiffError)})


def _executed(answer: Any) -> dict[str, Any]:
    call = {"proposal": answer.proposal_id, "entity": answer.entity, "action": answer.action}
    said = {"receipt": answer.receipt_id, "outcome": answer.outcome}
    return call | said | {"operation": answer.clearance_id, "status": answer.status}


_SAID: dict[str, Callable[[Any], dict[str, Any]]] = {
    "event": lambda answer: {"id": answer.event_id, "entity": answer.entity},
    "decided": _executed,
    "reviewed": lambda answer: {"approval": answer.id, "status": answer.status},
    "erased": lambda answer: {"commitments": list(answer.commitments)},
    "settled": lambda answer: {"operation": answer.operation_id, "status": answer.status},
    "noted": lambda answer: {"id": answer.id, "times": answer.times},
    "head": lambda note: {"note": note.decode()},
}


class Bank:
    """Moves money, which nothing undoes; now and then it refuses, or its answer is lost.

    Args:
        made: operations whose money was moved in earlier lives.
    """

    def __init__(self, trace: int, draw: random.Random, made: list[str]) -> None:
        self.made = set(made)
        self._trace = trace
        self._draw = draw

    def issue(self, operation: Operation) -> dict[str, Any]:
        luck = self._draw.random()
        if luck < 0.1:
            return {"status": "failed", "message": "refused by the bank"}
        say(self._trace, {"what": "effect", "operation": operation.id, "order": operation.entity_id})
        self.made.add(operation.id)
        if luck < 0.2:
            raise ConnectionError("no answer")
        return {"status": "succeeded"}


def run(plan: dict[str, Any], shim: ctypes.CDLL) -> None:
    """One plan, in a process of its own."""
    trace = os.open(plan["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    say(trace, {"what": "begun", "inodes": inodes_of(Path(plan["disk"]))})
    shim.kiff_disk_watch(plan["disk"].encode(), trace)
    if plan["fail"] is not None:
        call, *how = plan["fail"]
        shim.kiff_disk_fail(CALLS.index(call), *how)
    bank = Bank(trace, random.Random(plan["seed"]), plan["made"])
    try:
        runtime = open_shop(Path(plan["disk"], "data"), bank.issue, made=MUTANTS[plan["mutant"]])
    except Exception as error:  # noqa: BLE001  it is said, and judged by whoever reads it
        say(trace, {"what": "not_opened", "type": type(error).__name__, "typed": isinstance(error, KiffError)})
        return
    say(trace, {"what": "opened"})
    work = Work(runtime, bank, trace, plan["seed"], plan["patience"])
    for _ in range(plan["rounds"]):
        work.round()
    if plan["kill"]:
        os._exit(0)
    runtime.close()
    say(trace, {"what": "closed"})


def main() -> None:
    shim = ctypes.CDLL(None)
    sqlite.COPY_BACK_BYTES = COPY_BACK_BYTES
    domain()
    for line in sys.stdin:
        plan = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            signal.alarm(HANGS_SECONDS)  # a program that hangs is a problem to be told, not to be waited for
            try:
                run(plan, shim)
                status = 0
            finally:
                calls = {name: shim.kiff_disk_calls(number) for number, name in enumerate(CALLS)}
                os.write(writing, json.dumps(calls).encode())
                os._exit(status)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        calls = json.loads(os.read(reading, 4096) or b"{}")
        os.close(reading)
        print(json.dumps({"status": status, "calls": calls}), flush=True)


if __name__ == "__main__":
    main()
