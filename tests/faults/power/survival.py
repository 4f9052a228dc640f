"""What must hold of a disk after the power went, beside what the program had been told and had done by then.

`Judge.problems` answers with sentences, so that a control can show that it sees. The same rows need to be verified
only once, however many disks hold them.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from kiff import Operation, Runtime
from kiff.analysis import verify_store
from kiff.analysis.replay import replay_store
from kiff.errors import KiffError
from kiff.ledger import parse_jwks
from kiff.protocol.sealed import Sealed
from kiff.runtime.rows import NoteRow
from kiff.stores.sqlite import SqliteStore
from kiff.stores.tables import TABLES
from power.disk import lay_out
from power.shop import TENANT, event, open_shop, refund
from power.trace import Kind, Op

WAIT = 60.0
ALL = 1_000_000


class Said(NamedTuple):
    """What the program had said up to a point.

    Args:
        told: the answers it was given.
        asked: the refunds that it asked for.
        effects: what it did outside: [operation, order].
    """

    told: list[dict[str, Any]]
    asked: list[dict[str, Any]]
    effects: list[list[str]]

    @classmethod
    def by(cls, ops: list[Op]) -> Said:
        """What is said in a part of a trace."""
        told, asked, effects = cls([], [], [])
        for one in (op.said for op in ops if op.kind is Kind.SAID):
            if one["what"] == "effect":
                effects.append([one["operation"], one["order"]])
            elif one["what"] == "asked":
                asked.append(one)
            elif one["what"] not in ("begun", "opened", "failed", "not_opened", "closed"):
                told.append(one)
        return cls(told, asked, effects)

    def __add__(self, later: object) -> Said:
        assert isinstance(later, Said)
        return Said(self.told + later.told, self.asked + later.asked, self.effects + later.effects)

    def unanswered(self) -> list[dict[str, Any]]:
        """Small refunds that were asked for, and of which nobody was told anything."""
        answered = {told.get("proposal") for told in self.told}
        return [asked for asked in self.asked if not asked["large"] and asked["proposal"] not in answered]


class World:
    """The rows of a store, as far as anybody was told of them."""

    def __init__(self, store: SqliteStore) -> None:
        records = store.records(TENANT, limit=ALL)
        self.leaves = [record.leaf for record in records]
        data = [orjson.loads(record.body)["data"] for record in records]
        self.events = {one["event"]["id"] for one in data if isinstance(one.get("event"), dict)}
        self.receipts = {receipt.id for receipt in store.receipts(TENANT, limit=ALL)}
        self.approvals = {approval.id: approval.status for approval in store.approvals(TENANT, limit=ALL)}
        self.clearances = {clearance.id: clearance for clearance in store.clearances(TENANT, limit=ALL)}
        self.erased = {row.id for row in store.rows(Sealed, TENANT, limit=ALL) if row.value is None}
        self.noted = {row.id: row.times for row in store.rows(NoteRow, TENANT, limit=ALL)}
        self.heads = {row.note.decode() for row in store.checkpoints(TENANT, limit=ALL)}

    def lost(self, told: dict[str, Any]) -> bool:
        """Whether an answer that was given is not in the rows."""
        match told["what"]:
            case "event":
                return told["id"] not in self.events
            case "decided":
                ended = told["operation"] is not None and self._status_lost(told["operation"], told["status"])
                return told["receipt"] not in self.receipts or ended
            case "reviewed":
                status = self.approvals.get(told["approval"], "pending")
                return status != told["status"] and not (told["status"] == "granted" and status == "consumed")
            case "settled":
                return self._status_lost(told["operation"], told["status"])
            case "erased":
                return not self.erased.issuperset(told["commitments"])
            case "noted":
                return self.noted.get(told["id"], 0) < int(told["times"])
            case "head":
                return told["note"] not in self.heads
        raise AssertionError(f"unknown answer {told}")

    def _status_lost(self, operation: str, told: str) -> bool:
        found = self.clearances.get(operation)
        return found is None or (found.status != told and told != "unknown")  # a person may have settled it since


def leaves_of(database: Path) -> list[bytes]:
    """The log in a database, leaf by leaf."""
    with closing(SqliteStore(database, read_only=True)) as store:
        return [record.leaf for record in store.records(TENANT, limit=ALL)]


class Judge:
    """Opens disks, one after the other, in a folder of its own.

    Args:
        leaves: the log as the program left it, of which every disk holds the beginning; None when that is the disk
            itself.
    """

    def __init__(self, folder: Path, leaves: list[bytes] | None = None) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._leaves = leaves
        self._worlds: dict[int, World] = {}
        self._verified: set[tuple[int, bytes]] = set()
        self.opened = 0

    def problems(self, files: dict[str, bytes], said: Said, draw: random.Random) -> list[str]:
        """Everything that is wrong with a disk: what was lost, what was done without leave, what does not go on."""
        self.opened += 1
        lay_out(files, self._folder)
        return self.problems_here(said, draw)

    def problems_here(self, said: Said, draw: random.Random) -> list[str]:
        """The same of what is in the folder already."""
        public = self._data / "key.jwks.json"
        keys = public.read_bytes() if public.exists() else b""
        done: list[Operation] = []
        seen: list[int] = []

        def issue(operation: Operation) -> dict[str, Any]:
            done.append(operation)
            return {"status": "succeeded"}

        def look(store: SqliteStore) -> SqliteStore:
            seen.append(self._look(store))
            return store

        try:
            with open_shop(self._data, issue, made=look) as runtime:
                [content] = seen
                world = self._worlds[content]
                found = self._kept(world, said) + _goes_on(runtime, world, said, done, draw)
            if (content, keys) in self._verified:
                return found
            self._verified.add((content, keys))
            return found + self._whole()
        except (KiffError, sqlite3.Error, ValueError) as error:  # a torn page may hold a record that is no JSON
            return [f"it does not work: {type(error).__name__}: {error}"]

    def _look(self, store: SqliteStore) -> int:
        """Reads every row, before anything is changed. Returns what stands for this content."""
        with closing(sqlite3.connect(store.path)) as connection:
            state = connection.execute("PRAGMA integrity_check").fetchall()
            if state != [("ok",)]:
                raise sqlite3.DatabaseError(f"the integrity check says {state[0][0]}")
            rows = tuple((table, *connection.execute(f"SELECT * FROM {table}")) for table in sorted(TABLES.values()))
        content = hash(rows)
        if content not in self._worlds:
            self._worlds[content] = World(store)
        return content

    def _kept(self, world: World, said: Said) -> list[str]:
        found = [f"acknowledged and lost: {told}" for told in said.told if world.lost(told)]
        found += [f"effect without a clearance: {id}" for id, _ in said.effects if id not in world.clearances]
        if self._leaves is not None and world.leaves != self._leaves[: len(world.leaves)]:
            found.append("the log is not the beginning of the one that was written")
        return found

    def _whole(self) -> list[str]:
        """The verification of what the disk has become: the recovery's records are in it too."""
        keys = (self._data / "key.jwks.json").read_bytes()
        with closing(SqliteStore(self._data / "shop.db", read_only=True)) as store:
            verdict, replayed = verify_store(store, parse_jwks(keys)), replay_store(store)
        found = [f"{each.where} {each.field}: {each.message}" for each in (*verdict.problems, *replayed.problems)]
        return found + ([] if verdict.status == "valid" else [f"the database is {verdict.status}"])


