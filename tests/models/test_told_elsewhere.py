"""Two processes on one store: whoever waits in one of them hears what was settled in the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from driven import SAID, Hands
from histories import Still
from tills import CALLERS, DOMAIN, SIGNER
from virtual_replica import Shared

import kiff.runtime.runtime
from kiff import Runtime

PATIENCE_SECONDS = 20.0


@pytest.fixture
def replicas(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Runtime, Runtime]]:
    """Two runtimes on one store, whose executors answer when they are told to."""
    monkeypatch.setattr(kiff.runtime.runtime, "Slots", Hands)
    store = Shared(Still())
    one, other = (Runtime(store, SIGNER, domains=[DOMAIN], executors={"till.pay": SAID["fail"][0]}) for _ in range(2))
    one.ingest(CALLERS["feed"], type="OPENED", entity="till:a").result(PATIENCE_SECONDS)
    yield one, other
    for runtime in (one, other):
        runtime._slots._running.clear()
        runtime.close(0)


@pytest.mark.parametrize("settled", ["failed", "succeeded", "cancelled", "unknown"])
@pytest.mark.parametrize("reported", ["fail", "succeed", "lose"])
def test_whoever_waits_hears_the_end_that_was_settled_elsewhere(
    replicas: tuple[Runtime, Runtime], settled: Any, reported: str
) -> None:
    one, other = replicas
    hands: Any = one._slots
    waiting: Future[Any] = one.execute(CALLERS["agent"], entity="till:a", action="PAY", parameters={"amount": 1})
    one.checkpoint().result(PATIENCE_SECONDS)
    [operation] = hands.begun()
    other.settle(CALLERS["nils"], operation, settled).result(PATIENCE_SECONDS)
    hands.finish(operation, SAID[reported][0])
    assert waiting.result(PATIENCE_SECONDS).clearance_id == operation
