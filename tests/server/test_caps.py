"""Caps hold at every instant, however many ask at once (DESIGN invariant 11); whoever got something counts it.

Eight processes of eight threads ask one server, over SQLite. A counter that reads, and then writes, is the control.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import capped_caller
import pytest
from served import CALM, TENANT, Served

from kiff import load

pytestmark = pytest.mark.slow

PROCESSES = 8
CALLS = 6
TILL = """
domain: till
version: v1
entity: Till
events: [OPENED]
states: [OPEN]
transitions: [{on: OPENED, to: OPEN}]
actions:%s
permissions:
  roles: {ops_agent: [till.pay], event_source: [events.ingest]}
"""


ACTION = """
  - name: {name}
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [till.pay]
    risk: low
    approval: never
    lock: none
    parameters: {{amount: {{type: number, minimum: 0, maximum: 10000, unit: USD}}}}
    limits: [{limit}]"""
LIMITS = {
    "SPEND": "{id: daily, kind: budget, max: 100, per: 30d, amount: parameters.amount}",
    "CALL": "{id: calls, kind: rate, max: 37, per: 30d}",
    "FLY": "{id: flying, kind: concurrency, max: 23}",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    shop = Served(tmp_path_factory.mktemp("caps"), CALM)
    actions = "".join(ACTION.format(name=name, limit=limit) for name, limit in LIMITS.items())
    shop.tower.activate(TENANT, load(TILL % actions))
    opened = shop.post("/v1/events", {"type": "OPENED", "entity_id": "t1", "entity_type": "till"}, "owner")
    assert opened.status == 201, opened
    yield shop
    shop.close()


def hammered(shop: Served, action: str) -> list[Decimal]:
    """What 64 callers in 8 processes got of it."""
    seed = random.SystemRandom().randint(0, 2**32)
    print("seed", seed)
    command = [sys.executable, str(Path(capped_caller.__file__)), shop.host, shop.keys["agent"], action, str(CALLS)]
    running = [
        subprocess.Popen([*command, f"{seed}/{number}"], stdout=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    told = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    return [Decimal(str(amount)) for each in told for amount in json.loads(each)]


def test_a_budget_is_never_exceeded_and_all_of_it_can_be_had(served: Served) -> None:
    got = sum(hammered(served, "SPEND"))
    assert 97 < got <= 100  # the most that one asks for is 3


def test_a_rate_lets_through_as_many_as_it_says(served: Served) -> None:
    assert len(hammered(served, "CALL")) == 37


def test_no_more_are_in_flight_than_may_be(served: Served) -> None:
    assert len(hammered(served, "FLY")) == 23


def test_control_a_counter_that_reads_and_then_writes_lets_too_many_through() -> None:
    """The same harness over the naive way sees what it does: 64 threads look, and then 64 threads take."""
    used, got = [0], []
    looked = threading.Barrier(64)

    def take() -> None:
        fits = used[0] + 3 <= 100
        looked.wait()
        if fits:
            used[0] += 3
            got.append(3)

    threads = [threading.Thread(target=take) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) > 100
