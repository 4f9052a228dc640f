"""Durable rates: governed executes beside the same rows and commits with nothing around them."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from benchmarks.floors import RawGroupCommit, Statements
from benchmarks.subject import AGENT, PARAMETERS, Prepared, SlowFlush, from_threads
from kiff.runtime import lane
from kiff.stores.sqlite import SqliteStore

Timed = Callable[[], float]


def in_turn(rounds: int, *subjects: Timed) -> list[float]:
    """Runs the subjects A B C A B C ... and gives each one's median seconds."""
    times: list[list[float]] = [[] for _ in subjects]
    for _ in range(rounds):
        for subject, taken in zip(subjects, times, strict=True):
            taken.append(subject())
    return [median(taken) for taken in times]


def executes(
    prepared: Prepared, count: int, callers: int, *, receipts: str = "each", store: type[SqliteStore] = SqliteStore
) -> float:
    """Seconds for `count` executes from `callers` threads."""
    with prepared.runtime(receipts=receipts, store=store) as runtime:

        def call(number: int) -> None:
            entity = f"order:{number}"
            answer = runtime.execute(AGENT, entity=entity, action="AUTO_REFUND", parameters=PARAMETERS).result()
            assert answer.executed, answer

        return _seconds(lambda: from_threads(callers, count, call))


def raw(prepared: Prepared, commits: list[tuple[Statements, Statements]], callers: int) -> float:
    """Seconds for the same rows in the same two commits each, from as many threads."""
    group = RawGroupCommit(prepared.copy())

    def call(number: int) -> None:
        for statements in commits[number]:
            group.submit(statements).result()

    seconds = _seconds(lambda: from_threads(callers, len(commits), call))
    group.close()
    return seconds


def raw_alone(prepared: Prepared, commits: list[tuple[Statements, Statements]]) -> float:
    """Seconds for the same rows, one commit after the other, in one thread."""
    group = RawGroupCommit(prepared.copy())

    def run() -> None:
        for pair in commits:
            for statements in pair:
                group.commit([statements])

    seconds = _seconds(run)
    group.close()
    return seconds


def one_commit_each(prepared: Prepared, count: int, callers: int) -> float:
    """Seconds for executes on a slow disk when every command is a commit of its own: the control."""
    batch, lane.BATCH = lane.BATCH, 1
    try:
        return executes(prepared, count, callers, store=SlowFlush)
    finally:
        lane.BATCH = batch


def decisions(prepared: Prepared, count: int, callers: int, *, entities: int) -> float:
    """Seconds for `count` allowed decisions of an action with `lock: none`, spread over some entities."""
    with prepared.runtime() as runtime:

        def call(number: int) -> None:
            entity = f"order:{number % entities}"
            answer = runtime.propose(AGENT, entity=entity, action="NOTE", parameters=PARAMETERS).result()
            assert answer.outcome == "allowed", answer

        return _seconds(lambda: from_threads(callers, count, call))


def latencies(prepared: Prepared, count: int, callers: int, *, store: type[SqliteStore] = SqliteStore) -> list[float]:
    """Milliseconds of each of `count` executes, sorted."""
    taken: list[float] = []
    with prepared.runtime(store=store) as runtime:

        def call(number: int) -> None:
            started = time.perf_counter()
            entity = f"order:{number}"
            runtime.execute(AGENT, entity=entity, action="AUTO_REFUND", parameters=PARAMETERS).result()
            taken.append((time.perf_counter() - started) * 1e3)

        from_threads(callers, count, call)
    return sorted(taken)


def _seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
