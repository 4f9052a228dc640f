"""What conditions cost: beside the same by hand, many beside few, a file's load, beside other engines, in the lane.

python -m benchmarks.rules [--quick]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from benchmarks import ruled, simulated
from benchmarks.durable import in_turn
from benchmarks.lines import figure, note, ratio
from benchmarks.peers.environment import ROOT, NotThere, peers_python
from benchmarks.peers.process import Peer
from benchmarks.peers.ten_rules import CALLS, CASES, Plain, outcome
from benchmarks.subject import AGENT, Prepared, from_threads
from kiff import ActionContract, Domain, Limit, check
from kiff.domain import compiled
from kiff.gate.case import ruling

ANNOTATED = ROOT / "tests" / "domain" / "documents" / "annotated.yaml"
ACTIONS = 100
PEERS = (
    ("cedar_rules", "cedarpy", "decisions"),
    ("cel_rules", "CEL, a program each", "each"),
    ("cel_rules", "CEL, one program", "together"),
    ("aegis_rules", "aegis", "decisions"),
    ("toolkit_rules", "toolkit", "decisions"),
)
"""(module, how it is called here, job)."""


def measure(folder: Path, rounds: int, count: int) -> None:
    """Prints everything about rules. Args: as in `peers.compare.measure`."""
    governs = ruled.domain()
    _understood(governs)
    _by_hand(governs, rounds, count)
    _many(governs, rounds, count)
    _loading(rounds)
    _beside_peers(governs, folder, rounds, count)
    simulated.measure(folder, count)
    _in_the_lane(folder, min(rounds, 2), count // 4)


def _understood(governs: Domain) -> None:
    """All ways to ask the ten rules say the same."""
    terms = governs.terms[ruled.ACTION]
    for plain, expected in (*CASES, *((plain, "allowed") for plain in CALLS)):
        held = tuple(found.bound.code for found in ruling(terms, plain))
        assert held == ruled.by_hand(plain) == ruled.in_one_function(plain), plain
        assert ruled.decided(governs, plain).outcome == expected, plain


def _by_hand(governs: Domain, rounds: int, count: int) -> None:
    terms = governs.terms[ruled.ACTION]
    ours, table, function = in_turn(
        2 * rounds + 1,
        _cpu(lambda plain: ruling(terms, plain), count),
        _cpu(ruled.by_hand, count),
        _cpu(ruled.in_one_function, count),
    )
    got = f"{ours / count * 1e6:.1f} us"
    ratio("ten rules, over ten functions by hand", ours / table, "at most 3.00", got)
    ratio("the same, over one function of ten ifs", ours / function, "at most 3.00", got)


def _many(governs: Domain, rounds: int, count: int) -> None:
    names = [f"{ruled.ACTION}_{number}" for number in range(ACTIONS)]
    started = time.process_time()
    large = ruled.domain([ruled.action(name) for name in names])
    loaded = time.process_time() - started
    turns = cycle(names)
    one, same, spread = in_turn(
        rounds,
        _cpu(partial(ruled.decided, governs), count),
        _cpu(lambda plain: ruled.decided(large, plain, names[57]), count),
        _cpu(lambda plain: ruled.decided(large, plain, next(turns)), count),
    )
    rules = sum(len(terms.rules) for terms in large.terms.values())
    got = f"{same / count * 1e6:.1f} us"
    ratio(f"a decision among {rules} rules, over one among ten", same / one, "below 2.00", got)
    ratio(f"the same, its {ACTIONS} actions in turn", spread / one, "below 2.00", f"{spread / count * 1e6:.1f} us")
    figure(f"a domain of {rules} rules, checked and compiled", f"{loaded:.2f} s")


def _loading(rounds: int) -> None:
    text = ANNOTATED.read_bytes()

    def anew() -> object:
        compiled._kept.cache_clear()
        return check(text)

    warm, cold = in_turn(2 * rounds + 1, _once(lambda: check(text)), _once(anew))
    first = [_first_load() for _ in range(rounds)]
    milliseconds = {name: sorted(each[name] for each in first)[rounds // 2] * 1e3 for name in first[0]}
    figure("annotated file loaded and checked", f"{warm * 1e3:.1f} ms", "under 50 ms")
    figure("the same, every condition compiled anew", f"{cold * 1e3:.1f} ms", "under 50 ms")
    figure("the same, first in its process", f"{milliseconds['check']:.1f} ms")
    figure("importing what that takes", f"{milliseconds['import']:.1f} ms")


_FIRST = """
import json, sys, time
started = time.process_time()
from kiff import check
imported = time.process_time()
with open(sys.argv[1], "rb") as file:
    check(file.read())
