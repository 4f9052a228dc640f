"""Histories that are as they should be, and verify says so."""

from __future__ import annotations

import threading
from typing import Any

from lane_cases import AGENT, HUMAN, SHOP, SIGNER, place

from kiff import Runtime, load
from kiff.analysis import verify_store
from kiff.ledger.keys import PublicKeys
from kiff.stores.memory import MemoryStore

KEYS = PublicKeys([SIGNER.public])


def test_a_decision_of_an_app_under_an_approval_is_as_the_log_says() -> None:
    store = MemoryStore()
    with Runtime(store, SIGNER, domains=[load(SHOP.replace("on_grant: run", "on_grant: wait"))]) as runtime:
        place(runtime, "order:1").result()
        call: dict[str, Any] = {"entity": "order:1", "action": "REFUND_MUCH", "settles": True}
        held = runtime.propose(AGENT, **call).result()
        runtime.grant(HUMAN, held.approval_id, "looked at it").result()
        cleared = runtime.propose(AGENT, approval_id=held.approval_id, **call).result()
        assert cleared.approval_id == held.approval_id
        runtime.settle(AGENT, cleared.clearance_id, "succeeded").result()
        runtime.checkpoint().result()
        assert verify_store(store, KEYS).problems == ()


def test_a_grant_that_could_not_run_at_once_is_as_the_log_says() -> None:
    store, go_on = MemoryStore(), threading.Event()

    def executor(operation: Any) -> dict[str, Any]:
        if operation.action == "REFUND":
            assert go_on.wait(20)
            return {"status": "failed"}
        return {"status": "succeeded"}

    with Runtime(store, SIGNER, domains=[load(SHOP)], executors={"shop.refund": executor}) as runtime:
        place(runtime, "order:1").result()
        held = runtime.execute(AGENT, entity="order:1", action="REFUND_MUCH").result()
        busy = runtime.execute(AGENT, entity="order:1", action="REFUND")
        while not runtime.running():
            pass
        granted = runtime.grant(HUMAN, held.approval_id, "looked at it").result()
        assert granted.operation_id is None
        go_on.set()
        assert busy.result(20).status == "failed"
        again = runtime.execute(AGENT, entity="order:1", action="REFUND_MUCH", approval_id=held.approval_id).result(20)
        assert again.executed
        runtime.checkpoint().result()
        assert verify_store(store, KEYS).problems == ()


def test_a_log_that_no_signed_head_covers_is_not_called_valid() -> None:
    store = MemoryStore()
    with Runtime(store, SIGNER, domains=[load(SHOP)]) as runtime:
        place(runtime, "order:1").result()
        runtime.checkpoint().result()
        store._checkpoints.clear()
        assert verify_store(store, KEYS).status == "undecidable"
