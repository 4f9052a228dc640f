"""Tenants do not see one another, and do not wait for one another.

Every route of the table is asked with everything that another tenant calls its own, in every place of its path, of its
query and of its body, and must answer to the letter as it does to what does not exist.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from itertools import count, islice, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from line import Line, post
from served import DOMAIN, PATIENCE_SECONDS, Outside, Served, served, wait_for

from kiff import Caller, Principal, Runtime, load
from kiff.ledger import Ed25519Signer
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import AUTHOR, Credential, Member
from kiff.runtime import lane
from kiff.runtime.commands import SYSTEM
from kiff.runtime.ports import Append
from kiff.runtime.queue import FairQueue
from kiff.runtime.rows import CommandRow, NoteRow
from kiff.server.route import Route
from kiff.server.routes import ROUTES
from kiff.server.settings import Limits
from kiff.stores.memory import MemoryStore

pytestmark = pytest.mark.slow

WORD, OTHER_WORD = "xyzzy", "plugh"
"""What stands in everything that the other tenant named itself, and what stands there in ids that nobody has."""
EVERY = 1 if os.environ.get("KIFF_SOAK") == "1" else 3
"""Of what a field of a body could name, every so-manieth is tried, another one in each route."""
PAIRS = {
    "another tenant": ("asker-{}", "holder-{}"),
    "its live side asks": ("street-{}", "street-{}:test"),
    "its sandbox asks": ("street-{}:test", "street-{}"),
}
"""Who asks, and whose things are asked for."""
BY_NAME = ("/v1/log/{log_id}/checkpoint", "/v1/log/{log_id}/tile/{tile:path}", "/v1/log/{log_id}/consistency")
"""Whoever knows the name of a log, which nobody can guess, may fetch its hashes: its receipts point at them."""
STREAMS = ("/v1/stream",)
"""They never end."""
LIMITS = Limits(key_rate=0, tenant_rate=0, client_rate=0, code_rate=0)


class Hands(Outside):
    """Executors that hang, or whose answer is lost, for orders of that name only."""

    def __call__(self, operation: Any) -> Any:
        if "lost" in operation.entity_id:
            raise ConnectionError("no answer")
        if "hang" in operation.entity_id:
            self.let_go.wait(PATIENCE_SECONDS)
        return super().__call__(operation)


class Tenant(NamedTuple):
    """A tenant.

    Args:
        keys: boss (an owner who founds no tenants), agent.
        ids: what it has -> how it is called.
    """

    name: str
    keys: dict[str, str]
    ids: dict[str, str]


class Street(Served):
    """A server of many tenants."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, LIMITS, outside=Hands())
        self._numbers = count(1)

    def pair(self, kind: str) -> tuple[Tenant, Tenant]:
        """A fresh tenant that has nothing, and one that has something of everything."""
        number = next(self._numbers)
        asks, has = (self._made(name.format(number)) for name in PAIRS[kind])
        return asks, has._replace(ids=self._stock(has))

    def _made(self, name: str) -> Tenant:
        keys = self.found(name)
        roles = ["tenant_owner", "admin", "event_source", "ops_operator"]
        member = {"type": "human", "roles": roles, "name": "a boss"}
        assert self.ask("PUT", "/v1/members/a-boss", member, keys["owner"]).status == 200
        boss = self.post("/v1/keys", {"principal": "a-boss"}, keys["owner"]).body["secret"]
        return Tenant(name, {"boss": boss, "agent": keys["agent"]}, {})

    def _stock(self, has: Tenant) -> dict[str, str]:
        """Orders that were refunded, are held, were lost; an event, a member, a key, a domain, a draft, a runtime."""
        boss, agent = has.keys["boss"], has.keys["agent"]
        parameters = {"amount": 49.0, "reason": f"{WORD} reason"}
        orders = [f"{WORD}-done", f"{WORD}-held", f"{WORD}-lost"]
        self.paid(*orders, key=boss)
        done = self.execute(orders[0], parameters=parameters, id=f"{WORD}-proposal", key=agent)
        held = self.execute(orders[1], "REFUND_ORDER", parameters=parameters, key=agent)
        lost = self.execute(orders[2], parameters=parameters, key=agent)
        assert lost.body["result"]["status"] == "unknown"
        event = {"type": "ORDER_PLACED", "entity_id": f"{WORD}-new", "entity_type": "order", "id": f"{WORD}-event"}
        assert self.post("/v1/events", {**event, "payload": {"who": WORD}}, boss).status == 201
        member = {"type": "human", "roles": [], "name": WORD}
        assert self.ask("PUT", f"/v1/members/{WORD}-member", member, boss).status == 200
        key = self.post("/v1/keys", {"principal": f"{WORD}-member", "label": WORD}, boss).body["key"]["id"]
        guard = {"adapter": WORD, "mode": "enforce", "project": WORD}
        runtime = self.post("/v1/guard/connect", guard, agent).body["runtime_id"]
        tools = {"tools": [{"name": f"{WORD}_tool", "description": WORD}]}
        observed = self.post("/v1/guard/observations", {**guard, **tools}, agent).body["observation"]
        hook = {"url": f"https://hooks.example.com/{WORD}", "events": ["*"], "entity_types": [f"{WORD}-things"]}
        webhook = self.post("/v1/webhooks", hook, boss).body["webhook"]["id"]
        self._publish(boss)
        return {
            "tenant": has.name,
            "order": orders[0],
            "reference": f"order:{orders[1]}",
            "parcel": f"parcel:{WORD}-parcel",
            "named proposal": f"{WORD}-proposal",
            "drawn proposal": held.body["proposal_id"],
            "approval": held.body["approval_id"],
            "receipt": held.body["receipt_id"],
            "operation": lost.body["result"]["operation_id"],
            "trace": done.body["result"]["trace_id"],
            "event": f"{WORD}-event",
            "member": f"{WORD}-member",
            "key": key,
            "slug": f"{WORD}-ops",
            "version": f"{WORD}-ops-v2",
            "runtime": runtime,
            "observation": observed["runtime_id"],
            "webhook": webhook,
            "log": self.get("/v1/log", boss).body["log_id"],
        }

    def _publish(self, boss: str) -> None:
        """A domain of its own, and a draft of its next version."""
        text = DOMAIN.read_text("utf-8").replace("refund-ops", f"{WORD}-ops").replace("entity: Order", "entity: Parcel")
        path, yaml = f"/v1/me/domains/{WORD}-ops", {"Content-Type": "application/x-yaml"}
        for version in ("v2", "v9"):
            told = self.ask("PUT", path, text.replace("v2", version).encode(), boss, yaml)
            assert told.status in (200, 201), told
            if version == "v2":
                assert self.post(f"{path}/activate", {}, boss).status == 200


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    street = Street(tmp_path_factory.mktemp("street"))
    yield street
    street.close()


