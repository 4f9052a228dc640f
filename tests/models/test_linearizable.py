"""Calls that overlap are as if they had come one after the other: approvals, clearances, budgets and states."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any

import pytest
from histories import Still, Witness
from linear import UNHEARD, Done, Order, linearized, partitions, stuck
from plain import Plain
from plain_facts import Answer
from reliability import note_run
from tills import START
from virtual_replica import Shared

from kiff.protocol.approval import ApprovalRequest
from kiff.runtime.ports import Key, Slice, Store
from kiff.stores.memory import MemoryStore
from kiff.stores.postgres import PostgresStore
from kiff.stores.sqlite import SqliteStore

SOAK = os.environ.get("KIFF_SOAK") == "1"
TENANTS = [f"t{number}" for number in range(8 if SOAK else 3)]
CALLS = 80 if SOAK else 30
"""Of each thread."""
ROUNDS = 10 if SOAK else 1
LONG = pytest.mark.soak if SOAK else pytest.mark.slow


def opened() -> Plain:
    """The model as `Witness.open` leaves KIFF."""
    model = Plain(START)
    model.ingest("feed", "OPENED", "till:a", "event:opened")
    return model


def broken(history: Iterable[Done]) -> dict[str, Order]:
    """The parts of a history that no order explains."""
    found = {part: linearized(own, opened()) for part, own in partitions(history).items()}
    return {part: order for part, order in found.items() if order.found is None}


def told(history: Iterable[Done], parts: dict[str, Order]) -> str:
    """Where the search got stuck in each part."""
    own = partitions(history)
    return "\n".join(
        f"{part}, after {len(order.best)} of {len(own[part])} calls:\n  "
        + "\n  ".join(stuck(own[part], order, opened()))
        for part, order in parts.items()
    )


def noted(kind: str, seed: int, history: list[Done]) -> list[Done]:
    unheard = sum(done.answer == UNHEARD for done in history)
    note_run(f"linear-{kind}", seed, {"calls": len(history), "unheard": unheard})
    return history


@pytest.fixture(params=range(ROUNDS))
def seed(request: pytest.FixtureRequest) -> int:
    """Threads have no seed: it picks the calls, not how they overlap."""
    drawn = random.SystemRandom().getrandbits(32)
    print(f"seed {drawn}")
    return drawn


@LONG
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_calls_that_overlap_have_an_order(kind: str, tmp_path: Path, seed: int) -> None:
    store: Store = MemoryStore(Still()) if kind == "memory" else SqliteStore(tmp_path / "kiff.db", clock=Still())
    witness = Witness(store)
    witness.open(TENANTS)
    history = noted(kind, seed, witness.live(TENANTS, seed, threads=6, calls=CALLS))
    parts = broken(history)
    assert not parts, told(history, parts)


@LONG
def test_calls_of_two_replicas_have_an_order(seed: int) -> None:
    store = Shared(Still())
    one = Witness(store, 1)
    one.open(TENANTS)
    history = noted("replicas", seed, both(one, Witness(store, 2), seed))
    parts = broken(history)
    assert not parts, told(history, parts)


def both(one: Witness, other: Witness, seed: int) -> list[Done]:
    with ThreadPoolExecutor(2) as pool:
        lives = [pool.submit(each.live, TENANTS, seed, threads=3, calls=CALLS) for each in (one, other)]
        return [done for life in lives for done in life.result()]


@LONG
def test_calls_of_processes_on_one_postgresql_have_an_order(fresh_database: str, tmp_path: Path, seed: int) -> None:
    first = Witness(PostgresStore(fresh_database, clock=Still()), 0)
    first.open(TENANTS)
    first.runtime.close()
    outs = [tmp_path / f"{number}.history" for number in (1, 2, 3)]
    programs = [_process(fresh_database, number, seed, out) for number, out in enumerate(outs, 1)]
    assert [program.wait(120) for program in programs] == [0, 0, 0]
    history = noted("postgres", seed, [done for out in outs for done in pickle.loads(out.read_bytes())])
    parts = broken(history)
    assert not parts, told(history, parts)


def _process(url: str, number: int, seed: int, out: Path) -> subprocess.Popen[bytes]:
    program = Path(__file__).with_name("histories.py")
    arguments = [url, str(number), str(seed), ",".join(TENANTS), str(CALLS), str(out)]
    return subprocess.Popen([sys.executable, str(program), *arguments])


class Forgetful(MemoryStore):
    """A store behind a cache that is never told of changes: approvals are read as they once were."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self._once: dict[Key, Any] = {}

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        loaded = super().load(tenants, keys)
        for key, row in loaded.rows.items():
            if key[0] is ApprovalRequest and row is not None and row.status == "granted":  # type: ignore[union-attr]
                self._once.setdefault(key, row)
            loaded.rows[key] = self._once.get(key, row)
        return loaded


@LONG
def test_control_a_stale_cache_has_no_order() -> None:
    for seed in range(20):
        witness = Witness(Forgetful(Still()))
        witness.open(TENANTS)
        if broken(witness.live(TENANTS, seed, threads=6, calls=30)):
            return
    raise AssertionError("a runtime that reads stale approvals looks like one that does not")


# The checker itself: what has an order, and what has none.

READ, SHUT = ("state", "till:a"), ("ingest", "feed", "SHUT", "till:a", "event:s")
BEFORE, AFTER = ("OPEN", 1), ("CLOSED", 2)


def shut(start: float, end: float, answer: Any = None) -> Done:
    return Done(start, end, SHUT, opened().ingest(*SHUT[1:]) if answer is None else answer)


def test_a_read_after_a_write_sees_it() -> None:
    history = [shut(1, 2), Done(3, 4, READ, BEFORE)]
    assert linearized(history, opened()).found is None


def test_a_read_beside_a_write_sees_either() -> None:
    for seen in (BEFORE, AFTER):
        assert linearized([shut(1, 4), Done(2, 3, READ, seen)], opened()).found is not None


def test_nobody_goes_back_in_time() -> None:
    history = [shut(1, 9), Done(2, 3, READ, AFTER), Done(4, 5, READ, BEFORE)]
    assert linearized(history, opened()).found is None


def test_what_was_never_answered_may_have_happened_or_not() -> None:
    for seen in (BEFORE, AFTER):
        history = [shut(1, inf, UNHEARD), Done(2, 3, READ, seen), Done(4, 5, READ, seen)]
        assert linearized(history, opened()).found is not None


def test_an_answer_that_the_model_never_gives_has_no_order() -> None:
    assert linearized([Done(1, 2, READ, ("OPEN", 7))], opened()).found is None
    assert Answer("allowed") != Answer("blocked")
