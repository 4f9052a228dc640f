"""`make bench`: prints every figure with the target it is held against. It never fails by time.

python -m benchmarks [--quick]
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import at_size, durable, fairness, floors, guard, http, kernel, postgres, rules
from benchmarks.lines import ratio
from benchmarks.peers import compare
from benchmarks.subject import CopiesInLane, Prepared
from kiff.stores.sqlite import SqliteStore


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    rounds, count = (1, 500) if quick else (5, 3000)
    records, few = (40_000, 500) if quick else (1_000_000, 1000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = Prepared(folder, count * 3)
        _measure(prepared, rounds, count)
        guard.measure(folder, rounds)
        http.measure(folder, min(rounds, 3), 1 if quick else 4)
        fairness.measure(folder, *((1, 64) if quick else (2, 240)))
        postgres.measure(min(rounds, 3), count, 1.0 if quick else 4.0)
        compare.measure(prepared, folder, rounds, count)
        rules.measure(folder, rounds, count)
        at_size.measure(folder, records, rounds, few)


def _measure(prepared: Prepared, rounds: int, count: int) -> None:
    print(f"machine: {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    sign = floors.signature_us()
    step, whole = (floors.cpu_us(call) for call in kernel.allowed())
    print(f"floor    one Ed25519 signature                        {sign:9.1f} us CPU")
    print(f"floor    700-byte append and fsync                    {floors.fsync_us():9.1f} us wall")
    commits = floors.commits_of_executes(prepared, count)
    rows = sum(len(bound) for pair in commits for statements in pair for _, bound in statements) / len(commits)
    print(f"floor    rows of one execute, in two commits          {rows:9.1f} (and the head, twice)")
    ratio("pure step, allowed, over one signature", step / sign, "at most 0.40", f"{step:.1f} us")
    ratio("decode + step + records + leaves, over one signature", whole / sign, "at most 1.20", f"{whole:.1f} us")

    bare, each, batch = durable.in_turn(
        rounds,
        lambda: durable.raw(prepared, commits, 64),
        lambda: durable.executes(prepared, count, 64),
        lambda: durable.executes(prepared, count, 64, receipts="batch"),
    )
    print(f"floor    raw group commit of the same rows, 64 callers {count / bare:8.0f} /s")
    ratio("durable executes, 64 callers, each receipt signed", bare / each, "at least 0.40", f"{count / each:.0f} /s")
    ratio("durable executes, 64 callers, signed per batch", bare / batch, "at least 0.70", f"{count / batch:.0f} /s")

    few = commits[: count // 4]
    alone, lone = durable.in_turn(
        rounds, lambda: durable.raw_alone(prepared, few), lambda: durable.executes(prepared, len(few), 1)
    )
    print(f"floor    the same two commits, bare, one caller       {len(few) / alone:9.0f} /s")
    ratio("durable executes, one caller", alone / lone, "at least 0.60", f"{len(few) / lone:.0f} /s")

    slow = count // 3
    grouped, single = durable.in_turn(
        min(rounds, 2),
        lambda: durable.executes(prepared, slow, 64, store=durable.SlowFlush),
        lambda: durable.one_commit_each(prepared, slow // 5, 64),
    )
    gain = (slow / grouped) / (slow // 5 / single)
    ratio("with 4 ms more per flush, over one commit per command", gain, "at least 15", f"{slow / grouped:.0f} /s")

    hot, spread = durable.in_turn(
        rounds,
        lambda: durable.decisions(prepared, count, 64, entities=1),
        lambda: durable.decisions(prepared, count, 64, entities=1000),
    )
    ratio("decisions on one hot entity, over spread ones", spread / hot, "at least 0.80", f"{count / hot:.0f} /s")

    for label, store in (("copied back beside", SqliteStore), ("copied back in commits", CopiesInLane)):
        waits = durable.latencies(prepared, count * 3, 32, store=store)
        p50, p99, p999 = (waits[int(len(waits) * share)] for share in (0.5, 0.99, 0.999))
        figures = f"p50 {p50:.1f}, p99 {p99:.1f}, p99.9 {p999:.1f}, worst {waits[-1]:.1f}"
        print(f"figure   32 callers, ms, write-ahead log {label:23s} {figures}", flush=True)


if __name__ == "__main__":
    main()
