"""Decisions on PostgreSQL, beside the same rows with nothing around them and beside a statement for each row.

python -m benchmarks.postgres [--quick]

Server, KIFF and callers share the machine's cores. Every run starts from a copy of one database.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from statistics import median
from typing import NamedTuple

from benchmarks import floors
from benchmarks.durable import in_turn
from benchmarks.lines import figure, note, ratio
from benchmarks.on_postgres import OnPostgres, caller
from benchmarks.per_statement import PerStatement
from benchmarks.raw_postgres import RawGroupCommit, Rows, replayed, rows_of_decisions
from benchmarks.subject import PARAMETERS, from_threads
from tests.postgres_server import NoPostgres

CLIENTS = 16
SPREAD = 1_000


class Cost(NamedTuple):
    """Of one run: seconds, and the processor seconds of this process and of the server."""

    seconds: float
    ours: float
    servers: float

    @property
    def processor(self) -> float:
        return self.ours + self.servers


def measure(rounds: int, count: int, seconds: float) -> None:
    """Prints the ratios; says what is missing when there is no PostgreSQL."""
    try:
        place = OnPostgres(max(count, SPREAD))
    except NoPostgres as missing:
        note(f"PostgreSQL is not measured: {missing}")
        return
    with closing(place):
        [(version,)] = place.server.execute("", "SHOW server_version")
        note(
            f"PostgreSQL {version}, {os.cpu_count()} cores for it, KIFF and the callers, load {os.getloadavg()[0]:.1f}"
        )
        figure("floor: 700-byte append and fsync", f"{floors.fsync_us():.0f} us")
        figure("floor: SELECT 1 and its answer", f"{place.round_trip_us():.0f} us")
        _raw(place, rounds, count)
        _beside_statements(place, rounds, count)
        _hot(place, rounds, count)
        _replicas(place, rounds, seconds)


def _raw(place: OnPostgres, rounds: int, count: int) -> None:
    rows = rows_of_decisions(place, count)
    each = sum(len(some) for one in rows for some in one.values()) / len(rows)
    figure("floor: rows of one decision, and the head", f"{each:.1f}")
    for callers in (64, CLIENTS, 1):
        few = count if callers > 1 else count // 4
        ours, raw = in_turn(
            rounds,
            lambda: _decisions(place, few, callers, few).seconds,  # noqa: B023  called before the next turn
            lambda: _raw_group(place, rows[:few], callers),  # noqa: B023
        )
        what = f"decisions, {callers} callers, over raw group commit"
        ratio(what, raw / ours, "at least 0.50" if callers == 64 else "", f"{few / ours:.0f} and {few / raw:.0f} /s")
    for size in (64, 256):
        took = _replayed(place, rows, size)
        figure(f"the same rows, {size} a commit, nobody calls", f"{count / took:.0f} /s")


def _beside_statements(place: OnPostgres, rounds: int, count: int) -> None:
    ours: list[Cost] = []
    control: list[Cost] = []
    for _ in range(rounds):
        ours.append(_decisions(place, count, CLIENTS, count, "AUTO_REFUND"))
        control.append(_per_statement(place, count // 4, CLIENTS, count // 4, "AUTO_REFUND"))
    mine, theirs = (median(cost.processor for cost in costs) for costs in (ours, control))
    got = f"{mine / count * 1e6:.0f} and {theirs / (count // 4) * 1e6:.0f} us"
    ratio(
        "processor time a decision, over a statement a row", mine / count / (theirs / (count // 4)), "at most 0.25", got
    )
    for name, costs, number in (("KIFF", ours, count), ("a statement a row", control, count // 4)):
        shares = [median(getattr(cost, who) for cost in costs) / number * 1e6 for who in ("ours", "servers")]
        rate = number / median(cost.seconds for cost in costs)
        figure(f"{name}, {CLIENTS} clients: client and server", f"{shares[0]:.0f} + {shares[1]:.0f} us, {rate:.0f} /s")


def _hot(place: OnPostgres, rounds: int, count: int) -> None:
    for clients in (CLIENTS, 64):
        hot, spread, locked = in_turn(
            rounds,
            lambda: _decisions(place, count, clients, 1, "NOTE").seconds,  # noqa: B023
            lambda: _decisions(place, count, clients, SPREAD, "NOTE").seconds,  # noqa: B023
            lambda: _per_statement(place, count // 8, clients, 1, "NOTE").seconds * 8,  # noqa: B023
        )
        got = f"{count / hot:.0f} and {count / locked:.0f} /s"
        ratio(f"one hot entity, {clients} clients, over SELECT FOR UPDATE", locked / hot, "at least 5", got)
        ratio(f"the same, over spread entities, {clients} clients", spread / hot, "", f"{count / spread:.0f} /s")


def _replicas(place: OnPostgres, rounds: int, seconds: float) -> None:
    """Decisions a second of the whole machine; 32 callers for each tenant in all, however many processes there are."""
    one, both = ["default"], ["default", "second"]
    cases: dict[str, Callable[[], float]] = {
        "alone": lambda: _rate(place, seconds, (32, one)),
        "two": lambda: _rate(place, seconds, (16, one), (16, one)),
        "two, free": lambda: _rate(place, seconds, (16, one), (16, one), how="free"),
        "alone on both": lambda: _rate(place, seconds, (32, both)),
        "one each": lambda: _rate(place, seconds, (32, one), (32, both[1:])),
        "both on each": lambda: _rate(place, seconds, (16, both), (16, both)),
        "both on each, free": lambda: _rate(place, seconds, (16, both), (16, both), how="free"),
    }
    rates = dict(zip(cases, in_turn(rounds, *cases.values()), strict=True))
    for what, case, over, target in (
        ("two replicas on one tenant, over one", "two", "alone", "at least 0.70"),
        ("the same, no turns taken at the head", "two, free", "alone", ""),
        ("two replicas, a tenant each, over one with both", "one each", "alone on both", "at least 0.95"),
        ("two replicas, both tenants on each, over one", "both on each", "alone on both", ""),
        ("the same, no turns taken at the heads", "both on each, free", "alone on both", ""),
    ):
        ratio(what, rates[case] / rates[over], target, f"{rates[case]:.0f} and {rates[over]:.0f} /s")


def _decisions(place: OnPostgres, count: int, callers: int, entities: int, action: str = "AUTO_REFUND") -> Cost:
    agent = caller("ops-agent", "agent", "ops_agent", "default")
    with place.copy() as url, place.runtime(url) as runtime:

        def call(number: int) -> None:
            entity = f"order:{number % entities}"
            answer = runtime.propose(agent, entity=entity, action=action, parameters=PARAMETERS).result()
            assert answer.outcome == "allowed", answer

        return _cost(place, lambda: from_threads(callers, count, call))


def _per_statement(place: OnPostgres, count: int, clients: int, entities: int, action: str) -> Cost:
    with place.copy() as url, closing(PerStatement(url)) as control:
        return _cost(place, lambda: control.run(clients, count, action, entities))


def _raw_group(place: OnPostgres, rows: list[Rows], callers: int) -> float:
    with place.copy() as url, closing(RawGroupCommit(url)) as group:
        return _cost(place, lambda: from_threads(callers, len(rows), lambda n: group.submit(rows[n]).result())).seconds


def _replayed(place: OnPostgres, rows: list[Rows], size: int) -> float:
    with place.copy() as url:
        return _cost(place, lambda: replayed(url, rows, size)).seconds


def _rate(place: OnPostgres, seconds: float, *replicas: tuple[int, list[str]], how: str = "turns") -> float:
    """Decisions a second of some processes at once: (callers for each of its tenants, tenants)."""
    with place.copy() as url, ExitStack() as running:
        processes = []
        for callers, tenants in replicas:
            words = [how, url, str(seconds), str(callers), str(SPREAD), *tenants]
            command = [sys.executable, "-m", "benchmarks.replica", *words]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(running.enter_context(process))
        for process in processes:
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline() == "ready\n", "it says why on stderr"
        for process in processes:
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        told = [[int(number) for number in process.stdout.readline().split()] for process in processes]  # type: ignore[union-attr]
        if given_up := sum(each[1] for each in told):
            note(f"{given_up} decisions were given up, because another replica kept being first ({how})")
        return sum(each[0] for each in told) / seconds


def _cost(place: OnPostgres, run: Callable[[], object]) -> Cost:
    servers, ours, started = place.seconds(), time.process_time(), time.perf_counter()
    run()
    return Cost(time.perf_counter() - started, time.process_time() - ours, place.seconds() - servers)


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    measure(*((1, 600, 1.0) if quick else (5, 3_000, 4.0)))


if __name__ == "__main__":
    main()
