"""Webhooks over real sockets: what is refused, what is signed, in what order it comes, and that nothing gets lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked import Message, Receiver, allowing, takes
from msgspec import structs
from outside_line import OutsideLine, flood, reset
from served import TENANT, Served, served, wait_for
from standardwebhooks import WebhookVerificationError

from kiff.analysis import verify_store
from kiff.ledger.keys import parse_jwks
from kiff.protocol.webhook import endpoints_of, kept
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Append
from kiff.runtime.rows import Delivery, Hooks
from kiff.server import outbox
from kiff.server.outbox import Outbox
from kiff.server.tower import DATABASE
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

PLACED = {"type": "ORDER_PLACED", "entity_type": "order"}
PAID = {"type": "ORDER_PAID", "entity_type": "order"}


class MovedClock(SystemClock):
    """The time, and what a test adds to it."""

    ahead_ms = 0

    def now(self) -> int:
        return super().now() + self.ahead_ms


class Shop:
    """A server whose operator allows this machine, its clock, and a receiver.

    Attributes:
        hook: the endpoint's id; secret: what it signs with.
    """

    def __init__(self, shop: Served, clock: MovedClock, receiver: Receiver) -> None:
        self.shop = shop
        self.clock = clock
        self.receiver = receiver
        self.hook, self.secret = self.add(receiver.url)

    def add(self, url: str, events: tuple[str, ...] = ("*",), **more: Any) -> tuple[str, str]:
        told = self.shop.post("/v1/webhooks", {"url": url, "events": list(events), **more}, "owner")
        assert told.status == 201, told
        return told.body["webhook"]["id"], told.body["secret"]

    def event(self, order: str, body: dict[str, Any] = PLACED) -> None:
        assert self.shop.post("/v1/events", {**body, "entity_id": order}, "owner").status == 201

    def listed(self, hook: str | None = None) -> Any:
        hooks = self.shop.get("/v1/webhooks", "owner").body["webhooks"]
        return next(each for each in hooks if each["id"] == (hook or self.hook))

    def waiting(self, hook: str | None = None, **query: str) -> list[Any]:
        """What has not arrived."""
        asked = "".join(f"&{name}={value}" for name, value in query.items())
        told = self.shop.get(f"/v1/webhooks/{hook or self.hook}/deliveries?limit=200{asked}", "owner")
        assert told.status == 200, told
        return told.body["deliveries"]  # type: ignore[no-any-return]

    def settled(self) -> None:
        """Waits until everything has arrived."""
        try:
            wait_for(lambda: not self.waiting())
        except AssertionError:
            raise AssertionError(f"this never arrived: {self.waiting()}") from None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def shop(tmp_path: Path, receiver: Receiver) -> Iterator[Shop]:
    clock = MovedClock()
    with served(allowing(tmp_path), options={"clock": clock}) as shop:
        yield Shop(shop, clock, receiver)


# Refused


URLS = [
    "http://hooks.example.com/",
    "https://127.0.0.1/hook",
    "https://10.0.0.8/hook",
    "https://169.254.169.254/latest",
    "https://[::1]/hook",
    "https://2130706433/hook",
    "https://user:word@hooks.example.com/",
    "https://hooks.example.com/#part",
    "https://hooks.example.com:22/",
    "ftp://hooks.example.com/",
    "hooks.example.com",
    "",
]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose operator allows nothing beyond public addresses."""
    with served(tmp_path_factory.mktemp("strict")) as shop:
        yield shop


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_leads_nowhere_public_is_refused(strict: Served, url: str) -> None:
    told = strict.post("/v1/webhooks", {"url": url, "events": ["*"]}, "owner")
    assert (told.status, told.body["code"], told.body["field"]) == (400, "invalid", "url")
    assert not strict.get("/v1/webhooks", "owner").body["webhooks"]


@pytest.mark.parametrize("key", ["agent", "reviewer"])
def test_only_an_owner_sees_or_changes_webhooks(shop: Shop, key: str) -> None:
    where = f"/v1/webhooks/{shop.hook}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/v1/webhooks", None),
        ("POST", "/v1/webhooks", {"url": shop.receiver.url, "events": ["*"]}),
    ]
    asked += [("DELETE", where, None), ("POST", f"{where}/rotate", {}), ("POST", f"{where}/enable", None)]
    asked += [("POST", f"{where}/test", None), ("GET", f"{where}/deliveries", None)]
    asked += [("POST", f"{where}/replay", {"since": 0})]
    for method, path, body in asked:
        told = shop.shop.ask(method, path, body, key)
        assert (told.status, told.body["code"]) == (403, "permission_denied"), (method, path)