def _goes_on(runtime: Runtime, world: World, said: Said, done: list[Operation], draw: random.Random) -> list[str]:
    """What is in doubt shows and stays shut, what was answered is answered again, and the next call works."""
    found = []
    unknown = {operation.id for operation in runtime.read.operations(status="unknown")}
    left = [clearance for clearance in world.clearances.values() if clearance.status == "open"]
    found += [f"{clearance.id} was in flight, and does not show" for clearance in left if clearance.id not in unknown]
    busy = [refund(runtime, clearance.entity) for clearance in left]
    ended = [told for told in said.told if told["what"] == "decided" and told["status"] == "succeeded"]
    again = draw.sample(ended, min(2, len(ended)))
    asked = [
        refund(runtime, told["entity"], large=told["action"] == "REFUND_LARGE", id=told["proposal"]) for told in again
    ]
    for told, answer in zip(again, (pending.result(WAIT) for pending in asked), strict=True):
        if (answer.receipt_id, answer.status) != (told["receipt"], told["status"]):
            found.append(f"answered otherwise when it was asked again: {told}")
    found += [f"free, though it is unknown: {one.entity}" for one in (p.result(WAIT) for p in busy) if one.executed]
    found += [f"an effect of a call that was answered, or is in doubt: {operation.id}" for operation in done]
    for call in said.unanswered()[-3:]:
        refund(runtime, call["entity"], id=call["proposal"]).result(WAIT)
    orders = Counter([order for _, order in said.effects] + [operation.entity_id for operation in done])
    found += [f"{count} effects on one order: {order}" for order, count in orders.items() if count > 1]
    done.clear()
    entity = "order:after"
    event(runtime, "PLACED", entity)
    event(runtime, "PAID_FOR", entity)
    if not refund(runtime, entity).result(WAIT).executed or not done:
        found.append("the next call does not run")
    return found
