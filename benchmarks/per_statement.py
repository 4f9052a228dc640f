"""The control on PostgreSQL: the same decisions with a transaction for each and a statement for each row.

    BEGIN; SELECT … FOR UPDATE of the head; SELECT … of every row the step reads; UPDATE; INSERT …; INSERT …; COMMIT

Commands are drawn up, stepped, sealed and signed by the same code as KIFF's own, so what differs is how rows are read
and written: what most programs do, with the quickest driver there is.
"""

from __future__ import annotations

import asyncio
import time
from functools import cache
from typing import Any

import asyncpg
from msgspec.structs import astuple

from benchmarks.on_postgres import SIGNER, caller
from benchmarks.subject import PARAMETERS
from kiff.runtime.clock import Ulids
from kiff.runtime.edge import Edge
from kiff.runtime.governed import Governed
from kiff.runtime.ports import Append, Key, Slice
from kiff.runtime.rounds import active_domains
from kiff.runtime.rows import KEYS, LogHead, Row, TileRow
from kiff.runtime.seal import Sealer, sign_each
from kiff.runtime.step import step
from kiff.runtime.world import Context, NotLoaded, World
from kiff.stores.postgres import PostgresStore
from kiff.stores.postgres.schema import SCHEMA
from kiff.stores.postgres.statements import SELECT, _conflict
from kiff.stores.tables import COLUMNS, TABLES

LOCKED = " FOR UPDATE"
HEAD = f"{SELECT[LogHead]} WHERE tenant = $1{LOCKED}"
MOVE = "UPDATE heads SET size = $2, root = $3, frontier = $4, last_at = $5 WHERE tenant = $1"
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"


@cache
def _insert(kind: type) -> str:
    values = ", ".join(f"${at}" for at in range(1, len(COLUMNS[kind]) + 1))
    return f"INSERT INTO {TABLES[kind]} ({', '.join(COLUMNS[kind])}) VALUES ({values}) {_conflict(kind)}"


class PerStatement:
    """Decisions by a number of clients, each with a connection of its own, in one event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store = PostgresStore(url)  # for what is read once: the domain, and the last leaves
        domains = active_domains(self._store)
        self._edge = Edge(Ulids(), Governed.by(self._store, domains))
        self._context = Context("run_bench", frozenset({"refund.issue_refund"}), domains)
        self._sealer = Sealer(self._store, lambda tenant: SIGNER, "kiff", Ulids(), sign_each)
        self._agent = caller("ops-agent", "agent", "ops_agent", "default")

    def close(self) -> None:
        self._sealer.close()
        self._store.close()

    def run(self, clients: int, count: int, action: str, entities: int) -> float:
        """Seconds for `count` decisions on so many entities in turn."""
        return asyncio.run(self._run(clients, count, action, entities))

    async def _run(self, clients: int, count: int, action: str, entities: int) -> float:
        settings = {"search_path": SCHEMA, "plan_cache_mode": "force_generic_plan", "jit": "off"}
        pool = [await asyncpg.connect(self._url, server_settings=settings) for _ in range(clients)]
        for connection in pool:
            await connection.execute("SELECT set_config('kiff.tenant', 'default', false)")
        numbers = iter(range(count))

        async def client(connection: Any) -> None:
            for number in numbers:
                await self._decide(connection, f"order:{number % entities}", action)

        started = time.perf_counter()
        await asyncio.gather(*map(client, pool))
        taken = time.perf_counter() - started
        for connection in pool:
            await connection.close()
        return taken

    async def _decide(self, connection: Any, entity: str, action: str) -> None:
        command = self._edge.propose("decide", self._agent, entity=entity, action=action, parameters=PARAMETERS)
        async with connection.transaction():
            head = LogHead(*await connection.fetchrow(HEAD, "default"))
            rows = await _read(connection, command.reads())
            world = World(self._context, Slice(await connection.fetchval(NOW), {"default": head}, rows))
            while True:
                try:
                    change = step(world, command)
                    break
                except NotLoaded as missing:
                    world.add(Slice(0, {}, await _read(connection, missing.keys)))
            assert change.answer.outcome == "allowed", change.answer
            world.take(change)
            await self._write(connection, self._sealer.seal(world)[0])

    async def _write(self, connection: Any, batch: Append) -> None:
        for _, new in batch.heads:
            await connection.execute(MOVE, new.tenant, new.size, new.root, new.frontier, new.last_at)
        tiles: list[TileRow] = batch.tiles
        for row in (*batch.records, *batch.rows, *tiles, *batch.receipts):
            await connection.execute(_insert(type(row)), *astuple(row))


async def _read(connection: Any, keys: Any) -> dict[Key, Row | None]:
    found: dict[Key, Row | None] = {}
    for kind, tenant, id in keys:
        sql = f"{SELECT[kind]} WHERE tenant = $1 AND {KEYS[kind]} = $2{LOCKED}"
        columns = await connection.fetchrow(sql, tenant, id)
        found[kind, tenant, id] = None if columns is None else kind(*columns)
    return found
