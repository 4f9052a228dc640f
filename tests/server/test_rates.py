"""How often and how much at once: turned away before anything is decided, with a time to come back."""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line import Line, head, post
from served import PATIENCE_SECONDS, TENANT, Served, Told, served, wait_for

from kiff.errors import RateLimited
from kiff.protocol.receipt import Receipt
from kiff.runtime.ports import Append
from kiff.server import rates
from kiff.server.rates import Rates
from kiff.server.settings import Limits
from kiff.server.tower import DATABASE
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

DECIDE = "/v1/proposals/decide"
PARAMETERS = {"amount": 49.0, "reason": "customer request"}
REFUND = {"entity_id": "ord_1", "entity_type": "order", "action_name": "AUTO_REFUND", "parameters": PARAMETERS}
SLOWLY = 0.001
"""Tokens a second: none comes back within a test."""


class Hand:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def refused(bucket: Rates, name: str) -> int | None:
    """The seconds to wait; None when it may."""
    try:
        bucket.take(name)
    except RateLimited as error:
        seconds = error.detail["retry_after_seconds"]
        assert isinstance(seconds, int)
        return seconds
    return None


def test_a_bucket_gives_what_it_holds_and_then_says_when_there_is_more() -> None:
    clock = Hand()
    bucket = Rates(0.1, 3, "key", clock)
    assert [refused(bucket, "a") for _ in range(5)] == [None, None, None, 10, 10]
    clock.at = 2.5
    assert refused(bucket, "a") == 8
    clock.at = 9.9
    assert refused(bucket, "a") == 1
    clock.at = 10.0
    assert [refused(bucket, "a") for _ in range(2)] == [None, 10]


def test_a_bucket_holds_no_more_than_its_burst_however_long_nobody_asked() -> None:
    clock = Hand()
    bucket = Rates(5.0, 2, "key", clock)
    clock.at = 1e9
    assert [refused(bucket, "a") for _ in range(3)] == [None, None, 1]


def test_asking_while_it_is_empty_costs_nothing() -> None:
    clock = Hand()
    bucket = Rates(1.0, 1, "key", clock)
    refused(bucket, "a")
    for tenth in range(1, 10):
        clock.at = tenth / 10
        assert refused(bucket, "a") == 1
    clock.at = 1.0
    assert refused(bucket, "a") is None


def test_one_name_does_not_take_from_another() -> None:
    bucket = Rates(1.0, 1, "key", Hand())
    assert [refused(bucket, name) for name in "aabb"] == [None, 1, None, 1]


def test_a_clock_that_stands_still_or_no_rate_at_all() -> None:
    bucket = Rates(0, 0, "key", Hand())
    assert [refused(bucket, "a") for _ in range(100)] == [None] * 100