def twin(id: str) -> str:
    """An id of the same kind that nobody has."""
    if WORD in id:
        return id.replace(WORD, OTHER_WORD)
    if re.match("(street|holder)-", id):
        return re.sub("^[a-z]+", "nobody", id)
    return id[:-6] + "".join("0" if letter != "0" else "1" for letter in id[-6:])


class Asked(NamedTuple):
    """One answer, without what differs between any two."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


DRAWN = re.compile(r"(prop|rcpt|clr|appr|evt|key|ses|dev|trace|grt|run|whk)_[0-9A-Za-z]{10,}|[0-9a-f]{64}")
SECRET = re.compile(
    r"kiff_(live|test|session)_[a-z0-9.-]+_[0-9A-Za-z]{53}|[0-9a-f]{4}\.[\w-]{43}|[A-Z]{4}-[A-Z]{4}|whsec_[\w+/=]+"
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
MINES = re.compile(r"mine-\d+")
NUMBER = re.compile(r'"(seq|version|size|seen_count|updated_at)":\d+')


class Asker:
    """A caller who keeps the connection."""

    def __init__(self, connection: HTTPConnection, me: str, key: str) -> None:
        self._connection = connection
        self._me = me
        self._key = key

    def asked(self, method: str, path: str, id: str, body: bytes | None = None) -> Asked:
        """The answer, with `id` and who asks written `<name>`."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        text = SECRET.sub("<secret>", text)
        before, _, after = id.partition(":")
        me = (self._me, self._me.removesuffix(":test"))
        said = {*me, id, id.lower(), before, after} - {"", "order", "parcel", "test"}
        for name in sorted(said, key=len, reverse=True):
            text = text.replace(name, "<name>")
        text = NUMBER.sub(r'"\1":0', TIME.sub("<time>", DRAWN.sub("<drawn>", MINES.sub("mine", text))))
        told = sorted((name.lower(), value) for name, value in response.getheaders())
        kept = tuple(pair for pair in told if pair[0] not in ("content-length", "trace-id", "etag"))
        return Asked(response.status, kept, text)


