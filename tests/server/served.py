"""A served tower for tests: real sockets, a real SQLite file, executors whose effects are counted outside of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from kiff import ActionFailed, Operation, load
from kiff.protocol.authority import Member
from kiff.server.serving import Serving
from kiff.server.settings import Limits, ServerSettings

DOMAIN = Path(__file__).parents[2] / "packages/kiff/src/kiff/templates/refund-ops/kiff.yaml"
TENANT = "kiff-demo"
PATIENCE_SECONDS = 20.0
CALM = Limits(key_rate=0, tenant_rate=0)
"""No rate limits: most tests ask as fast as they can."""


class Told(NamedTuple):
    """One answer."""

    status: int
    body: Any
    headers: dict[str, str]
    raw: bytes


class Outside:
    """The world that executors change, and what changed there.

    Attributes:
        behaviour: `succeed`, `fail`, `raise` or `hang` (until `let_go`).
        effects: entity id -> how often it was changed.
    """

    def __init__(self) -> None:
        self.behaviour = "succeed"
        self.effects: dict[str, int] = {}
        self.let_go = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, operation: Operation) -> dict[str, Any]:
        if self.behaviour == "hang":
            self.let_go.wait(PATIENCE_SECONDS)
        if self.behaviour == "fail":
            raise ActionFailed("the outside said no")
        with self._lock:
            self.effects[operation.entity_id] = self.effects.get(operation.entity_id, 0) + 1
        if self.behaviour == "raise":
            raise ConnectionError("the line went dead with the secret hunter2")
        amount = operation.parameters.get("amount", 0)
        return {"status": "succeeded", "message": f"auto-refund of ${amount:,.2f} issued"}


class Client:
    """A plain client of a server.

    Attributes:
        host: `host:port`.
        keys: name -> secret.
    """

    host: str
    keys: dict[str, str]

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: str | None = "agent",
        headers: Mapping[str, str] | None = None,
    ) -> Told:
        """One request on a connection of its own.

        Args:
            body: a value that becomes JSON; bytes are sent as they are.
            key: a name in `keys`, a secret, or None for no key at all.
        """
        sent = dict(headers or {})
        if key is not None and "authorization" not in {name.lower() for name in sent}:
            sent["Authorization"] = f"Bearer {self.keys.get(key, key)}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None and "content-type" not in {name.lower() for name in sent}:
            sent["Content-Type"] = "application/json"
        connection = HTTPConnection(self.host, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        told = {name.lower(): value for name, value in response.getheaders()}
        is_json = "json" in told.get("content-type", "")
        return Told(response.status, json.loads(raw) if is_json else raw, told, raw)

    def get(self, path: str, key: str | None = "agent", **more: Any) -> Told:
        return self.ask("GET", path, None, key, **more)

    def post(self, path: str, body: Any = None, key: str | None = "agent", **more: Any) -> Told:
        return self.ask("POST", path, body, key, **more)

    def paid(self, *orders: str, key: str = "owner") -> None:
        """Orders that are placed and paid."""
        for order in orders:
            for event in ("ORDER_PLACED", "ORDER_PAID"):
                told = self.post("/v1/events", {"type": event, "entity_id": order, "entity_type": "order"}, key)
                assert told.status == 201, told

    def execute(self, order: str, action: str = "AUTO_REFUND", amount: float = 49.0, **more: Any) -> Told:
        """The seed's execute call by the agent."""
        key = more.pop("key", "agent")
        headers = more.pop("headers", None)
        body = {"entity_type": "order", "parameters": {"amount": amount, "reason": "customer request"}, **more}
        return self.post(f"/v1/entities/{order}/actions/{action}/execute", body, key, headers=headers)

    def decide(self, order: str, action: str = "AUTO_REFUND", amount: float = 49.0, **more: Any) -> Told:
        """The decide call of a guard."""
        key = more.pop("key", "agent")
        headers = more.pop("headers", None)
        parameters = {"amount": amount, "reason": "customer request"}
        body = {"entity_id": order, "entity_type": "order", "action_name": action, "parameters": parameters, **more}
        return self.post("/v1/proposals/decide", body, key, headers=headers)


class Served(Client):
    """A running server, its keys, and a plain client.

    Args:
        outside: what the executors change.
        options: of the runtime (`clock`, `store`, `probe`, …).

    Attributes:
        keys: agent (bound to ops-agent), reviewer (bound to ops-human), owner.
    """

    def __init__(
        self,
        data: Path,
        limits: Limits = CALM,
        *,
        outside: Outside | None = None,
        options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.outside = outside or Outside()
        names = ("refund.issue_refund", "orders.mark_paid")
        given = ServerSettings(data=data, port=0, limits=limits, **settings)
        self.serving = Serving(given, executors=dict.fromkeys(names, self.outside), **(options or {}))
        self.tower = self.serving.tower
        self.host = self.serving.url.removeprefix("http://")
        self._thread = threading.Thread(target=self.serving.run, name="served", daemon=True)
        self._thread.start()
        self.keys = self.found(TENANT)

    def found(self, tenant: str) -> dict[str, str]:
        """A tenant with the refund domain and three keys."""
        members = [
            Member(tenant, "ops-agent", "agent", "owner", None, "ops_agent", True),
            Member(tenant, "ops-human", "human", None, None, "ops_operator,auditor", True),
            Member(tenant, "owner", "human", None, None, "tenant_owner,admin,event_source,operator", True),
        ]
        self.tower.found(tenant, members)
        self.tower.activate(tenant, load(DOMAIN.read_text("utf-8")))
        whose = {"agent": "ops-agent", "reviewer": "ops-human", "owner": "owner"}
        return {name: self.tower.mint(tenant, member, name) for name, member in whose.items()}

    def close(self) -> None:
        self.outside.let_go.set()
        self.serving.stop()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the server did not stop"


def wait_for(condition: Callable[[], object]) -> None:
    """Waits until the condition holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


@contextmanager
def served(data: Path, limits: Limits = CALM, **settings: Any) -> Iterator[Served]:
    shop = Served(data, limits, **settings)
    try:
        yield shop
    finally:
        shop.close()