@pytest.mark.parametrize(
    "body",
    [
        {"events": []},
        {"events": ["everything"]},
        {"events": ["credential.issued"]},
        {"entity_types": ["order:1"]},
        {"entity_types": [""]},
        {"events": ["*"] * 65},
        {"secret": "whsec_mine"},
    ],
)
def test_what_an_endpoint_cannot_ask_for_is_refused(shop: Shop, body: dict[str, Any]) -> None:
    told = shop.shop.post("/v1/webhooks", {"url": shop.receiver.url, "events": ["*"]} | body, "owner")
    assert told.status == 400, told


@pytest.mark.parametrize("body", [{}, {"since": 0, "id": "whk_1-000000000001"}, {"since": -1}, {"since": "yesterday"}])
def test_a_replay_of_nothing_that_can_be_named_is_refused(shop: Shop, body: dict[str, Any]) -> None:
    assert shop.shop.post(f"/v1/webhooks/{shop.hook}/replay", body, "owner").status == 400


def test_nothing_follows_a_redirect(shop: Shop) -> None:
    with Receiver() as elsewhere:
        shop.receiver.says = lambda message: (302, {"location": elsewhere.url})
        shop.event("ord_1")
        wait_for(lambda: shop.waiting()[0]["attempts"] == 1)
        assert shop.waiting()[0]["last_failure"] == "answered 302, and redirects are not followed"
        assert not elsewhere.messages


def test_an_answer_without_an_end_keeps_nobody(shop: Shop) -> None:
    """What it says is not read to the end; that it took the message counts."""
    with OutsideLine(flood) as line:
        hook, _ = shop.add(line.url, events=("event.ingested",))
        shop.event("ord_1")
        wait_for(lambda: line.connections == 1 and not shop.waiting(hook))


def test_which_address_a_name_has_inside_is_not_told(tmp_path: Path) -> None:
    """A name that leads to a private address is refused when it is sent to: its tenant learns no more than that."""
    with served(tmp_path) as shop:
        told = shop.post("/v1/webhooks", {"url": "https://localhost.example/", "events": ["*"]}, "owner").body
        shop.tower.outbox._egress._resolve = lambda name, port: ["10.9.8.7"]
        tested = shop.post(f"/v1/webhooks/{told['webhook']['id']}/test", None, "owner").body
    assert tested == {"delivered": False, "status": None, "message": "where its URL leads nothing may be sent"}


# Told


def test_a_message_is_signed_as_the_specification_says(shop: Shop) -> None:
    shop.event("ord_1")
    shop.settled()
    for message in shop.receiver.messages:
        assert message.verified(shop.secret) == message.json
        with pytest.raises(WebhookVerificationError):
            message.verified("whsec_" + "A" * 43 + "=")
    changed = shop.receiver.messages[0]._replace(body=shop.receiver.messages[0].body.replace(b"ord_1", b"ord_2"))
    with pytest.raises(WebhookVerificationError):
        changed.verified(shop.secret)


def test_a_message_tells_the_record_and_its_receipt(shop: Shop) -> None:
    shop.shop.paid("ord_1")
    told = shop.shop.execute("ord_1")
    shop.settled()
    [decision] = shop.receiver.of("decision_recorded")
    assert decision.json["type"] == "decision.allowed"
    assert decision.json["data"]["receipt_id"] == told.body["result"]["receipt_id"]
    assert decision.id == f"{shop.hook}-{decision.record['seq']:012}"
    stored = shop.shop.tower.store.records(TENANT, after=decision.record["seq"] - 1, limit=1)
    assert stored[0].body in decision.body


def test_an_endpoint_hears_what_it_asked_for_and_no_more(shop: Shop) -> None:
    with Receiver() as other:
        shop.add(other.url, events=("approval.required", "state.*"), entity_types=["Order"])
        shop.shop.paid("ord_1")
        shop.shop.execute("ord_1", "REFUND_ORDER", amount=500.0)
        wait_for(lambda: len(other.messages) == 3)
        shop.settled()
    assert [each.json["type"] for each in other.messages] == ["state.changed", "state.changed", "approval.required"]