def test_only_the_bucket_used_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets a full bucket by making others of their own."""
    monkeypatch.setattr(rates, "MOST", 3)
    bucket = Rates(1.0, 1, "key", Hand())
    for name in "abc":
        refused(bucket, name)
    assert refused(bucket, "a") == 1
    refused(bucket, "d")
    assert [refused(bucket, name) for name in "acd"] == [1, 1, 1]
    assert refused(bucket, "b") is None


@given(
    rate=st.floats(0.001, 10_000),
    burst=st.integers(1, 100),
    pauses=st.lists(st.floats(0, 1_000), max_size=200),
)
def test_no_more_than_the_burst_and_the_rate_is_ever_let_through(rate: float, burst: int, pauses: list[float]) -> None:
    """And whoever waits as long as they were told is let through."""
    clock = Hand()
    bucket = Rates(rate, burst, "key", clock)
    passed = 0
    for pause in pauses:
        clock.at += pause / rate
        wait = refused(bucket, "a")
        passed += wait is None
        if wait is not None:
            assert wait >= 1
            clock.at += wait
            assert refused(bucket, "a") is None
            passed += 1
        assert passed <= burst + clock.at * rate + 1e-6


def shed(told: Told, status: int, code: str) -> int:
    """The seconds to wait, of an answer that turned the call away."""
    assert (told.status, told.body["code"]) == (status, code), told
    assert told.body["trace_id"] == told.headers["trace-id"]
    return int(told.headers["retry-after"])


@contextmanager
def nothing_decided(shop: Served) -> Iterator[None]:
    """No record and no receipt comes of what is done within."""
    before = counts(shop)
    yield
    assert counts(shop) == before


def counts(shop: Served) -> tuple[int, int]:
    records = sum(row.size for row in shop.tower.store.heads() if row.tenant == TENANT)
    return records, shop.tower.store.count(Receipt, TENANT)


def test_a_key_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    limits = Limits(key_rate=SLOWLY, key_burst=3, tenant_rate=0)
    with served(tmp_path, limits) as shop:
        assert [shop.decide(f"ord_{number}").status for number in range(3)] == [200, 200, 200]
        with nothing_decided(shop):
            told = shop.decide("ord_4")
            assert 900 < shed(told, 429, "rate_limited") <= 1_000
            assert (told.body["outcome"], told.body["reasons"]) == ("limit_exceeded", ["rate_limited"])
            shed(shop.execute("ord_4"), 429, "rate_limited")
            shed(shop.get("/v1/me"), 429, "rate_limited")
        assert shop.get("/v1/me", "reviewer").status == 200
        assert shop.tower.counts.shed["rate_limited"] == 3


def test_the_keys_of_a_tenant_share_its_rate_and_no_other_tenant_does(tmp_path: Path) -> None:
    limits = Limits(key_rate=0, tenant_rate=SLOWLY, tenant_burst=2)
    with served(tmp_path, limits) as shop:
        others = shop.found("other")
        assert shop.get("/v1/me", "agent").status == shop.get("/v1/me", "owner").status == 200
        with nothing_decided(shop):
            shed(shop.decide("ord_1"), 429, "rate_limited")
        assert shop.get("/v1/me", others["agent"]).status == 200


def test_a_wrong_key_takes_nothing_from_the_rate_of_a_right_one(tmp_path: Path) -> None:
    limits = Limits(key_rate=SLOWLY, key_burst=1, tenant_rate=SLOWLY, tenant_burst=1)
    with served(tmp_path, limits) as shop:
        wrong = shop.keys["agent"][:-1] + ("a" if shop.keys["agent"][-1] != "a" else "b")
        assert {shop.get("/v1/me", wrong).status for _ in range(5)} == {401}
        assert shop.get("/v1/me").status == 200


def test_webhooks_have_the_rate_of_their_tenant_and_those_of_strangers_take_nothing_from_it(tmp_path: Path) -> None:
    limits = Limits(key_rate=0, tenant_rate=SLOWLY, tenant_burst=2)
    secrets = {f"{TENANT}/stripe-webhook": ("whsec_test",)}
    with served(tmp_path, limits, adapter_secrets=secrets) as shop:
        assert {webhook(shop, "wrong").status for _ in range(5)} == {401}
        assert [webhook(shop, "whsec_test").status for _ in range(2)] == [200, 200]
        with nothing_decided(shop):
            shed(webhook(shop, "whsec_test"), 429, "rate_limited")
        shed(shop.get("/v1/me"), 429, "rate_limited")


def webhook(shop: Served, secret: str) -> Told:
    """A webhook as Stripe signs it, of a type that the domain's map does not name."""
    body, at = b'{"id":"evt_1","type":"invoice.paid"}', int(time.time())
    signature = hmac.new(secret.encode(), b"%d." % at + body, "sha256").hexdigest()
    headers = {"Stripe-Signature": f"t={at},v1={signature}"}
    return shop.post(f"/v1/adapters/{TENANT}/stripe-webhook", body, None, headers=headers)


def execute(shop: Served, order: str) -> bytes:
    body = json.dumps({"entity_type": "order", "parameters": PARAMETERS}).encode()
    return post(shop, f"/v1/entities/{order}/actions/AUTO_REFUND/execute", body)


