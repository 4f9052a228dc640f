"""kill -9 of a worker at every named point between decision and settle, while another serves the same database:
nothing acknowledged is lost, no effect without a durable clearance, no second effect, and what is unknown shows.

KIFF_FAULT_SEED replays a run: it draws the same kills. Where the threads of a worker stood then is the machine's.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from callers import answered, crowd, serves
from nursery import ORDER, Nursery, nursery
from outside import Book
from postgres_server import Server
from refund_shop import WAIT, open_shop, paid, paying, refund, until
from reliability import note_run, seed_of_run
from shared_aftermath import Verdict, judged

from kiff.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow

DECISION = ("load", "stepped", "append", "appended", "run", "execute")
"""In the order they are passed; the effect is made between `execute` and `executed`."""
SETTLE = ("executed", "load", "stepped", "append", "appended", "answered")
POINTS = [(point, 1) for point in DECISION] + [(point, 2 if point in DECISION else 1) for point in SETTLE]
NAMES = sorted({*DECISION, *SETTLE})
DURABLE, EFFECT, SETTLED = (POINTS.index(at) for at in (("appended", 1), ("executed", 1), ("appended", 2)))
SIDE_BY_SIDE = 2


@pytest.fixture(scope="module")
def young() -> Iterator[Nursery]:
    with nursery() as process:
        yield process


@pytest.mark.parametrize("at", range(len(POINTS)), ids=[f"{point}-{n}" for point, n in POINTS])
def test_a_worker_that_dies_takes_nothing_with_it(
    tmp_path: Path, durable: Server, book: Book, young: Nursery, at: int
) -> None:
    url = durable.fresh()
    with open_shop(tmp_path, paying(book), store=PostgresStore(url)) as other:
        paid(other, "ord_001")
        died = young.raise_one(tmp_path, url, book, *POINTS[at])
        assert died.killed
        assert len(book.debits()) == (at >= EFFECT)
        assert serves(other, "ord_002")
        if at < DURABLE:
            assert answered(lambda: refund(other, ORDER, id="prop_one")).executed
        elif at < SETTLED:
            assert answered(lambda: refund(other, ORDER, id="prop_two")).reason == "entity_busy"
    verdict = judged(tmp_path, url, book, died.told)
    assert (verdict.problems(), verdict.unknown) == ([], DURABLE <= at < SETTLED)


def test_workers_that_die_in_a_storm_take_nothing_with_them(tmp_path: Path, durable: Server, book: Book) -> None:
    verdict = _storm(tmp_path, durable, book, seed_of_run(), kills=16)
    assert verdict.problems() == []
    assert verdict.effects


@pytest.mark.soak
@pytest.mark.parametrize("number", range(5))
def test_many_workers_die_in_storms(tmp_path: Path, durable: Server, book: Book, number: int) -> None:
    assert _storm(tmp_path, durable, book, seed_of_run() + number, kills=100).problems() == []


def test_a_worker_that_stands_still_does_not_hold_up_the_others(tmp_path: Path, durable: Server, book: Book) -> None:
    url, stands, goes_on = durable.fresh(), threading.Event(), threading.Event()
    goes_on.set()

    def probe(point: str) -> None:
        if point == "append" and not goes_on.is_set():
            stands.set()
            goes_on.wait(WAIT)

    still = open_shop(tmp_path, paying(book), store=PostgresStore(url), probe=probe)
    other = open_shop(tmp_path, paying(book), store=PostgresStore(url))
    with still, other:
        paid(other, "ord_001")
        with crowd([still, other], seed_of_run()):
            until(lambda: _turns(durable) > 0)
        goes_on.clear()
        pending = refund(still, ORDER)
        assert stands.wait(WAIT)
        assert _turns(durable) == 1, "it stands still, and has no turn to keep from others"
        assert serves(other, "ord_002")
        goes_on.set()
        assert pending.result(WAIT).executed
    assert judged(tmp_path, url, book, []).problems() == []


def _turns(server: Server) -> int:
    """How many workers have the turn at a tenant now, and keep it for more than an instant."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        " AND application_name = 'kiff' AND state_change < clock_timestamp() - interval '1 ms'"
    )
    return int(server.execute("", sql)[0][0])


def test_control_an_append_that_answers_before_it_is_durable_is_found_out(
    tmp_path: Path, durable: Server, book: Book, young: Nursery
) -> None:
    url = durable.fresh()
    with open_shop(tmp_path, paying(book), store=PostgresStore(url)) as other:
        paid(other, "ord_001")
    died = young.raise_one(tmp_path, url, book, "answered", 1, mutant="late")
    verdict = judged(tmp_path, url, book, died.told)
    assert verdict.lost == [f"acknowledged and lost: receipt {died.told[0]['receipt']}"]
    assert len(verdict.uncleared) == 1


def test_control_an_executor_that_runs_before_its_clearance_is_durable_is_found_out(
    tmp_path: Path, durable: Server, book: Book, young: Nursery
) -> None:
    url = durable.fresh()
    with open_shop(tmp_path, paying(book), store=PostgresStore(url)) as other:
        paid(other, "ord_001")
    died = young.raise_one(tmp_path, url, book, "eager", 1, mutant="eager")
    assert died.killed
    verdict = judged(tmp_path, url, book, died.told)
    assert len(verdict.uncleared) == 1


def _storm(folder: Path, server: Server, book: Book, seed: int, *, kills: int) -> Verdict:
    """Workers live and die beside one that stays, until so many were killed. Then the database is judged."""
    url = server.fresh()
    acknowledged: list[dict[str, Any]] = []
    killed: Counter[str] = Counter()
    with open_shop(folder, paying(book), store=PostgresStore(url)) as other, ExitStack() as stack:
        nurseries = [stack.enter_context(nursery()) for _ in range(SIDE_BY_SIDE)]

        def lives(number: int) -> None:
            draw = random.Random(f"{seed}/{number}")
            for life in range(kills // SIDE_BY_SIDE):
                point, name = draw.choice(NAMES), f"w{number}x{life}x"
                plan: dict[str, Any] = {"work": "storm", "seed": draw.randrange(1 << 40), "name": name}
                died = nurseries[number].raise_one(folder, url, book, point, draw.randrange(1, 12), **plan)
                assert died.killed, f"{point}: ended with {died.status}"
                killed[point] += 1
                acknowledged.extend(died.told)
                assert serves(other, f"after_{name}")

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(lives, range(SIDE_BY_SIDE)))
    verdict = judged(folder, url, book, acknowledged)
    at = {f"kills_at_{point}": count for point, count in killed.items()}
    note_run("postgres-worker-kill", seed, {"worker_kills": killed.total(), **at, **verdict.figures()})
    return verdict
