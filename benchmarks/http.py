"""Decisions over HTTP, beside the endpoint with nothing behind it, the rows with nothing around them, and FastAPI.

One worker, 32 connections kept alive, driven by wrk: a client written in Python would measure itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import floors
from benchmarks.lines import figure, note, ratio
from benchmarks.peers.environment import NotThere, peers_python
from benchmarks.subject import PARAMETERS, domain, from_threads
from kiff import Caller, Principal
from kiff.protocol.authority import Member
from kiff.runtime.ports import Append
from kiff.server.settings import Limits, ServerSettings
from kiff.server.tower import DATABASE, Tower
from kiff.stores import sqlite as store

HERE = Path(__file__).parent
TENANT = "bench"
CONNECTIONS, THREADS = 32, 2
STRIPE = Caller(Principal("stripe", "service"), ("adapter",), TENANT)
MEMBERS = [
    Member(TENANT, "ops-agent", "agent", None, None, "ops_agent", True),
    Member(TENANT, "stripe", "service", None, None, "adapter", True),
]
DECIDE, VALIDATE, BARE = "/v1/proposals/decide", "validate", "/bare"


class Load(NamedTuple):
    """What wrk said: requests a second, and milliseconds."""

    rate: float
    p50: float
    p99: float


def measure(folder: Path, rounds: int, seconds: int) -> None:
    """Prints the ratios; says what is missing when wrk is."""
    if shutil.which("wrk") is None:
        note("HTTP is not measured: it needs the load generator wrk (on Debian: apt-get install wrk)")
        return
    orders = 4_000 * seconds * THREADS
    prepared = folder / "http"
    prepare(prepared, orders)
    raw = _raw(prepared, folder, min(3_000, orders))
    loads: dict[str, list[Load]] = {BARE: [], DECIDE: [], VALIDATE: []}
    for _ in range(rounds):
        for path, found in loads.items():
            with served(prepared, folder) as (port, key):
                found.append(_wrk(port, key, path, orders // THREADS, seconds))
    bare, decide, validate = (median(load.rate for load in loads[path]) for path in loads)
    print(f"floor    the endpoint that parses, authenticates, answers {bare:8.0f} /s")
    print(f"floor    raw group commit of a decide's rows, 32 callers   {raw:8.0f} /s")
    ratio("durable signed decide over HTTP, over the bare endpoint", decide / bare, "at least 0.25", f"{decide:.0f} /s")
    ratio("the same, over the raw group commit", decide / raw, "at least 0.25", f"{decide:.0f} /s")
    ratio("validate over HTTP, over the bare endpoint", validate / bare, "at least 0.40", f"{validate:.0f} /s")
    p50, p99 = (median(getattr(load, name) for load in loads[DECIDE]) for name in ("p50", "p99"))
    figure("decide over HTTP, 32 connections, ms", f"p50 {p50:.1f}, p99 {p99:.1f}", "p99 under 30")
    try:
        echo = _echo(folder, seconds)
        figure("a FastAPI endpoint that echoes the same body", f"{echo.rate:.0f} /s", f"p99 {echo.p99:.1f} ms")
    except NotThere as missing:
        note(f"FastAPI is not measured: {missing}")
    figure("kiff up, from start to its first answer, s", f"{_start_up(folder):.2f}", "under 1")


def prepare(data: Path, orders: int) -> None:
    """A data folder with paid orders `0` to `orders - 1`."""
    tower = Tower(ServerSettings(data, limits=Limits(tenant_waiting=5_000)))
    tower.found(TENANT, MEMBERS)
    tower.activate(TENANT, domain())
    for event in ("ORDER_PLACED", "ORDER_PAID"):
        for start in range(0, orders, 2_000):
            numbers = range(start, min(start + 2_000, orders))
            waiting = [tower.runtime.ingest(STRIPE, type=event, entity=f"order:{n}") for n in numbers]
            for pending in waiting:
                pending.result()
    tower.close()


def _raw(prepared: Path, folder: Path, count: int) -> float:
    """Decides' rows a second, committed in groups from as many threads, with nothing around them."""
    captured: list[Append] = []

    class Captured(store.SqliteStore):
        def append(self, batch: Append) -> None:
            batch.receipts = list(batch.receipts)
            captured.append(batch)
            super().append(batch)

    data = _copy(prepared, folder)
    tower = Tower(ServerSettings(data), store=Captured(data / DATABASE))
    credential = tower.authenticator.credential(tower.mint(TENANT, "ops-agent", "raw"), fresh=True)
    agent = tower.authenticator.caller(credential, None, fresh=True)
    captured.clear()
    for number in range(count):
        tower.runtime.propose(agent, entity=f"order:{number}", action="AUTO_REFUND", parameters=PARAMETERS).result()
    tower.close()
    commits = [floors.statements(batch) for batch in captured if batch.records]
    group = floors.RawGroupCommit(_copy(prepared, folder) / DATABASE)
    started = time.perf_counter()
    from_threads(CONNECTIONS, len(commits), lambda number: group.submit(commits[number]).result())
    seconds = time.perf_counter() - started
    group.close()
    return len(commits) / seconds


@contextmanager
def served(prepared: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The measured process over a fresh copy; gives its port and a key."""
    command = [sys.executable, "-m", "benchmarks.http_server", str(_copy(prepared, folder))]
    with _process(command) as said:
        port, key = said.split()
        yield port, key


@contextmanager
def _process(command: list[str]) -> Iterator[str]:
    """A process whose first line says that it serves."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    assert process.stdout is not None, "it was started with a pipe"
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait(30)


def _wrk(port: str, key: str, path: str, orders: int, seconds: int) -> Load:
    options = [f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", "-s", str(HERE / "decide.lua")]
    command = ["wrk", *options, f"http://127.0.0.1:{port}", "--", key, "0", path, str(orders)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        note(f"{path}: {said[said.index('Non-2xx') :].splitlines()[0]}")
    return Load(_number(r"Requests/sec: +([\d.]+)", said), _ms("50%", said), _ms("99%", said))


def _number(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    assert found is not None, said
    return float(found[1])


def _ms(share: str, said: str) -> float:
    found = re.search(rf"{share} +([\d.]+)(us|ms|s)", said)
    assert found is not None, said
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def _echo(folder: Path, seconds: int) -> Load:
    with _process([str(peers_python()), str(HERE / "peers" / "fastapi_echo.py")]) as port:
        return _wrk(port.strip(), "none", BARE, 1, seconds)


def _start_up(folder: Path) -> float:
    """Seconds from the start of `kiff up` on an empty folder to its first answer; the best of three."""
    return min(_first_answer(folder / f"up-{number}") for number in range(3))


def _first_answer(data: Path) -> float:
    started = time.perf_counter()
    kiff = str(Path(sys.executable).with_name("kiff"))
    with _process([kiff, "up", "--data", str(data), "--port", "0", "-o", "json"]) as said:
        url = said.split('"')[3]
        urllib.request.urlopen(f"{url}/healthz").read()
        return time.perf_counter() - started


_copies = iter(range(1_000_000))


def _copy(prepared: Path, folder: Path) -> Path:
    target = folder / f"http-{next(_copies)}"
    shutil.copytree(prepared, target)
    return target
