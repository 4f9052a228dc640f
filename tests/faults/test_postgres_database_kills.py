"""kill -9 of the whole database under load, and its restart: nothing acknowledged is lost, no effect without a durable
clearance, no second effect, and every call is answered within ten seconds of the database's return.

KIFF_FAULT_SEED replays a run: it draws the same calls, and the same times between kills.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from callers import answered, crowd, serves
from outside import Book
from postgres_server import Server
from refund_shop import open_shop, paid, paying, refund, until
from reliability import note_run, seed_of_run
from shared_aftermath import Verdict, judged

from kiff.errors import KiffError
from kiff.runtime.ports import Append
from kiff.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow


def test_a_database_that_is_killed_under_load_loses_nothing(tmp_path: Path, durable: Server, book: Book) -> None:
    verdict = _outages(tmp_path, durable, book, seed_of_run(), kills=6)
    assert verdict.problems() == []
    assert verdict.effects


@pytest.mark.soak
@pytest.mark.parametrize("number", range(3))
def test_a_database_is_killed_many_times(tmp_path: Path, durable: Server, book: Book, number: int) -> None:
    assert _outages(tmp_path, durable, book, seed_of_run() + number, kills=40).problems() == []


@pytest.mark.parametrize("point", ["load", "append", "run", "execute", "executed"])
def test_a_database_that_is_killed_at_a_point_of_a_call_loses_nothing(
    tmp_path: Path, durable: Server, book: Book, point: str
) -> None:
    url, armed, killed, outage = durable.fresh(), threading.Event(), threading.Event(), threading.Event()

    def probe(passed: str) -> None:
        if passed == point and armed.is_set() and not killed.is_set():
            killed.set()
            outage.set()
            durable.restart()
            outage.clear()

    with open_shop(tmp_path, paying(book), store=PostgresStore(url), probe=probe) as runtime:
        entity = paid(runtime, "ord_001")
        armed.set()
        answer = answered(lambda: refund(runtime, entity, id="prop_one"), outage.is_set)
    assert killed.is_set()
    told = {"receipt": answer.receipt_id, "operation": answer.clearance_id, "status": answer.status}
    verdict = judged(tmp_path, url, book, [told])
    assert (verdict.problems(), verdict.effects, answer.status) == ([], 1, "succeeded")


class ForgetfulStore:
    """The mutant: it says that a batch is written when the server does not say so."""

    exclusive = False

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def append(self, batch: Append) -> None:
        try:
            self._store.append(batch)
        except KiffError:
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_control_a_store_that_takes_silence_for_a_yes_is_found_out(tmp_path: Path, durable: Server, book: Book) -> None:
    url = durable.fresh()
    store = ForgetfulStore(PostgresStore(url))
    armed = threading.Event()

    def probe(passed: str) -> None:
        if passed == "append" and armed.is_set():
            armed.clear()
            durable.restart()

    with open_shop(tmp_path, paying(book), store=store, probe=probe) as runtime:
        entity = paid(runtime, "ord_001")
        armed.set()
        refund(runtime, entity, id="prop_one")
        until(lambda: bool(book.debits()))
    verdict = judged(tmp_path, url, book, [])
    assert len(verdict.uncleared) == 1


def _outages(folder: Path, server: Server, book: Book, seed: int, *, kills: int) -> Verdict:
    """Kills and restarts the database so many times under two runtimes, then judges it."""
    url, draw = server.fresh(), random.Random(seed)
    outage = threading.Event()
    with ExitStack() as stack:
        # A server listens to what its fellows commit; so do these.
        runtimes = [
            stack.enter_context(open_shop(folder, paying(book), store=PostgresStore(url), on_commit=lambda _: None))
            for _ in range(2)
        ]
        acknowledged = stack.enter_context(crowd(runtimes, seed, outage.is_set))
        for number in range(kills):
            time.sleep(draw.uniform(0.02, 0.5))
            outage.set()
            server.kill()
            time.sleep(draw.uniform(0, 0.2))
            server.restart()
            outage.clear()
            assert all(serves(runtime, f"after{at}x{number}") for at, runtime in enumerate(runtimes))
    verdict = judged(folder, url, book, acknowledged)
    note_run("postgres-database-kill", seed, {"database_kills": kills, **verdict.figures()})
    return verdict
