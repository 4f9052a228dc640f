"""A PostgreSQL server of the benchmarks' own, with the orders of `subject` in a database that every run copies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from typing import Any

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.subject import domain, issue_refund
from kiff import Caller, Principal, Runtime
from kiff.ledger import Ed25519Signer
from kiff.stores.postgres import PostgresStore
from tests.postgres_server import OWNER, Server

TENANTS = ("default", "second")
SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
"""Of every process of a run: the log has one."""
AT_ONCE = 500


class OnPostgres:
    """The server, which syncs, and a database where `order:0` to `order:<count-1>` of both tenants are paid."""

    def __init__(self, orders: int) -> None:
        self.server = Server()
        self._copies = count()
        self._prepared = self.server.fresh()
        for tenant in TENANTS:
            with self.runtime(self._prepared, tenant=tenant) as runtime:
                _pay(runtime, tenant, orders)
        self.server.execute("", "CHECKPOINT")

    def close(self) -> None:
        self.server.close()

    @contextmanager
    def copy(self) -> Iterator[str]:
        """The URL of a fresh copy of the prepared database."""
        name = f"kiff_copy_{next(self._copies)}"
        template = self._prepared.rpartition("/")[2]
        self.server.execute("", f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template}")
        try:
            yield self.server.url(name)
        finally:
            self.server.execute("", f"DROP DATABASE {name} WITH (FORCE)")

    @staticmethod
    def runtime(url: str, *, store: type[PostgresStore] = PostgresStore, tenant: str = "default") -> Runtime:
        return opened(store(url), tenant)

    def seconds(self) -> float:
        """Processor seconds of the server so far, of those of its processes that ended too."""
        assert self.server._process is not None, "it runs until it is closed"
        postmaster = psutil.Process(self.server._process.pid)
        spent = sum(postmaster.cpu_times()[:4])
        for child in postmaster.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # then it is among those that ended
                spent += sum(child.cpu_times()[:2])
        return float(spent)

    def round_trip_us(self, times: int = 2_000) -> float:
        """`SELECT 1`, median wall time."""
        with self.copy() as url, closing(PostgresStore(url)) as store, store._connections.taken("*") as connection:
            taken = []
            for _ in range(times):
                started = time.perf_counter()
                connection.run(_one)
                taken.append(time.perf_counter() - started)
        return sorted(taken)[times // 2] * 1e6


def opened(store: PostgresStore, tenant: str, **options: Any) -> Runtime:
    executors = {"refund.issue_refund": issue_refund}
    return Runtime(store, SIGNER, domains=[domain()], tenant=tenant, executors=executors, **options)


def caller(name: str, type: str, role: str, tenant: str) -> Caller:
    return Caller(Principal(name, type), (role,), tenant)  # type: ignore[arg-type]  # the benchmarks name them right


async def _one(raw: Any) -> Any:
    return await raw.fetchval("SELECT 1")


def _pay(runtime: Runtime, tenant: str, orders: int) -> None:
    stripe = caller("stripe", "service", "adapter", tenant)
    for event in ("ORDER_PLACED", "ORDER_PAID"):
        for start in range(0, orders, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, orders))
            for waiting in [runtime.ingest(stripe, type=event, entity=f"order:{n}") for n in numbers]:
                waiting.result()