@contextmanager
def asking(street: Street, tenant: Tenant, key: str) -> Iterator[Asker]:
    with closing(HTTPConnection(street.host, timeout=PATIENCE_SECONDS)) as connection:
        yield Asker(connection, tenant.name, tenant.keys[key])


def same(told: Asked, nothing: Asked, other: Tenant, what: str) -> None:
    """The two answers are the same, and tell nothing of the other tenant."""
    assert told == nothing, what
    assert told.status < 500, what
    for id in (*other.ids.values(), WORD):
        assert id not in told.body, (what, id)


def belongings(street: Street, has: Tenant) -> tuple[object, ...]:
    """All that a tenant has, as far as it is counted."""
    store, tenant = street.tower.store, has.name
    [head] = [head for head in store.heads() if head.tenant == tenant]
    kinds = (Credential, Member, ApprovalRequest, CommandRow)
    notes = [row for row in store.rows(NoteRow, tenant) if not row.id.startswith("used:")]
    return (head.size, head.root, *(store.count(kind, tenant) for kind in kinds), len(notes))


def asked_of(path: str) -> bool:
    return path not in BY_NAME + STREAMS


FITTING = {"name": "AUTO_REFUND", "id": "order:mine", "slug": "refund-ops", "tile": "0/000", "user_code": "AAAA-AAAA"}


def paths(route: Route, id: str) -> Iterator[str]:
    """The route's path with the id in each place in turn, and something that fits in the others."""
    parts = re.split(r"{(\w+)(?::path)?}", route.path)
    fitting = FITTING | ({"name": "stripe-webhook"} if "/adapters/" in route.path else {})
    for place in range(1, len(parts), 2):
        filled = [fitting.get(part, "mine") if at % 2 else part for at, part in enumerate(parts)]
        filled[place] = id
        yield "".join(filled)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["boss", "agent"])
@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_anothers_is_to_every_path_what_is_nobodys(street: Street, kind: str, key: str) -> None:
    asks, has = street.pair(kind)
    before = belongings(street, has)
    asked = 0
    with asking(street, asks, key) as me:
        for route in (route for route in ROUTES if asked_of(route.path)):
            body = b"{}" if route.body is not None else None
            for id in has.ids.values():
                for path, nothing in zip(paths(route, id), paths(route, twin(id)), strict=True):
                    one = me.asked(route.method, path, id, body)
                    two = me.asked(route.method, nothing, twin(id), body)
                    same(one, two, has, f"{route.method} {path}")
                    asked += 1
    assert asked > 500
    assert belongings(street, has) == before


@pytest.mark.slow
@pytest.mark.parametrize("key", ["boss", "agent"])
@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_anothers_is_to_every_query_what_is_nobodys(street: Street, kind: str, key: str) -> None:
    asks, has = street.pair(kind)
    asked = 0
    with asking(street, asks, key) as me:
        for route in (route for route in ROUTES if route.query is not None and asked_of(route.path)):
            path = next(paths(route, "mine"), route.path)
            for name, id in product(route.query.__struct_fields__, has.ids.values()):
                one = me.asked(route.method, f"{path}?{name}={id}", id)
                two = me.asked(route.method, f"{path}?{name}={twin(id)}", twin(id))
                same(one, two, has, f"{route.method} {path}?{name}={id}")
                asked += 1
    assert asked > 200


@pytest.mark.parametrize("key", ["boss", "agent"])
@pytest.mark.parametrize("kind", PAIRS)
def test_no_list_holds_what_is_anothers(street: Street, kind: str, key: str) -> None:
    asks, has = street.pair(kind)
    with asking(street, asks, key) as me:
        for route in ROUTES:
            if route.method == "GET" and "{" not in route.path and asked_of(route.path):
                told = me.asked("GET", route.path, has.name if asks.name.startswith(has.name) else "")
                assert not any(id in told.body for id in (*has.ids.values(), WORD)), route.path


MINE: dict[str, dict[str, Any]] = {
    "Proposal": {"entity_id": "mine", "entity_type": "order", "action_name": "AUTO_REFUND"},
    "Execute": {"entity_type": "order"},
    "Validate": {"entity_type": "order"},
    "Event": {"type": "ORDER_PLACED", "entity_id": "mine", "entity_type": "order"},
    "Review": {"reason": "looked at it"},
    "Outcome": {"status": "succeeded"},
    "Settlement": {"status": "succeeded", "reason": "looked at it"},
    "NewKey": {"label": "mine"},
    "MemberBody": {"type": "human"},
    "Connect": {"adapter": "mine", "mode": "enforce"},
    "Observe": {"adapter": "mine", "mode": "enforce", "tools": [{"name": "mine"}]},
    "Token": {"token": "mine.mine"},
    "DeviceCode": {"device_code": "mine"},
    "Start": {},
    "NewWebhook": {"url": "https://hooks.example.com/mine", "events": ["*"]},
}
"""A body of every kind, as far as it needs one."""
OBJECTS = frozenset({"parameters", "payload", "run_context", "evidence", "conditions", "mapping", "output"})
LISTS = frozenset({"roles", "events", "tools", "entity_types"})