def test_a_test_message_says_what_came_of_it(shop: Shop) -> None:
    path = f"/v1/webhooks/{shop.hook}/test"
    assert shop.shop.post(path, None, "owner").body == {"delivered": True, "status": 200, "message": ""}
    shop.receiver.says = lambda message: (500, {})
    told = shop.shop.post(path, None, "owner").body
    assert told == {"delivered": False, "status": 500, "message": "answered 500"}
    first, second = shop.receiver.messages
    assert first.verified(shop.secret)["type"] == "webhook.test"
    assert first.id != second.id
    assert not shop.waiting()


def test_both_secrets_sign_until_the_overlap_ends(shop: Shop) -> None:
    path = f"/v1/webhooks/{shop.hook}/rotate"
    new = shop.shop.post(path, {"overlap_seconds": 100}, "owner").body["secret"]
    shop.event("ord_1", PLACED)
    shop.settled()
    message = shop.receiver.messages[-1]
    assert message.verified(shop.secret) == message.verified(new)
    assert shop.listed()["old_secret_until"]
    shop.clock.ahead_ms = 101_000
    shop.event("ord_2", PLACED)
    shop.settled()
    message = shop.receiver.messages[-1]
    assert message.verified(new)
    with pytest.raises(WebhookVerificationError):
        message.verified(shop.secret)


def test_secrets_are_shown_once_and_are_nowhere_else(shop: Shop, tmp_path: Path) -> None:
    body = {"url": f"{shop.receiver.url}/mine", "events": ["*"]}
    headers = {"idempotency-key": "add-it-once"}
    first = shop.shop.post("/v1/webhooks", body, "owner", headers=headers)
    again = shop.shop.post("/v1/webhooks", body, "owner", headers=headers)
    assert (first.status, again.status, again.body["secret"]) == (201, 200, None)
    rotated = shop.shop.post(f"/v1/webhooks/{shop.hook}/rotate", {}, "owner").body["secret"]
    secrets = [shop.secret, first.body["secret"], rotated]
    shop.event("ord_1")
    shop.settled()
    store = shop.shop.tower.store
    seen = b"".join(row.body for row in store.records(TENANT))
    seen += b"".join(row.endpoints for row in store.rows(Hooks, TENANT))
    seen += shop.shop.get("/v1/webhooks", "owner").raw
    seen += b"".join(each.read_bytes() for each in tmp_path.glob("kiff.db*"))
    for secret in secrets:
        assert secret.removeprefix("whsec_").encode() not in seen


# In order, and at least once


class OneBad:
    """Answers 500 to what is about one entity, while it is bad.

    Attributes:
        taken: (entity, seq) of what it answered 200 to, in that order.
    """

    def __init__(self, entity: str) -> None:
        self._entity = entity
        self.is_bad = True
        self.taken: list[tuple[str, int]] = []

    def __call__(self, message: Message) -> tuple[int, dict[str, str]]:
        if self.is_bad and message.record["entity"] == self._entity:
            return 500, {}
        self.taken.append((message.record["entity"], message.record["seq"]))
        return 200, {}

    def of(self, entity: str) -> list[int]:
        return [seq for whose, seq in self.taken if whose == entity]


def test_an_entity_that_fails_keeps_its_order_and_holds_up_nobody_else(shop: Shop) -> None:
    shop.receiver.says = bad = OneBad("order:bad")
    for order in ("bad", "good"):
        shop.event(order, PLACED)
        shop.event(order, PAID)
    wait_for(lambda: shop.waiting()[0]["attempts"] == 1 and len(shop.waiting()) == 4)
    assert len(bad.of("order:good")) == 4
    assert not bad.of("order:bad")
    bad.is_bad = False
    shop.clock.ahead_ms = 7_000
    shop.settled()
    for entity in ("order:good", "order:bad"):
        assert bad.of(entity) == sorted(bad.of(entity))


class Hurried(SqliteStore):
    """Lends whatever is due, first in its line or not: the control."""

    def lease(self, tenant: str, endpoint: str, now: int, until: int, *, limit: int) -> list[Delivery]:
        rows = [row for row in self.deliveries(tenant, endpoint) if row.due_at <= now]
        return self._leases.take(rows, now, until, limit)


