"""Ten times more than a server takes: it turns away in time, answers the rest, and decides nothing wrongly."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from served import PATIENCE_SECONDS, TENANT, Served, served

from kiff.analysis import replay_store, verify_store
from kiff.ledger import parse_jwks
from kiff.protocol.clearance import Clearance
from kiff.protocol.receipt import Receipt
from kiff.server.settings import Limits
from kiff.server.tower import DATABASE
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

ROOM = Limits(key_rate=0, tenant_rate=0, open=24, tenant_open=16, tenant_waiting=4)
CLIENTS = 160
"""Ten times what a tenant may have in work."""
SLOTS = 4
PAID = 6
"""Of how many rounds the orders are paid, so that some calls are allowed and some are not."""
PARAMETERS = {"amount": 49.0, "reason": "customer request"}


class Call(NamedTuple):
    """One request and what came of it.

    Args:
        id: of the proposal; drawn by the client, so that what came of it can be looked up.
    """

    how: str
    order: str
    id: str
    status: int
    body: Any
    retry_after: str | None
    ms: float

    @property
    def shed(self) -> bool:
        return bool(self.body.get("code") == "overloaded")

    @property
    def allowed(self) -> bool:
        return bool(self.body.get("outcome") == "allowed" or "result" in self.body)


class Client:
    """Asks one call after the other, each for an order of its own or for one that many want."""

    def __init__(self, shop: Served, number: int, rounds: int) -> None:
        self._shop = shop
        self._number = number
        self._rounds = rounds
        self.calls: list[Call] = []

    def run(self) -> None:
        with closing(HTTPConnection(self._shop.host, timeout=PATIENCE_SECONDS)) as connection:
            for round in range(self._rounds):
                self.calls.append(self._ask(connection, round))

    def _ask(self, connection: HTTPConnection, round: int) -> Call:
        how = ("decide", "execute")[(self._number + round) % 2]
        order = "wanted-by-all" if round % 3 == 2 else f"ord-{self._number}-{round}"
        id = f"prop-{self._number}-{round}"
        body: dict[str, Any] = {"entity_type": "order", "parameters": PARAMETERS, "id": id}
        path = f"/v1/entities/{order}/actions/AUTO_REFUND/execute"
        if how == "decide":
            path, body = "/v1/proposals/decide", body | {"entity_id": order, "action_name": "AUTO_REFUND"}
        headers = {"Authorization": f"Bearer {self._shop.keys['agent']}", "Content-Type": "application/json"}
        started = time.perf_counter()
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        told = json.loads(response.read())
        ms = (time.perf_counter() - started) * 1e3
        return Call(how, order, id, response.status, told, response.getheader("retry-after"), ms)


class Aftermath(NamedTuple):
    """What was answered, and what is in the store.

    Args:
        rounds: how often each client asked.
        effects: order -> how often it was changed outside.
    """

    rounds: int
    calls: list[Call]
    effects: dict[str, int]
    store: SqliteStore
    data: Path


@pytest.fixture(
    scope="module",
    params=[pytest.param(6, marks=pytest.mark.slow), pytest.param(150, marks=pytest.mark.soak)],
    ids=["slow", "soak"],
)
def after(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    """A storm of clients on a small server, once it is closed."""
    data = tmp_path_factory.mktemp("overload")
    with served(data, ROOM, slots=SLOTS, tenant_slots=SLOTS) as shop:
        shop.paid("wanted-by-all", *_orders())
        clients = [Client(shop, number, request.param) for number in range(CLIENTS)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert shop.get("/readyz", None).status == 200
        assert shop.tower.counts.open == 0
    calls = [call for client in clients for call in client.calls]
    _report(request, calls)
    with closing(SqliteStore(data / DATABASE, read_only=True)) as store:
        yield Aftermath(request.param, calls, dict(shop.outside.effects), store, data)


def _orders() -> list[str]:
    return [f"ord-{number}-{round}" for number in range(0, CLIENTS, 2) for round in range(PAID)]


def _report(request: pytest.FixtureRequest, calls: list[Call]) -> None:
    waits = sorted(call.ms for call in calls if not call.shed)
    p50, p99 = (waits[int(len(waits) * share)] for share in (0.5, 0.99))
    shed = sum(call.shed for call in calls)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{len(calls)} calls, {shed} shed; admitted: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def test_every_call_is_answered_or_told_when_to_come_back(after: Aftermath) -> None:
    assert len(after.calls) == CLIENTS * after.rounds
    counts = Counter(call.status for call in after.calls)
    assert counts.keys() <= {200, 409, 422, 503}, counts
    for call in after.calls:
        assert call.shed == (call.status == 503)
        if call.shed:
            assert int(call.retry_after or 0) >= 1
    assert sum(call.shed for call in after.calls) > CLIENTS, "this was no overload"
    assert sum(call.allowed for call in after.calls) > CLIENTS // 10


def test_what_was_allowed_was_cleared_and_recorded(after: Aftermath) -> None:
    cleared = {row.proposal_id: row for row in after.store.clearances(TENANT, limit=100_000)}
    decided = _decisions(after.store)
    for call in after.calls:
        if call.allowed:
            assert decided[call.id] == "allowed"
            assert (cleared[call.id].entity, cleared[call.id].mode) == (f"order:{call.order}", call.how)
        elif not call.shed:
            assert decided[call.id] != "allowed"
            assert call.id not in cleared


def test_what_was_turned_away_was_not_decided(after: Aftermath) -> None:
    decided = _decisions(after.store)
    assert not [call.id for call in after.calls if call.shed and call.id in decided]
    assert len(decided) == sum(not call.shed for call in after.calls)
    assert after.store.count(Receipt, TENANT) == len(decided)


def test_what_happened_outside_is_what_was_allowed_to(after: Aftermath) -> None:
    ran = Counter(call.order for call in after.calls if call.how == "execute" and call.allowed)
    assert after.effects == ran
    assert set(after.effects.values()) == {1}
    assert after.store.count(Clearance, TENANT) == sum(call.allowed for call in after.calls)


def test_of_those_who_wanted_one_order_never_two_had_it(after: Aftermath) -> None:
    rows = [row for row in after.store.clearances(TENANT, limit=100_000) if row.entity == "order:wanted-by-all"]
    assert rows, "nobody had it"
    for one, next_ in pairwise(rows):
        assert next_.cleared_at >= (one.settled_at or one.deadline)
        assert next_.fencing > one.fencing


def test_the_log_is_whole_and_comes_out_the_same_again(after: Aftermath) -> None:
    verdict = verify_store(after.store, parse_jwks((after.data / f"{DATABASE}.key.jwks.json").read_bytes()))
    assert (verdict.status, verdict.problems) == ("valid", ())
    replayed = replay_store(after.store)
    assert (replayed.match, replayed.decisions) == (True, len(_decisions(after.store)))


def _decisions(store: SqliteStore) -> dict[str, str]:
    """Proposal -> outcome, of every decision in the log."""
    found, after = {}, -1
    while rows := store.records(TENANT, after=after):
        for row in rows:
            record = json.loads(row.body)
            if record["kind"] == "decision_recorded":
                assert record["causation_id"] not in found, "one attempt, one decision"
                found[record["causation_id"]] = record["data"]["outcome"]
        after = rows[-1].seq
    return found