def filled(route: Route, name: str, id: str, number: int) -> tuple[str, str, bytes]:
    """A path that fits the route, the id, and a body with the id in one of its members.

    Args:
        number: makes the rest of it new, so that no request is the second of its kind.
    """
    assert route.body is not None
    value: Any = {"id": id, "name": id} if name in ("actor", "owner") else id
    value = {"x": id} if name in OBJECTS else [id] if name in LISTS else value
    body = MINE.get(route.body.__name__, {}) | {name: value}
    path = next(paths(route, "mine"), route.path)
    return path.replace("mine", f"mine-{number}"), id, json.dumps(body).replace("mine", f"mine-{number}").encode()


@pytest.mark.slow
@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_anothers_is_to_every_body_what_is_nobodys(street: Street, kind: str) -> None:
    asks, has = street.pair(kind)
    before = belongings(street, has)
    asked, fresh = 0, count()
    with asking(street, asks, "boss") as me:
        for route in (route for route in ROUTES if route.body is not None and asked_of(route.path)):
            for name, id in islice(product(route.body.__struct_fields__, has.ids.values()), asked % EVERY, None, EVERY):
                one, two = (me.asked(route.method, *filled(route, name, x, next(fresh))) for x in (id, twin(id)))
                same(one, two, has, f"{route.method} {route.path} {name}={id}")
                asked += 1
    assert asked > 1_000 / EVERY
    assert belongings(street, has) == before


@pytest.mark.slow
def test_the_matrix_finds_a_leak(street: Street) -> None:
    """The control: asked with its own key, the other tenant is told what the matrix looks for."""
    _, has = street.pair("another tenant")
    found = set()
    with asking(street, has, "boss") as me:
        for route in (route for route in ROUTES if route.method == "GET" and asked_of(route.path)):
            for kind, id in has.ids.items():
                for path, nothing in zip(paths(route, id), paths(route, twin(id)), strict=True):
                    if me.asked("GET", path, id) != me.asked("GET", nothing, twin(id)):
                        found.add((route.path, kind))
    kinds = {"order", "reference", "approval", "receipt", "operation", "slug", "member", "webhook"}
    assert {kind for _, kind in found} >= kinds
    assert len(found) >= 20


def test_a_tenants_stream_tells_nothing_of_anothers(street: Street) -> None:
    """Of two records, the other's first, a stream that was open before them tells its own."""
    asks, has = street.pair("another tenant")
    size = street.get("/v1/log", asks.keys["boss"]).body["size"]
    with closing(HTTPConnection(street.host, timeout=PATIENCE_SECONDS)) as connection:
        headers = {"Authorization": f"Bearer {asks.keys['boss']}"}
        connection.request("GET", f"/v1/stream?after={size - 1}", None, headers)
        response = connection.getresponse()
        assert response.status == 200
        event = {"type": "ORDER_PLACED", "entity_type": "order"}
        assert street.post("/v1/events", {**event, "entity_id": f"{WORD}-streamed"}, has.keys["boss"]).status == 201
        assert street.post("/v1/events", {**event, "entity_id": "mine-streamed"}, asks.keys["boss"]).status == 201
        told = b""
        while b"mine-streamed" not in told:
            told += response.readline()
    assert WORD.encode() not in told


def test_the_sandbox_and_the_live_side_do_not_take_each_others_keys(street: Street) -> None:
    live, sandbox = street.pair("its live side asks")
    assert live.keys["boss"].startswith("kiff_live_") and sandbox.keys["boss"].startswith("kiff_test_")
    for key in (live.keys["boss"].replace("_live_", "_test_"), sandbox.keys["boss"].replace("_test_", "_live_")):
        assert street.get("/v1/me", key).status == 401
    assert street.get("/v1/me", sandbox.keys["boss"]).body["sandbox"] is True