def test_without_the_line_of_an_entity_its_order_is_lost(tmp_path: Path, receiver: Receiver) -> None:
    """The control of the test above."""
    clock = MovedClock()
    store = Hurried(allowing(tmp_path) / "kiff.db", clock=clock)
    with served(tmp_path, options={"clock": clock, "store": store}) as served_shop:
        shop = Shop(served_shop, clock, receiver)
        shop.receiver.says = bad = OneBad("order:bad")
        shop.event("bad", PLACED)
        wait_for(lambda: shop.waiting()[0]["attempts"] == 1)
        bad.is_bad = False
        shop.event("bad", PAID)
        wait_for(lambda: len(bad.taken) >= 2)
        clock.ahead_ms = 7_000
        shop.settled()
    assert bad.of("order:bad") != sorted(bad.of("order:bad"))


def test_two_dispatchers_of_one_store_send_each_once(shop: Shop) -> None:
    tower = shop.shop.tower
    other = Outbox(tower.store, tower.runtime.webhooks, tower.egress, tower.hook_secrets, shop.clock, tower.counts)
    tower.watch(other.committed)
    other.start()
    for number in range(12):
        shop.event(f"ord_{number}")
    shop.settled()
    other.close(5)
    ids = [each.id for each in shop.receiver.messages]
    assert len(ids) == len(set(ids)) == 24


def test_an_endpoint_that_hangs_holds_up_no_other(shop: Shop) -> None:
    hold = threading.Event()

    def hangs(message: Message) -> tuple[int, dict[str, str]]:
        hold.wait(20)
        return 200, {}

    with Receiver(hangs) as slow:
        shop.add(slow.url, events=("event.*",))
        for number in range(10):
            shop.event(f"ord_{number}")
        shop.settled()
        assert len(slow.messages) == outbox.OF_AN_ENDPOINT
        hold.set()


def test_retry_after_is_kept_for_the_whole_endpoint(shop: Shop) -> None:
    shop.receiver.says = lambda message: (429, {"retry-after": "3600"})
    shop.event("ord_1")
    wait_for(lambda: shop.waiting()[0]["attempts"] == 1)
    shop.receiver.says = takes
    shop.clock.ahead_ms = 60_000
    with Receiver() as other:
        shop.add(other.url)
        shop.event("ord_2")
        wait_for(lambda: len(other.messages) == 2)
    row = shop.shop.tower.store.deliveries(TENANT, shop.hook)[0]
    assert row.due_at - shop.clock.now() > 3_400_000
    assert len(shop.receiver.messages) == 1
    shop.shop.post(f"/v1/webhooks/{shop.hook}/replay", {"since": row.seq}, "owner")
    shop.settled()


def test_attempts_are_counted_by_how_they_end(shop: Shop) -> None:
    shop.receiver.says = lambda message: (500, {}) if message.record["kind"] == "event_ingested" else (200, {})
    shop.add(f"{shop.receiver.url}/2", events=("state.*",))
    shop.event("ord_1")
    wait_for(lambda: shop.waiting()[0]["attempts"] == 1)
    wait_for(lambda: len(shop.receiver.messages) == 2)
    wait_for(lambda: b'kiff_webhook_attempts_total{ended="delivered"} 1.0' in shop.shop.get("/metrics", None).raw)
    assert b'kiff_webhook_attempts_total{ended="failed"} 1.0' in shop.shop.get("/metrics", None).raw


def test_a_line_that_breaks_is_an_attempt(shop: Shop) -> None:
    with OutsideLine(reset) as line:
        hook, _ = shop.add(line.url, events=("event.ingested",))
        shop.event("ord_1")
        wait_for(lambda: shop.waiting(hook) and shop.waiting(hook)[0]["attempts"] == 1)
        assert "connection was lost" in shop.waiting(hook)[0]["last_failure"]
        assert "connection was lost" in shop.listed(hook)["last_failure"]


