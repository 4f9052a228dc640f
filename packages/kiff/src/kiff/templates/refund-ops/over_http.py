"""The five endings once more, over HTTP: a real server on a free port, and a key each for whoever calls.

The calls of `story.py` are the same, and so must their endings be. The server has a database, a signing key and a
payment ledger of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from audit import TENANT, Findings, audit
from executors import registry
from ledger_process import LedgerProcess
from screen import Screen
from story import ENDINGS, FIVE, Ending, Stage, order_id

from kiff import Caller, Domain, Runtime
from kiff.client import Client
from kiff.protocol.authority import Member
from kiff.server.serving import Serving
from kiff.server.settings import ServerSettings

T = TypeVar("T")
MEMBERS = (
    Member(TENANT, "ops-agent", "agent", None, None, "ops_agent", True),
    Member(TENANT, "ops-human", "human", None, None, "ops_operator,auditor", True),
    Member(TENANT, "stripe", "service", None, None, "event_source", True),
)
STOP_SECONDS = 20


@dataclass
class Played:
    """What came of it.

    Args:
        differences: where an ending is not that of the same call in this process.
        deviations: where it is not as promised.
        found: what the auditor says of the server's database and ledger.
    """

    url: str
    endings: list[Ending]
    differences: dict[str, list[str]]
    deviations: list[str]
    found: Findings


def play_over_http(folder: Path, debits: Path, head: Path, domain: Domain, endings: list[Ending]) -> Played:
    """Plays the five endings against a server that starts for it, and looks at what it leaves behind.

    Args:
        folder: the server's data; the next run goes on there.
        debits: its payment ledger's file.
        head: where the signed head of its log is kept, outside of it.
        endings: those of the same calls in this process.
    """
    with ExitStack() as stack:
        ledger = LedgerProcess(debits)
        stack.callback(ledger.stop)
        serving = stack.enter_context(_serving(folder, ledger, domain))
        url = serving.url
        stack.callback(ledger.stop)  # before the server: a payment that hangs there ends too
        clients = {
            member.id: stack.enter_context(Client(url, serving.tower.mint(TENANT, member.id, "demo")))
            for member in MEMBERS
        }
        wire = Wire(clients)
        number = 0
        while wire.read.state(f"order:{order_id(number, 1)}") is not None:
            number += 1
        # It has every verb that the story uses.
        stage = Stage(cast("Runtime", wire), ledger, Screen(StringIO()), number)
        for scenario in ENDINGS:
            scenario(stage)
        heads = [head.read_bytes()] if head.exists() else []
        head.write_bytes(serving.tower.runtime.checkpoint(TENANT).result())
        heads.append(head.read_bytes())
        found = audit(folder / "kiff.db", folder / "kiff.db.key.jwks.json", ledger.debits(), heads)
    here, there = _by_title(endings), _by_title(stage.endings)
    # What the calls in this process did not come to was named as a deviation there.
    differences = {title: _differences(here[title], there.get(title, {})) for title in FIVE if title in here}
    return Played(url, stage.endings, differences, stage.deviations, found)


@contextmanager
def _serving(folder: Path, ledger: LedgerProcess, domain: Domain) -> Iterator[Serving]:
    serving = Serving(ServerSettings(data=folder, port=0), executors=registry(ledger.address))
    thread = threading.Thread(target=serving.run, name="kiff-server", daemon=True)
    thread.start()
    try:
        serving.tower.found(TENANT, list(MEMBERS))
        serving.tower.activate(TENANT, domain)
        yield serving
    finally:
        serving.stop()
        thread.join(STOP_SECONDS)


class Wire:
    """The verbs of a runtime, through the client of whoever calls: here a caller has no more authority than its key."""

    def __init__(self, clients: dict[str, Client]) -> None:
        self._clients = clients
        self.read = Reading(clients["ops-human"])

    def execute(self, caller: Caller, **call: Any) -> Answer[Any]:
        return Answer(self._clients[caller.principal.id].execute(**call))

    def ingest(self, caller: Caller, **event: Any) -> Answer[Any]:
        return Answer(self._clients[caller.principal.id].ingest(**event))

    def grant(self, caller: Caller, approval_id: str, reason: str) -> Answer[Any]:
        return Answer(self._clients[caller.principal.id].grant(approval_id, reason))

    def deny(self, caller: Caller, approval_id: str, reason: str) -> Answer[Any]:
        return Answer(self._clients[caller.principal.id].deny(approval_id, reason))


class Reading:
    """What the story reads back, as the server tells an auditor."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def state(self, entity: str) -> Any:
        return self._client.state(entity)

    def timeline(self, entity: str, *, after: int = -1) -> list[dict[str, Any]]:
        return list(self._client.timeline(entity, after=after))


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
