"""Callers that overlap, and what each of them saw: calls with the moments before and after, and the answers.

A call of `execute` is three: the decision, whose answer is that its executor runs; the executor's report, which
nobody hears the end of; and how it ended, as the caller heard. The suffix that a call's ids end in is drawn by its
caller, so that the model can be told.
"""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import count
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from linear import UNHEARD, Done
from msgspec.structs import replace
from plain_facts import Answer, Call, Error
from tills import CALLERS, DOMAIN, SIGNER, START
from tower import said

from kiff import ActionFailed, Caller, KiffError, Operation, Principal, Runtime
from kiff.errors import Closed, Overloaded
from kiff.protocol.authority import AUTHOR
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Store
from kiff.stores.postgres import PostgresStore

ENTITY = "till:a"


class Still:
    """The wall clock stands, so that nothing expires and every hour is this one."""

    def now(self) -> int:
        return START

    def monotonic(self) -> float:
        return time.monotonic()


class Names:
    """Ids whose caller knows them: each thread draws what it has put aside, and others draw what nobody else does."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._others = count()
        self._own = threading.local()

    def put_aside(self, name: str) -> None:
        self._own.name = name

    def draw(self) -> str:
        name: str | None = getattr(self._own, "name", None)
        self._own.name = None
        return name or f"{self._process}-{next(self._others):020d}"


class Witness:
    """One process: a runtime, callers in threads, and the history that they saw."""

    def __init__(self, store: Store, process: int = 0) -> None:
        self.names, self.process = Names(process), process
        self.history: list[Done] = []
        self._began: dict[str, tuple[int, int, str]] = {}
        self._count = count()
        self.runtime = Runtime(
            store, SIGNER, executors={"till.pay": self._pay}, clock=Still(), ids=self.names, vault=b"v" * 32, slots=64
        )

    def open(self, tenants: Sequence[str]) -> None:
        """The domain governs in every tenant, and its till is open, before anything is recorded."""
        for tenant in tenants:
            self.runtime.activate(Caller(Principal("root", "human"), (AUTHOR,), tenant), DOMAIN).result()
            self.runtime.ingest(_as("feed", tenant), type="OPENED", entity=ENTITY, id="opened").result()

    def live(self, tenants: Sequence[str], seed: int, *, threads: int, calls: int) -> list[Done]:
        """Everybody calls at once. Returns what they saw."""
        callers = [
            threading.Thread(target=self._calls, args=(tenants, Random(f"{seed}/{self.process}/{number}"), calls))
            for number in range(threads)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        self.runtime.close()
        for id, (_, told, status) in self._began.items():  # nobody hears when a report is written
            self.history.append(Done(told, inf, ("report", id, status), UNHEARD, id.split(".")[1]))
        return self.history

    def _calls(self, tenants: Sequence[str], random: Random, calls: int) -> None:
        for _ in range(calls):
            tenant = random.choice(tenants)
            do = random.choices(
                (self._propose, self._use, self._review, self._settle, self._ingest, self._read), (6, 3, 4, 2, 2, 2)
            )
            do[0](tenant, random)

    # calls

    def _propose(self, tenant: str, random: Random, approval: str | None = None, call: Call | None = None) -> None:
        if call is None:
            who, mode = random.choice(("agent", "mary")), random.choice(("execute", "execute", "decide"))
            action, amount = random.choice(("PAY", "PAY", "ASK")), random.choice((1, 4))
            call = Call(mode, who, ENTITY, action, amount, mode == "decide")
        id = f"p{random.randrange(5)}-{call.mode}-{call.who}-{call.action}-{call.amount}"  # others use it too
        if random.random() < 0.5:
            id = f"q{self.process}-{next(self._count)}"
        name = self._name(tenant)
        verb = self.runtime.execute if call.mode == "execute" else self.runtime.propose
        more = {} if call.mode == "execute" else {"settles": True}
        self._made(
            name,
            tenant,
            ("propose", call, f"propose:{id}", name, approval),
            lambda: verb(
                _as(call.who, tenant),
                entity=ENTITY,
                action=call.action,
                parameters={"amount": call.amount},
                id=id,
                approval_id=approval,
                **more,
            ),
        )

    def _use(self, tenant: str, random: Random) -> None:
        """Somebody uses an approval that there is, for the call it was asked for or for another."""
        approvals = self.runtime.read.approvals(tenant=tenant)
        if approvals:
            approval = random.choice(approvals)
            amount = random.choice((1, 4))
            call = Call("execute", approval.proposer, ENTITY, "ASK", amount)
            self._propose(tenant, random, approval.id, call)

    def _review(self, tenant: str, random: Random) -> None:
        approvals = self.runtime.read.approvals(tenant=tenant)
        if not approvals:
            return
        id, who = random.choice(approvals[-3:]).id, random.choice(("nils", "olga", "mary"))
        verdict = random.choice(("grant", "grant", "grant", "deny"))
        key = f"k{random.randrange(20)}" if random.random() < 0.3 else None
        name = self._name(tenant)
        self._made(
            name,
            tenant,
            ("review", who, verdict, id, f"review:{key or name}", name),
            lambda: getattr(self.runtime, verdict)(_as(who, tenant), id, "seen", key=key),
        )

    def _settle(self, tenant: str, random: Random) -> None:
        operations = self.runtime.read.operations(tenant=tenant)
        if operations:
            id, who = random.choice(operations[-3:]).id, random.choice(("nils", "agent", "mary"))
            status = random.choice(("succeeded", "failed"))
            call = ("settle", who, id, status)
            self._made(self._name(tenant), tenant, call, lambda: self.runtime.settle(_as(who, tenant), id, status))  # type: ignore[arg-type]

    def _ingest(self, tenant: str, random: Random) -> None:
        kind = random.choice(("OPENED", "SHUT", "OPENED", "PAID_OUT"))
        who, id = random.choice(("feed", "agent")), f"e{random.randrange(40)}"
        call = ("ingest", who, kind, ENTITY, f"event:{id}")
        self._made(
            self._name(tenant),
            tenant,
            call,
            lambda: self.runtime.ingest(_as(who, tenant), type=kind, entity=ENTITY, id=id),
        )

    def _read(self, tenant: str, random: Random) -> None:
        start = time.monotonic_ns()
        if random.random() < 0.5:
            row = self.runtime._store.row(EntityState, tenant, ENTITY)
            answer: Any = (None, 0) if row is None else (row.state, row.version)
            call: tuple[Any, ...] = ("state", ENTITY)
        else:
            answer = tuple(sorted((each.id, each.status) for each in self.runtime.read.approvals(tenant=tenant)))
            call = ("statuses",)
        self.history.append(Done(start, time.monotonic_ns(), call, answer, tenant))

    # what was seen

    def _name(self, tenant: str) -> str:
        name = f"{self.process}.{tenant}.{next(self._count)}"
        self.names.put_aside(name)
        return name

    def _made(self, name: str, tenant: str, call: tuple[Any, ...], make: Callable[[], Future[Any]]) -> None:
        start = time.monotonic_ns()
        try:
            answer = said(make())
        except (Closed, Overloaded):
            return  # nothing was taken in
        except KiffError as error:
            answer = Error(error.code)
        end = time.monotonic_ns()
        if isinstance(answer, Error) and answer.code in _IN_DOUBT:
            self.history.append(Done(start, inf, call, UNHEARD, tenant))
            return
        own = f"clr_{name}"
        if isinstance(answer, Answer) and answer.operation == own and answer.status is not None:
            began = self._began[own][0] if own in self._began else end  # an event may have ended it before it began
            cleared = answer._replace(status=None, waits=True)
            self.history.append(Done(start, min(began, end), call, cleared, tenant))
            self.history.append(Done(start, end, ("ended", own, answer.status), True, tenant))
        else:
            self.history.append(Done(start, end, call, answer, tenant))

    def _pay(self, operation: Operation) -> Any:
        began = time.monotonic_ns()
        status = ("succeeded", "succeeded", "failed", "unknown")[hash(operation.id) % 4]
        time.sleep(0.001 * (hash(operation.id) % 3))
        self._began[operation.id] = (began, time.monotonic_ns(), status)
        if status == "failed":
            raise ActionFailed("no money")
        if status == "unknown":
            raise ConnectionError("the line went dead")
        return {"status": "succeeded"}


_IN_DOUBT = {"store_in_doubt", "store_unavailable", "store_conflict", "conflict", "closed"}
"""Answers that say nothing of what happened. (`conflict`: the runtime closed while the operation ran.)"""


def _as(who: str, tenant: str) -> Caller:
    return replace(CALLERS[who], tenant=tenant)


def main(url: str, process: str, seed: str, tenants: str, calls: str, out: str) -> None:
    """One process of several on a PostgreSQL."""
    witness = Witness(PostgresStore(url, clock=Still()), int(process))
    history = witness.live(tenants.split(","), int(seed), threads=3, calls=int(calls))
    Path(out).write_bytes(pickle.dumps(history))


if __name__ == "__main__":
    main(*sys.argv[1:])