def test_one_tenants_approval_is_of_no_use_to_another(street: Street) -> None:
    asks, has = street.pair("another tenant")
    approval_id = has.ids["approval"]
    for verb in ("grant", "deny", "cancel"):
        assert street.post(f"/v1/approvals/{approval_id}/{verb}", {"reason": "mine"}, asks.keys["boss"]).status == 404
    assert street.post(f"/v1/approvals/{approval_id}/grant", {"reason": "ours"}, has.keys["boss"]).status == 200
    street.paid(f"{WORD}-held", key=asks.keys["boss"])
    parameters = {"amount": 49.0, "reason": f"{WORD} reason"}
    asked = {"parameters": parameters, "approval_id": approval_id, "key": asks.keys["agent"]}
    told = street.execute(f"{WORD}-held", "REFUND_ORDER", **asked)
    assert (told.status, told.body["code"]) == (422, "approval_mismatch")
    assert f"{WORD}-held" not in street.outside.effects


@pytest.mark.slow
def test_every_tenant_signs_with_a_key_of_its_own(street: Street) -> None:
    kids = set()
    for kind in PAIRS:
        _, has = street.pair(kind)
        kids.add(street.get(f"/v1/receipts/{has.ids['receipt']}", has.keys["boss"]).body["kid"])
    assert len(kids) == len(PAIRS)


# One does not wait for another


def test_a_tenant_whose_executors_hang_leaves_the_others_their_slots(tmp_path: Path) -> None:
    with served(tmp_path, outside=Hands(), slots=4, tenant_slots=2) as shop, Line(shop) as one, Line(shop) as two:
        others = shop.found("other")
        shop.paid("hang-1", "hang-2", "hang-3")
        shop.paid("ord_1", "ord_2", key=others["owner"])
        body = json.dumps({"entity_type": "order", "parameters": {"amount": 1.0, "reason": "r"}}).encode()
        for number, line in enumerate((one, two), 1):
            line.send(post(shop, f"/v1/entities/hang-{number}/actions/AUTO_REFUND/execute", body))
            wait_for(lambda number=number: len(shop.tower.runtime.running()) == number)
        turned_away = shop.execute("hang-3")
        assert (turned_away.status, turned_away.body["code"]) == (503, "overloaded")
        for order in ("ord_1", "ord_2"):
            told = shop.execute(order, key=others["agent"])
            assert (told.status, told.body["result"]["status"]) == (200, "succeeded")
        shop.outside.let_go.set()
        assert [line.answer().status for line in (one, two)] == [200, 200]


class Counted(MemoryStore):
    """A store that counts its commits, and holds up the first of them after it was told to."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def append(self, batch: Append) -> None:
        assert self.go_on.wait(PATIENCE_SECONDS), "nobody let it go on"
        super().append(batch)
        self.commits += 1


class FirstCome(FairQueue[Any]):
    """One line for all: the control."""

    def put(self, tenant: str, item: Any, *, bounded: bool = True) -> None:
        super().put("all", item, bounded=bounded)


def commits_until_served(backlog: int) -> int:
    """In which commit a tenant's one call is served that came when another's backlog was there."""
    store = Counted()
    signer = Ed25519Signer(Ed25519PrivateKey.generate())
    served_in = []
    with Runtime(store, signer, max_waiting=backlog + 1) as runtime:
        for tenant in ("storm", "quiet"):
            runtime.activate(Caller(SYSTEM, (AUTHOR,), tenant), load(DOMAIN.read_text("utf-8"))).result()
        store.go_on.clear()
        asked = [decide(runtime, "storm", number) for number in range(backlog)]
        quiet = decide(runtime, "quiet", 0)
        quiet.add_done_callback(lambda done: served_in.append(store.commits))
        before = store.commits
        store.go_on.set()
        assert quiet.result(PATIENCE_SECONDS).outcome == "blocked"
        for pending in asked:
            pending.result(PATIENCE_SECONDS)
    return served_in[0] - before


def decide(runtime: Runtime, tenant: str, number: int) -> Any:
    agent = Caller(Principal("ops-agent", "agent"), ("ops_agent",), tenant)
    parameters = {"amount": 1, "reason": "r"}
    return runtime.propose(agent, entity=f"order:{number}", action="AUTO_REFUND", parameters=parameters)


@pytest.mark.slow
def test_a_backlog_of_thousands_is_its_own_tenants_wait() -> None:
    """One commit is under way when the quiet tenant asks; it is served with the next."""
    assert commits_until_served(3_000) <= 2


@pytest.mark.slow
def test_in_a_first_come_queue_everybody_would_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: fairness switched off."""
    monkeypatch.setattr(lane, "FairQueue", FirstCome)
    assert commits_until_served(3_000) > 3_000 // lane.BATCH
