"""Prints KIFF's rates beside the peers', measured in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.durable import Timed, in_turn
from benchmarks.floors import cpu_us, signature_us
from benchmarks.kernel import allowed
from benchmarks.lines import figure, note, ratio
from benchmarks.peers import ours
from benchmarks.peers.environment import NotThere, peers_python
from benchmarks.peers.process import Peer
from benchmarks.subject import Prepared, SlowFlush

CALLERS = 64
WAYS = ("threads", "tasks")
AEGIS, TOOLKIT = "aegis", "toolkit"


def measure(prepared: Prepared, folder: Path, rounds: int, count: int) -> None:
    """Prints everything that is measured beside the peers; or that they are not there, and why."""
    try:
        python = peers_python()
        with ExitStack() as stack:
            aegis = stack.enter_context(Peer(python, "agent_aegis", folder))
            toolkit = stack.enter_context(Peer(python, "governance_toolkit", folder))
            versions = aegis.versions | toolkit.versions
            note(f"beside {', '.join(f'{name} {number}' for name, number in versions.items())}")
            _durable(prepared, aegis, toolkit, rounds, count, CALLERS)
            _durable(prepared, aegis, toolkit, rounds, count // 5, 1)
            _slow_disk(prepared, aegis, toolkit, min(rounds, 2), count // 8)
            _in_memory(folder, aegis, toolkit, rounds, count)
    except NotThere as error:
        note(f"agent-aegis and agent-governance-toolkit were not measured: {error}")


def _durable(prepared: Prepared, aegis: Peer, toolkit: Peer, rounds: int, count: int, callers: int) -> None:
    """Each decision on disk before its caller goes on; the peers both ways, and the better one counts."""
    ask: dict[str, Any] = {"count": count, "callers": callers}
    each, batch, *theirs = in_turn(
        rounds,
        lambda: ours.durable(prepared, count, callers),
        lambda: ours.durable(prepared, count, callers, receipts="batch"),
        *_both_ways(aegis, **ask),
        *_both_ways(toolkit, **ask, sink="flushed"),
        *_both_ways(toolkit, **ask, sink="as shipped"),
    )
    rates = [count / min(theirs[at : at + 2]) for at in range(0, len(theirs), 2)]
    said = "64 callers" if callers > 1 else "one caller"
    got = f"{count / each:.0f} /s, and"
    ratio(
        f"durable decisions, {said}, over {AEGIS}", count / each / rates[0], "at least 10", f"{got} {rates[0]:.0f} /s"
    )
    ratio(f"the same over {TOOLKIT}, flushed", count / each / rates[1], "at least 10", f"{got} {rates[1]:.0f} /s")
    figure(f"{TOOLKIT} as shipped: not flushed", f"{rates[2]:.0f} /s")
    figure("KIFF with one signature per commit", f"{count / batch:.0f} /s")


def _slow_disk(prepared: Prepared, aegis: Peer, toolkit: Peer, rounds: int, count: int) -> None:
    ask: dict[str, Any] = {"count": count, "callers": CALLERS}
    many = 8 * count  # a run of KIFF would be over too soon
    mine, *theirs = in_turn(
        rounds,
        lambda: ours.durable(prepared, many, CALLERS, store=SlowFlush),
        *_both_ways(aegis, **ask, slow=True),
        *_both_ways(toolkit, **ask, sink="slow"),
    )
    for name, pair in ((AEGIS, theirs[:2]), (TOOLKIT, theirs[2:])):
        rate, own = count / min(pair), many / mine
        ratio(
            f"64 callers, 4 ms more a flush, over {name}", own / rate, "at least 10", f"{own:.0f} /s, and {rate:.0f} /s"
        )


def _both_ways(peer: Peer, **asked: Any) -> list[Timed]:
    return [partial(peer.seconds, "durable", way=way, **asked) for way in WAYS]


def _in_memory(folder: Path, aegis: Peer, toolkit: Peer, rounds: int, count: int) -> None:
    """Processor time of one thread, so that a busy machine changes little."""
    mine = ours.InMemory(folder, count)
    theirs: dict[str, Callable[[], float]] = {
        "toolkit's govern()": partial(toolkit.seconds, "governed", count=count),
        "aegis's audit log": partial(aegis.seconds, "logged", count=count),
        "aegis's hash chain": partial(aegis.seconds, "chained", count=count),
    }
    kernel, one, together, *taken = in_turn(
        rounds,
        lambda: (cpu_us(allowed()[1], rounds=3) + signature_us()) * count / 1e6,
        lambda: mine.run(1),
        lambda: mine.run(CALLERS),
        *theirs.values(),
    )
    for said, own in (("nothing kept", kernel), ("kept", one), ("kept, by 64", together)):
        for name, seconds in zip(theirs, taken, strict=True):
            got = f"{count / own:.0f} /s, and {count / seconds:.0f} /s"
            ratio(f"in memory, {said}, over {name}", seconds / own, "at least 1.00", got)
