"""A scenario over HTTP: a served tower on a SQLite file, or two on a PostgreSQL database whose calls alternate, and a
`kiff.client.Client` with a key for each principal.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import json, structs
from scenario_cases import Case
from scenario_drivers import FIRST, METHODS, PATIENCE_SECONDS, Counter, Outside, SetClock, executors_of, sweep

from kiff import Domain
from kiff.client import Client
from kiff.errors import NotFound
from kiff.ledger import PublicKeys, parse_jwks
from kiff.protocol.authority import Member
from kiff.runtime.executors import Running
from kiff.server.serving import Serving
from kiff.server.settings import SQLITE, Limits, ServerSettings

TENANT = "default"
OWNER = "scenario-owner"
"""Who enrols the others, and looks at the end. No scenario has a principal of that name."""
CALM = Limits(key_rate=0, tenant_rate=0)


class Otherwise(NamedTuple):
    """A step that the wire answers otherwise than the runtime does, and why that is right."""

    file: str
    verb: str
    says: dict[str, str]
    expect: dict[str, Any]
    because: str


OTHERWISE = (
    Otherwise(
        "decide_mode",
        "settle",
        {"as": "other-sender"},
        {"error": "not_found"},
        "what a key may not see is not there: another agent's operation is not found, where the runtime forbids",
    ),
    Otherwise(
        "unknown_outcomes",
        "settle",
        {"as": "clerk"},
        {"error": "not_found"},
        "the same for a person who may neither read the operation nor settle it",
    ),
    Otherwise(
        "events",
        "ingest",
        {"entity": "basket:b_1"},
        {"error": "unknown_entity_type"},
        "the runtime's `not_found` has this code on the wire, with the same status (PROTOCOL, Execute)",
    ),
    Otherwise(
        "ids",
        "execute",
        {"as": "cyrillic-agent"},
        {"error": "invalid", "detail": {"field": "member_id"}},
        "an actor is a member, and this one is refused when it is enrolled, before it has a key to call with",
    ),
)
"""Every step that expects something else over HTTP. There is none that cannot be said at all."""


def over_http(case: Case) -> Case:
    """The case as the wire answers it."""
    return structs.replace(case, steps=[_answered(case.file, step) for step in case.steps])


def _answered(file: str, step: dict[str, Any]) -> dict[str, Any]:
    for other in OTHERWISE:
        if other.file == file and other.verb in step and other.says.items() <= step[other.verb].items():
            return step | {"expect": other.expect}
    return step


class OverHttp:
    """Clients of the servers in this process; their clock and sweep are the scenario's.

    Args:
        database: the URL of an empty database, which two servers share; without it there is one, on SQLite.
    """

    def __init__(self, folder: Path, domain: Domain, clock: SetClock, outside: Outside, database: str = "") -> None:
        settings = ServerSettings(folder / "data", database or SQLITE, port=0, limits=CALM)
        options: dict[str, Any] = {"executors": executors_of(domain, outside), "clock": clock, "ids": Counter()}
        self._servings = [Serving(settings, **options) for _ in range(2 if database else 1)]
        self._towers = [serving.tower for serving in self._servings]
        self._threads = [threading.Thread(target=each.run, name="scenario-server") for each in self._servings]
        for tower, thread in zip(self._towers, self._threads, strict=True):
            tower.runtime._sweeper.close()
            thread.start()
        self._turns = count()
        self._calls = ThreadPoolExecutor(16)
        self._clients: dict[tuple[str, str, int], Client] = {}
        self._secrets: dict[tuple[str, str], str] = {}
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._type = domain.entity_type
        self._owner_of(TENANT)
        self._towers[0].activate(TENANT, domain)

    @property
    def _owner(self) -> Client:
        return self._owner_of(TENANT)

    def send(self, verb: str, who: dict[str, Any], arguments: dict[str, Any]) -> Future[Any]:
        client = self._client_of(dict(who))
        first = FIRST.get(verb)
        positional = () if first is None else (arguments.pop(first),)
        return self._calls.submit(getattr(client, METHODS.get(verb, verb)), *positional, **arguments)

    def running(self) -> list[Running]:
        return [running for tower in self._towers for running in tower.runtime.running()]

    def sweep(self) -> None:
        for tower in self._towers:
            sweep(tower.runtime)

    def settled(self) -> None:
        for tower in self._towers:
            tower.runtime.checkpoint(TENANT).result(timeout=PATIENCE_SECONDS)

    def trail(self, entity: str) -> list[dict[str, Any]]:
        if entity.startswith(f"{self._type}:"):
            return list(self._owner.timeline(entity))
        # On the wire a name whose prefix is no declared type is an id, so these records are found in the whole log.
        return [record for record in self._owner.records() if record["entity"] == entity]

    def state(self, entity: str) -> str | None:
        found = self._owner.state(entity)
        return None if found is None else found.state

    def approvals(self) -> list[str]:
        return [approval.status for approval in self._owner.approvals()]

    def operations(self) -> list[str]:
        return [operation.status for operation in self._owner.operations()]

    def rebuilt(self, entity: str) -> bool:
        try:
            return self._owner.rebuild(entity).match
        except NotFound:  # nothing has happened to it
            return self.state(entity) is None

    def receipt(self, receipt_id: str) -> dict[str, Any]:
        return self._owner.receipt(receipt_id, proof=True)

    def keys(self) -> PublicKeys:
        return parse_jwks(json.encode(self._owner.public_keys()))

    def close(self) -> None:
        self._calls.shutdown()
        for client in self._clients.values():
            client.close()
        for serving in self._servings:
            serving.stop()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "the server did not stop"

    def _client_of(self, who: dict[str, Any]) -> Client:
        """The client of a principal, who is enrolled as the case has them now: two names may be one member."""
        tenant = who.pop("tenant", TENANT)
        member = (tenant, who["id"])
        owner = self._owner_of(tenant)
        if self._known.get(member) != who:
            owner.members.set(who["id"], **{name: value for name, value in who.items() if name != "id"})
            self._known[member] = who
        if member not in self._secrets:
            self._secrets[member] = str(owner.keys.create(principal=who["id"]).secret)
        return self._next(*member)

    def _owner_of(self, tenant: str) -> Client:
        if (tenant, OWNER) not in self._secrets:
            self._towers[0].found(tenant, [Member(tenant, OWNER, "human", None, None, "tenant_owner", True)])
            self._secrets[tenant, OWNER] = self._towers[0].mint(tenant, OWNER, "the scenario's owner")
        return self._next(tenant, OWNER)

    def _next(self, tenant: str, member: str) -> Client:
        """The member's client of the server whose turn it is."""
        turn = next(self._turns) % len(self._servings)
        if (tenant, member, turn) not in self._clients:
            client = Client(self._servings[turn].url, self._secrets[tenant, member], timeout=PATIENCE_SECONDS)
            self._clients[tenant, member, turn] = client
        return self._clients[tenant, member, turn]