def test_a_tenant_with_too_much_in_work_is_turned_away_and_no_other_one(tmp_path: Path) -> None:
    with served(tmp_path, Limits(key_rate=0, tenant_rate=0, tenant_open=2)) as shop, Line(shop) as a, Line(shop) as b:
        others = shop.found("other")
        shop.paid("ord_1", "ord_2")
        shop.outside.behaviour = "hang"
        a.send(execute(shop, "ord_1"))
        b.send(execute(shop, "ord_2"))
        wait_for(lambda: len(shop.tower.runtime.running()) == 2)
        with nothing_decided(shop):
            assert shed(shop.decide("ord_3"), 503, "overloaded") == 1
            shed(shop.get("/v1/me", "owner"), 503, "overloaded")
        assert shop.get("/v1/me", others["agent"]).status == 200
        shop.outside.let_go.set()
        assert [line.answer().body["result"]["status"] for line in (a, b)] == ["succeeded"] * 2
        assert shop.decide("ord_3").status == 200


def test_room_comes_back_whatever_became_of_a_request(tmp_path: Path) -> None:
    with served(tmp_path, Limits(key_rate=0, tenant_rate=0, tenant_open=1, open=1)) as shop:
        for _ in range(3):
            assert shop.post(DECIDE, b"{").status == 400
            assert shop.post("/v1/events", {"type": "X", "entity_id": "1", "entity_type": "order"}).status == 403
            with Line(shop) as line:
                line.send(head(shop, "POST", DECIDE, "Content-Length: 9")).half_close()
                line.rest()
            wait_for(lambda: shop.tower.counts.open == 0)
        assert shop.tower.counts.open_of[TENANT] == 0


class Held(SqliteStore):
    """A store whose commits of records can be held up."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go_on = threading.Event()
        self.go_on.set()
        self.holding = threading.Event()

    def append(self, batch: Append) -> None:
        if batch.records and not self.go_on.is_set():
            self.holding.set()
            assert self.go_on.wait(PATIENCE_SECONDS), "nobody let it go on"
        super().append(batch)


@pytest.fixture
def held_up(tmp_path: Path) -> Iterator[tuple[Served, Held]]:
    """A server with room for two waiting commands of a tenant, and a store that can be held up."""
    store = Held(tmp_path / DATABASE)
    limits = Limits(key_rate=0, tenant_rate=0, tenant_waiting=2)
    with served(tmp_path, limits, options={"store": store}) as shop:
        shop.paid("ord_0", "ord_1", "ord_2", "ord_3")
        wait_for(lambda: shop.tower.runtime.waiting() == 0)
        yield shop, store
        store.go_on.set()


def test_a_command_too_many_for_the_lane_is_turned_away_before_it_is_decided(held_up: tuple[Served, Held]) -> None:
    shop, store = held_up
    told: list[Any] = []
    store.go_on.clear()
    asking = [threading.Thread(target=lambda n=n: told.append(shop.decide(f"ord_{n}"))) for n in range(3)]
    asking[0].start()
    assert store.holding.wait(PATIENCE_SECONDS)
    for thread in asking[1:]:
        thread.start()
    wait_for(lambda: shop.tower.runtime.waiting() == 2)
    late = shop.decide("ord_3", id="late")
    assert shed(late, 503, "overloaded") == 1
    assert late.body["outcome"] != "allowed"
    shed(shop.execute("ord_3"), 503, "overloaded")
    event = {"type": "ORDER_PLACED", "entity_id": "x", "entity_type": "order"}
    shed(shop.post("/v1/events", event, "owner"), 503, "overloaded")
    store.go_on.set()
    for thread in asking:
        thread.join()
    assert [answer.body["outcome"] for answer in told] == ["allowed"] * 3
    assert shop.get("/v1/proposals/late", "owner").status == 404
    assert "ord_3" not in shop.outside.effects
    assert shop.decide("ord_3", id="late").body["outcome"] == "allowed"


def test_an_execute_without_a_free_slot_is_turned_away_before_it_is_decided(tmp_path: Path) -> None:
    with served(tmp_path, slots=1, tenant_slots=1) as shop, Line(shop) as line:
        shop.paid("ord_1", "ord_2")
        shop.outside.behaviour = "hang"
        line.send(execute(shop, "ord_1"))
        wait_for(lambda: shop.tower.runtime.running())
        with nothing_decided(shop):
            assert shed(shop.execute("ord_2"), 503, "overloaded") == 1
        shop.outside.let_go.set()
        assert line.answer().status == 200
        assert shop.execute("ord_2").status == 200