def test_gone_switches_the_endpoint_off_until_somebody_puts_it_on(shop: Shop) -> None:
    shop.receiver.says = lambda message: (410, {})
    shop.event("ord_1")
    wait_for(lambda: not shop.listed()["enabled"])
    assert "410" in shop.listed()["off_because"]
    shop.receiver.says = takes
    assert shop.shop.post(f"/v1/webhooks/{shop.hook}/replay", {"since": 0}, "owner").status == 409
    assert shop.shop.post(f"/v1/webhooks/{shop.hook}/enable", None, "owner").body["enabled"] is True
    shop.clock.ahead_ms = 60_000
    shop.settled()
    assert len(shop.receiver.messages) == 3


def test_the_dead_are_listed_and_come_alive_by_a_replay(shop: Shop) -> None:
    shop.receiver.says = lambda message: (500, {}) if message.record["kind"] == "event_ingested" else (200, {})
    shop.event("ord_1")
    store, webhooks = shop.shop.tower.store, shop.shop.tower.runtime.webhooks
    wait_for(lambda: shop.waiting()[0]["attempts"] == 1)
    for _ in range(9):
        webhooks.attempted(store.deliveries(TENANT, shop.hook)[0], "failed", "answered 500").result(20)
    [dead] = shop.waiting(status="dead")
    assert (dead["attempts"], dead["last_failure"]) == (10, "answered 500")
    wait_for(lambda: len(shop.waiting()) == 1)
    shop.receiver.says = takes
    told = shop.shop.post(f"/v1/webhooks/{shop.hook}/replay", {"id": dead["id"]}, "owner")
    assert (told.status, told.body) == (200, {"count": 1, "next": None})
    shop.settled()
    assert shop.receiver.messages[-1].id == dead["id"]


def test_a_replay_since_a_place_sends_what_was_sent_with_the_same_ids(shop: Shop) -> None:
    shop.event("ord_1")
    shop.settled()
    first = [each.id for each in shop.receiver.messages]
    told = shop.shop.post(f"/v1/webhooks/{shop.hook}/replay", {"since": 0}, "owner").body
    shop.settled()
    ids = [each.id for each in shop.receiver.messages]
    assert told["count"] == len(ids) - 2 > 2
    assert [id for id in ids[2:] if id in first] == first


def test_what_is_due_to_a_removed_endpoint_goes_nowhere(shop: Shop) -> None:
    shop.receiver.says = lambda message: (500, {})
    shop.event("ord_1")
    wait_for(lambda: shop.waiting()[0]["attempts"] == 1)
    assert shop.shop.ask("DELETE", f"/v1/webhooks/{shop.hook}", None, "owner").status == 200
    shop.clock.ahead_ms = 7_000
    wait_for(lambda: not shop.shop.tower.store.deliveries(TENANT, shop.hook))
    assert len(shop.receiver.messages) == 1
    assert shop.shop.get(f"/v1/webhooks/{shop.hook}/deliveries", "owner").status == 404


def verified(shop: Shop) -> tuple[str, list[str]]:
    """What verification says of the store as it is now, and where it found something."""
    tower = shop.shop.tower
    tower.runtime.checkpoint(TENANT).result(20)
    verdict = verify_store(tower.store, parse_jwks((tower.settings.data / f"{DATABASE}.key.jwks.json").read_bytes()))
    return verdict.status, [f"{each.where} {each.field}".strip() for each in verdict.problems]


def test_a_log_with_webhooks_verifies(shop: Shop) -> None:
    removed, _ = shop.add(shop.receiver.url)
    path = f"/v1/webhooks/{shop.hook}"
    shop.shop.post(f"{path}/rotate", {}, "owner", headers={"idempotency-key": "again"})
    shop.shop.ask("DELETE", f"/v1/webhooks/{removed}", None, "owner")
    shop.shop.paid("ord_1")
    shop.shop.execute("ord_1")
    shop.settled()
    assert verified(shop) == ("valid", [])


def test_an_endpoint_that_was_led_elsewhere_is_found(shop: Shop) -> None:
    """Somebody with access to the rows sends the tenant's records to a place of their own."""
    store = shop.shop.tower.store
    [row] = store.rows(Hooks, TENANT)
    [endpoint] = endpoints_of(row.endpoints)
    mine = kept([structs.replace(endpoint, url=f"{shop.receiver.url}/mine"), structs.replace(endpoint, id="whk_x")])
    store.append(Append([], [structs.replace(row, endpoints=mine)], [], (), [], []))
    assert verified(shop) == ("invalid", [f"webhook {shop.hook} digest", "webhook whk_x"])
