"""A bad network between KIFF and a remote executor: whatever it does, what KIFF says of the effect is true.

The executor writes down every request that reached it whole. The network is broken at random bytes of the encrypted
connection, in both directions. Faults are drawn from a seed, which is printed.
"""

from __future__ import annotations

import json
import os
import random
import ssl
from collections import Counter
from typing import Any

import pytest
from certificates import contexts
from elsewhere_cases import SECRET, desk
from outside_line import OutsideLine, answer
from reliability import note_run, seed_of_run
from tcp_proxy import Fault, Kind, Proxy

from kiff.server.remote_settings import HttpsExecutor

pytestmark = pytest.mark.slow

CUTS = 500 if os.environ.get("KIFF_SOAK") == "1" else 40
KINDS: tuple[Kind, ...] = ("cut", "reset", "half-close", "cut", "reset", "half-close", "duplicate", "drop")
BYTES = {"up": 1_800, "down": 1_700}
"""What a call of these tests sends and gets, with its handshake: the faults strike anywhere within, or just after."""
DONE = answer(body=b'{"status": "succeeded"}')


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return contexts(tmp_path_factory.mktemp("tls"), "127.0.0.1")


def drawn(draw: random.Random) -> Fault:
    toward = draw.choice(("up", "down"))
    return Fault(draw.choice(KINDS), toward, draw.randrange(BYTES[toward]))  # type: ignore[arg-type]  # one of the two


def struck(line: OutsideLine, fault: Fault, client: ssl.SSLContext, how: HttpsExecutor) -> tuple[Any, int]:
    """One refund over a network that breaks once: KIFF's answer, and how often the executor was asked for it."""
    network = Proxy(line.port, lambda number: fault if number == 0 else None)
    with network, desk(f"https://127.0.0.1:{network.port}/", context=client, https=how, timeout="1s") as shop:
        told = shop.refund()
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in line.requests]
    return told, sum(body["operation_id"] == told.operation_id for body in bodies)


@pytest.mark.parametrize("idempotent", [False, True])
def test_what_is_said_of_an_effect_is_true_wherever_the_network_breaks(idempotent: bool, tls: Any) -> None:
    seed = seed_of_run()
    draw = random.Random(f"{seed}/{idempotent}")
    how = HttpsExecutor((SECRET,), idempotent=idempotent)
    lies: list[tuple[Fault, str, int]] = []
    ends: Counter[str] = Counter()
    with OutsideLine(DONE, tls[0]) as line:
        for _ in range(CUTS):
            fault = drawn(draw)
            told, effects = struck(line, fault, tls[1], how)
            ends[f"{told.status}, {min(effects, 1)} effects"] += 1
            most = 1 if not idempotent else effects
            right = {"succeeded": 1 <= effects <= most, "failed": effects == 0, "unknown": effects <= most}
            if not right[told.status]:
                lies.append((fault, told.status, effects))
    print(dict(ends))
    note_run("executor-cuts", seed, {"cuts": CUTS, "lies": len(lies)})
    assert lies == []
    assert ends["succeeded, 1 effects"] > 0, ends
    if not idempotent:  # control: to call a lost answer a failure, or to send again, would be wrong
        assert ends["unknown, 1 effects"] > 0, ends
