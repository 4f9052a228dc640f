"""The five endings once more, over HTTP: a real server on a free port, and a key each for whoever calls.

The calls of `story.py` are the same, and so must their endings be. The server has a payment ledger of its own, and
a database and a signing key; on PostgreSQL it is two workers, in the same database, with a log of its own.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, cast
from urllib.request import urlopen

from audit import TENANT, Findings, audit
from executors import registry
from ledger_process import LedgerProcess
from screen import Screen
from server_process import WORKERS, ServerProcess
from story import ENDINGS, FIVE, Ending, Stage, order_id

from kiff import Caller, Domain, Runtime
from kiff.client import Client
from kiff.protocol.authority import Member
from kiff.server.serving import Serving
from kiff.server.settings import SQLITE, ServerSettings
from kiff.server.tower import Tower
from kiff.stores.opening import open_store

T = TypeVar("T")
MEMBERS = (
    Member(TENANT, "ops-agent", "agent", None, None, "ops_agent", True),
    Member(TENANT, "ops-human", "human", None, None, "ops_operator,auditor", True),
    Member(TENANT, "stripe", "service", None, None, "event_source", True),
)
TENANT_OF_WORKERS = "over-http"
"""Whose log is that of the two workers, beside the one of the calls in this process."""
STOP_SECONDS = 20
CONNECTIONS = 4
"""Of each caller to several workers: the system deals them out."""


class Evidence(NamedTuple):
    """What a server leaves behind: its database, its public keys, and its signed head."""

    where: str
    jwks: bytes
    head: bytes


@dataclass
class Served:
    """A server that runs.

    Args:
        keys: a secret for each member.
        end: brings the evidence, once nothing more is asked.
    """

    url: str
    tenant: str
    workers: int
    keys: dict[str, str]
    end: Callable[[], Evidence]


@dataclass
class Played:
    """What came of it.

    Args:
        decisions: how many each worker made, where there are several.
        differences: where an ending is not that of the same call in this process.
        deviations: where it is not as promised.
        found: what the auditor says of the server's database and ledger.
    """

    url: str
    decisions: list[int]
    endings: list[Ending]
    differences: dict[str, list[str]]
    deviations: list[str]
    found: Findings


def play_over_http(folder: Path, store: str, debits: Path, head: Path, domain: Domain, endings: list[Ending]) -> Played:
    """Plays the five endings against a server that starts for it, and looks at what it leaves behind.

    Args:
        folder: the server's data; the next run goes on there.
        store: `sqlite`, for one process with a database in that folder; or a PostgreSQL URL, for two workers.
        debits: its payment ledger's file.
        head: where the signed head of its log is kept, outside of it.
        endings: those of the same calls in this process.
    """
    with ExitStack() as stack:
        ledger = LedgerProcess(debits)
        stack.callback(ledger.stop)
        start = _one_process(folder, ledger, domain) if store == SQLITE else _workers(folder, store, ledger, domain)
        served = stack.enter_context(start)
        stack.callback(ledger.stop)  # before the server: a payment that hangs there ends too
        times = 1 if served.workers == 1 else CONNECTIONS
        wire = Wire(
            {
                member: [stack.enter_context(Client(served.url, secret)) for _ in range(times)]
                for member, secret in served.keys.items()
            }
        )
        number = 0
        while wire.read.state(f"order:{order_id(number, 1)}") is not None:
            number += 1
        # It has every verb that the story uses.
        stage = Stage(cast("Runtime", wire), ledger, Screen(StringIO()), number)
        for scenario in ENDINGS:
            scenario(stage)
        decisions = _decisions(served)
        evidence = served.end()
        heads = [head.read_bytes()] if head.exists() else []
        head.write_bytes(evidence.head)
        heads.append(evidence.head)
        found = audit(evidence.where, evidence.jwks, ledger.debits(), heads, served.tenant)
    here, there = _by_title(endings), _by_title(stage.endings)
    # What the calls in this process did not come to was named as a deviation there.
    differences = {title: _differences(here[title], there.get(title, {})) for title in FIVE if title in here}
    return Played(served.url, decisions, stage.endings, differences, stage.deviations, found)


@contextmanager
def _one_process(folder: Path, ledger: LedgerProcess, domain: Domain) -> Iterator[Served]:
    """A server in a thread of this process."""
    serving = Serving(ServerSettings(data=folder, port=0), executors=registry(ledger.address))
    thread = threading.Thread(target=serving.run, name="kiff-server", daemon=True)
    thread.start()

    def end() -> Evidence:
        head = serving.tower.runtime.checkpoint(TENANT).result()
        return Evidence(str(folder / "kiff.db"), serving.tower.keys.public(), head)

    try:
        yield Served(serving.url, TENANT, 1, _prepared(serving.tower, TENANT, domain), end)
    finally:
        serving.stop()
        thread.join(STOP_SECONDS)


@contextmanager
def _workers(folder: Path, store: str, ledger: LedgerProcess, domain: Domain) -> Iterator[Served]:
    """`kiff serve --workers 2`, in processes of its own."""
    with closing(Tower(ServerSettings(data=folder, store=store))) as tower:
        keys, public = _prepared(tower, TENANT_OF_WORKERS, domain), tower.keys.public()
    server = ServerProcess(folder, store, TENANT_OF_WORKERS, ledger.address)

    def end() -> Evidence:
        server.stop()  # the last thing that a worker does is to sign its heads
        with closing(open_store(store, read_only=True)) as opened:
            signed = opened.checkpoint(TENANT_OF_WORKERS)
        return Evidence(store, public, b"" if signed is None else signed.note)

    try:
        yield Served(server.url, TENANT_OF_WORKERS, WORKERS, keys, end)
    finally:
        server.stop()


def _prepared(tower: Tower, tenant: str, domain: Domain) -> dict[str, str]:
    """The tenant, its members and its domain are there. Returns a key for each member."""
    members = [Member(tenant, *(getattr(each, name) for name in Member.__struct_fields__[1:])) for each in MEMBERS]
    tower.found(tenant, members)
    tower.activate(tenant, domain)
    return {member.id: tower.mint(tenant, member.id, "demo") for member in members}


def _decisions(served: Served) -> list[int]:
    """How many decisions each of several workers made: asked until every one of them has answered."""
    found: dict[str, int] = {}
    while served.workers > 1 and len(found) < served.workers:
        with urlopen(f"{served.url}/metrics") as scraped:
            text = scraped.read().decode()
        [worker] = set(re.findall(r'worker="(\d+)"', text))
        found[worker] = sum(int(float(n)) for n in re.findall(r"^kiff_decisions_total{.*} (.*)$", text, re.MULTILINE))
    return [found[worker] for worker in sorted(found)]


class Wire:
    """The verbs of a runtime, through the client of whoever calls: here a caller has no more authority than its key."""

    def __init__(self, clients: dict[str, list[Client]]) -> None:
        self._clients = {member: cycle(connected) for member, connected in clients.items()}
        self.read = Reading(clients["ops-human"])

    def execute(self, caller: Caller, **call: Any) -> Answer[Any]:
        return Answer(self._of(caller).execute(**call))

    def ingest(self, caller: Caller, **event: Any) -> Answer[Any]:
        return Answer(self._of(caller).ingest(**event))

    def grant(self, caller: Caller, approval_id: str, reason: str) -> Answer[Any]:
        return Answer(self._of(caller).grant(approval_id, reason))

    def deny(self, caller: Caller, approval_id: str, reason: str) -> Answer[Any]:
        return Answer(self._of(caller).deny(approval_id, reason))

    def _of(self, caller: Caller) -> Client:
        return next(self._clients[caller.principal.id])


class Reading:
    """What the story reads back, as the server tells an auditor."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = cycle(clients)

    def state(self, entity: str) -> Any:
        return next(self._clients).state(entity)

    def timeline(self, entity: str, *, after: int = -1) -> list[dict[str, Any]]:
        return list(next(self._clients).timeline(entity, after=after))


class Answer(Generic[T]):
    """An answer that is there already."""

    def __init__(self, value: T) -> None:
        self._value = value

    def result(self) -> T:
        return self._value


def _by_title(endings: list[Ending]) -> dict[str, dict[str, Any]]:
    return {ending.title: _said(ending) for ending in endings}


def _said(ending: Ending) -> dict[str, Any]:
    """An ending without what no two calls have in common: ids, and places in a log."""
    told = asdict(ending) | {"receipts": len(ending.receipts)}
    told["trail"] = [(record["kind"], record["actor"]) for record in ending.trail]
    del told["order"]
    return told


def _differences(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {value} here, {there.get(name)} over HTTP" for name, value in here.items() if there.get(name) != value
    ]