print(json.dumps({"import": imported - started, "check": time.process_time() - imported}))
"""


def _first_load() -> dict[str, float]:
    """Processor seconds, in a process of its own."""
    ran = subprocess.run([sys.executable, "-c", _FIRST, str(ANNOTATED)], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def _beside_peers(governs: Domain, folder: Path, rounds: int, count: int) -> None:
    """Processor time of one thread for a decision about a call, from plain values to an outcome."""
    try:
        python = peers_python()
        with ExitStack() as stack:
            modules = dict.fromkeys(module for module, _, _ in PEERS)
            started = {module: stack.enter_context(Peer(python, module, folder)) for module in modules}
            versions = {name: number for peer in started.values() for name, number in peer.versions.items()}
            note(f"ten rules beside {', '.join(f'{name} {number}' for name, number in versions.items())}")
            count, few = count // 4, count // 20  # many short turns: what else the machine does falls on all alike
            terms = governs.terms[ruled.ACTION]
            gate, alone, *theirs = in_turn(
                4 * rounds,
                _cpu(partial(ruled.decided, governs), count),
                _cpu(lambda plain: outcome([found.bound.code for found in ruling(terms, plain)]), count),
                *(partial(started[module].seconds, job, count=few) for module, _, job in PEERS),
            )
    except NotThere as error:
        note(f"ten rules were not measured beside other engines: {error}")
        return
    whole, rules = gate / count * 1e6, alone / count * 1e6
    for (_, name, _), taken in zip(PEERS, theirs, strict=True):
        each = taken / few * 1e6
        ratio(f"ten rules, {name}, over KIFF", each / rules, "above 1.00", f"{each:.1f} us, and {rules:.1f} us")
        ratio("the same over KIFF's whole gate", each / whole, "above 1.00", f"{each:.1f} us, and {whole:.1f} us")


def _in_the_lane(folder: Path, rounds: int, count: int) -> None:
    """Durable executes of one refund, and what is asked of it besides."""
    actions = [
        ruled.action("PLAIN", rules=()),
        ruled.action("RULED"),
        ruled.action("CAPPED", limits=ruled.LIMITS),
        ruled.action("CAPPED_EACH", limits=[_each(limit) for limit in ruled.LIMITS]),
    ]
    prepared = Prepared(folder, count, ruled.domain(actions), {"total": 120.0, "currency": "USD"})
    asked = ("executes, {}, with ten rules, over none", "and two limits on the agent", "or two limits on the order")
    for callers in (64, 1):
        calls = count if callers > 1 else count // 6
        costs: list[list[float]] = [[] for _ in actions]
        subjects = [_executes(prepared, each, calls, callers, cost) for each, cost in zip(actions, costs, strict=True)]
        bare, *more = in_turn(rounds, *subjects)
        free, *spent = map(median, costs)
        said = f"{callers} callers" if callers > 1 else "one caller"
        for what, seconds, cost in zip(asked, more, spent, strict=True):
            got = f"{calls / seconds:.0f} /s, and {calls / bare:.0f} /s; processor time {cost / free:.2f}"
            ratio(what.format(said), bare / seconds, "", got)


def _each(limit: Limit) -> Limit:
    """The limit, counting for every order by itself."""
    return replace(limit, id=f"{limit.id}.of_order", key="entity.id")


def _executes(
    prepared: Prepared, contract: ActionContract, count: int, callers: int, costs: list[float]
) -> Callable[[], float]:
    """Seconds for so many executes. Args: costs: takes the processor time."""
    parameters = CALLS[0]["parameters"] | {"amount": 20}

    def seconds() -> float:
        with prepared.runtime() as runtime:

            def call(number: int) -> None:
                entity = f"order:{number}"
                answer = runtime.execute(AGENT, entity=entity, action=contract.name, parameters=parameters).result()
                assert answer.executed, answer

            started, spent = time.perf_counter(), time.process_time()
            from_threads(callers, count, call)
            costs.append(time.process_time() - spent)
            return time.perf_counter() - started

    return seconds


def _cpu(call: Callable[[Plain], object], count: int) -> Callable[[], float]:
    """Processor seconds for so many calls."""

    def seconds() -> float:
        started = time.process_time()
        for number in range(count):
            call(CALLS[number % len(CALLS)])
        return time.process_time() - started

    return seconds


def _once(call: Callable[[], object]) -> Callable[[], float]:
    """Processor seconds for one call."""

    def seconds() -> float:
        started = time.process_time()
        call()
        return time.process_time() - started

    return seconds


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), *((1, 500) if "--quick" in sys.argv[1:] else (5, 3000)))
