"""A bad network between the outbox and a webhook's target: every message arrives, in each entity's order, and one that
arrives again has the same id.

KIFF_FAULT_SEED replays a run: it draws the same faults for the same connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hooked import Message, Receiver, allowing
from reliability import note_run, seed_of_run
from served import Served
from tcp_proxy import Fault, Kind, Plan, Proxy, drawn

from kiff.runtime.clock import SystemClock

pytestmark = pytest.mark.slow

LATER_MS = 3_600_000
"""Beyond the second of the waits between attempts."""
ORDERS = [f"ord_{number}" for number in range(12)]
FAULTS: tuple[Kind, ...] = ("cut", "reset", "half-close", "delay", "duplicate")


class HurriedClock(SystemClock):
    """The time, and what a test adds to it: the next attempts have come."""

    ahead_ms = 0

    def now(self) -> int:
        return super().now() + self.ahead_ms


class Shop(Served):
    """A server with one webhook, which is reached through a proxy."""

    def __init__(self, data: Path) -> None:
        self.clock = HurriedClock()
        super().__init__(allowing(data), options={"clock": self.clock})

    def hooked(self, port: int) -> str:
        url = f"http://127.0.0.1:{port}/hook"
        told = self.post("/v1/webhooks", {"url": url, "events": ["*"]}, "owner")
        return str(told.body["webhook"]["id"])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(lambda message: (200 if _is_whole(message) else 400, {})) as receiver:
        yield receiver


def test_every_message_arrives_over_a_bad_network(tmp_path: Path, receiver: Receiver) -> None:
    seed = seed_of_run()
    struck = _sent(tmp_path, receiver, drawn(seed, kinds=FAULTS, within=1_200, one_in=3))
    ids = [message.id for message in _whole(receiver)]
    figures = {"webhook_network_faults": struck, "messages": len(set(ids)), "sent_again": len(ids) - len(set(ids))}
    note_run("webhook-network", seed, figures)
    assert struck
    for order in ORDERS:
        assert _first_arrivals(receiver, order) == ["ORDER_PLACED", "ORDER_PAID"]


def test_a_message_whose_answer_is_lost_is_sent_again_with_the_same_id(tmp_path: Path, receiver: Receiver) -> None:
    struck = _sent(tmp_path, receiver, lambda number: Fault("cut", "down") if number == 0 else None)
    ids = [message.id for message in _whole(receiver)]
    assert struck == 1
    assert len(ids) > len(set(ids)) == 4 * len(ORDERS)


def _sent(data: Path, receiver: Receiver, plan: Plan) -> int:
    """Makes events whose messages go through a network with that plan. Returns how many it struck; all have arrived."""
    port = int(receiver.url.split(":")[2].partition("/")[0])
    with Proxy(port, plan) as proxy, closing(Shop(data)) as shop:
        hook = shop.hooked(proxy.port)
        for kind in ("ORDER_PLACED", "ORDER_PAID"):
            for order in ORDERS:
                body = {"type": kind, "entity_type": "order", "entity_id": order}
                assert shop.post("/v1/events", body, "owner").status == 201

        def waiting() -> list[dict[str, Any]]:
            told = shop.get(f"/v1/webhooks/{hook}/deliveries?limit=200", "owner")
            return list(told.body["deliveries"])

        while not _ends(waiting):
            shop.clock.ahead_ms += LATER_MS  # what failed is tried again
        return proxy.struck.total()


def _ends(waiting: Callable[[], list[dict[str, Any]]]) -> bool:
    """Whether everything arrives, once nothing more has arrived for a while."""
    left, still = len(waiting()), 0
    while left and still < 10:
        time.sleep(0.05)
        now = len(waiting())
        left, still = now, 0 if now < left else still + 1
    return not left


def _whole(receiver: Receiver) -> list[Message]:
    """What came with all of its body."""
    return [each for each in receiver.messages if _is_whole(each)]


def _is_whole(message: Message) -> bool:
    return len(message.body) == int(message.headers["content-length"])


def _first_arrivals(receiver: Receiver, order: str) -> list[str]:
    """The events of an order in the order in which each came first."""
    records = (message.record for message in _whole(receiver))
    told = [each["data"]["event"]["type"] for each in records if _tells_of(each, order)]
    return list(dict.fromkeys(told))


def _tells_of(record: dict[str, Any], order: str) -> bool:
    return bool(record["kind"] == "event_ingested" and record["entity"] == f"order:{order}")
