"""A lock is held by one, whatever its key is made of, and after a restart too."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from lane_cases import AGENT, SIGNER, STRIPE, told
from limit_cases import BUDGET, TILL, TRUSTED

from kiff import Runtime, load
from kiff.analysis.verify import verify_store
from kiff.stores.sqlite import SqliteStore

KEYED = (
    (TILL % {"limit": BUDGET, "approval": "never", "rules": ""})
    .replace("[amount]", "[amount, key]")
    .replace("unit: USD}}", "unit: USD}, key: {type: string, maxLength: 1000}}")
    .replace("lock: none", "lock: {key: parameters.key, ttl: 60s}")
)


def taken(path: Path, *keys: str) -> list[Any]:
    """A new process takes each lock for an app that will report; what it was told."""
    with closing(SqliteStore(path)) as store:
        runtime = Runtime(store, SIGNER, domains=[load(KEYED)], executors={"till.pay": print})
        told(runtime.ingest(STRIPE, type="OPENED", entity="till:t1"))
        calls = [{"amount": 1, "key": key} for key in keys]
        to_pay: dict[str, Any] = {"entity": "till:t1", "action": "PAY", "settles": True}
        answers = [told(runtime.propose(AGENT, parameters=call, **to_pay)) for call in calls]
        runtime.close()
    return [answer.reason if answer.outcome == "blocked" else answer.outcome for answer in answers]


@pytest.mark.parametrize("key", ["plain", "a\0b", "\0", "a b\n", "é", "x" * 129])
def test_a_lock_is_still_held_after_a_restart(tmp_path: Path, key: str) -> None:
    path = tmp_path / "till.db"
    assert taken(path, key) == ["allowed"]
    assert taken(path, key) == ["entity_busy"]
    with closing(SqliteStore(path, read_only=True)) as store:
        assert verify_store(store, TRUSTED).problems == ()


def test_keys_that_begin_alike_are_two_locks(tmp_path: Path) -> None:
    assert taken(tmp_path / "till.db", "a", "a\0b", "a\0c") == ["allowed"] * 3
