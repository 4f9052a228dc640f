"""Webhooks with several processes: on one PostgreSQL database, and when one is killed."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from hooked import Message, Receiver, allowing, takes
from postgres_server import Databases
from served import TENANT, Served, served, wait_for
from up import Up

pytestmark = pytest.mark.slow

ORDERS = 12
PLACED = {"type": "ORDER_PLACED", "entity_type": "order"}


def place(shop: Served, of: int) -> None:
    """Every second order, placed and paid."""
    shop.paid(*(f"ord_{number}" for number in range(of, ORDERS, 2)))


def test_two_servers_on_one_database_send_each_message_once_and_in_order(tmp_path: Path, postgres: Databases) -> None:
    url = postgres.fresh()
    allowing(tmp_path)
    with Receiver() as receiver, served(tmp_path, store=url) as one, served(tmp_path, store=url) as two:
        two.keys = one.keys
        assert one.post("/v1/webhooks", {"url": receiver.url, "events": ["*"]}, "owner").status == 201
        [hook] = one.tower.runtime.webhooks.all(TENANT)
        writing = [threading.Thread(target=place, args=(shop, of)) for of, shop in enumerate((one, two))]
        for thread in writing:
            thread.start()
        for thread in writing:
            thread.join()
        wait_for(lambda: len(receiver.messages) >= 4 * ORDERS and not one.tower.store.deliveries(TENANT, hook.id))
    assert set(Counter(each.id for each in receiver.messages).values()) == {1}
    for number in range(ORDERS):
        seqs = [each.record["seq"] for each in receiver.messages if each.record["entity"] == f"order:ord_{number}"]
        assert seqs == sorted(seqs)


def test_what_a_killed_server_had_sent_and_not_written_down_comes_again_with_its_id(tmp_path: Path) -> None:
    """The kill falls between sending and writing the outcome: the receiver has the message, and has not answered."""
    hold = threading.Event()

    def holds(message: Message) -> tuple[int, dict[str, str]]:
        hold.wait(20)
        return 200, {}

    allowing(tmp_path / "data")
    with Receiver(holds) as receiver:
        first = Up(tmp_path)
        try:
            told = first.post("/v1/webhooks", {"url": receiver.url, "events": ["event.*"]}, "owner")
            assert told.status == 201, told
            first.post("/v1/events", {**PLACED, "entity_id": "ord_1"}, "owner")
            wait_for(lambda: len(receiver.messages) == 1)
            first._process.kill()
            first._process.wait()
        finally:
            first.close()
        hold.set()
        receiver.says = takes
        with Up(tmp_path):
            wait_for(lambda: len(receiver.messages) == 2)
    one, again = receiver.messages
    assert (one.id, one.body) == (again.id, again.body)
    assert again.verified(told.body["secret"]) == one.verified(told.body["secret"])


def test_what_was_recorded_and_not_sent_when_it_was_killed_is_sent_after_the_restart(tmp_path: Path) -> None:
    """An endpoint that nobody reaches while the server lives."""
    allowing(tmp_path / "data")
    with Receiver() as receiver:
        receiver.says = lambda message: (503, {"retry-after": "1"})
        first = Up(tmp_path)
        try:
            told = first.post("/v1/webhooks", {"url": receiver.url, "events": ["event.*"]}, "owner")
            for number in range(5):
                first.post("/v1/events", {**PLACED, "entity_id": f"ord_{number}"}, "owner")
            first._process.kill()
            first._process.wait()
        finally:
            first.close()
        receiver.says = takes
        tried = len(receiver.messages)
        with Up(tmp_path):
            wait_for(lambda: len({each.record["entity"] for each in receiver.messages[tried:]}) == 5)
    assert told.status == 201
