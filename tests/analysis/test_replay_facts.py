"""Facts that somebody edited are reported, however odd they are: whoever replays is never stopped by them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from analysis_cases import read, tamper
from msgspec import json

from kiff import Caller, Principal, Runtime, load
from kiff.analysis import replay_store
from kiff.canonical import encode
from kiff.stores.keyfile import load_or_create
from kiff.stores.sqlite import SqliteStore

CALLS = """
domain: desk
version: v1
entity: Desk
events: [OPENED]
states: [OPEN]
transitions:
  - {on: OPENED, to: OPEN}
actions:
  - name: CALL
    allowed_states: [OPEN]
    required_permissions: [desk.call]
    risk: low
    approval: never
    executor: desk.call
    emits: []
    limits:
      - {id: calls, kind: rate, max: 3, per: 1h}
permissions:
  roles: {agent: [desk.call], feed: [events.ingest]}
"""
IS_DECISION = 'CAST(body AS TEXT) LIKE \'%"kind":"decision_recorded"%\''


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A closed database with one decision under a limit."""
    path = tmp_path / "desk.db"
    executors = {"desk.call": lambda _: {"status": "succeeded"}}
    with closing(SqliteStore(path)) as store:
        runtime = Runtime(store, load_or_create(tmp_path / "key"), domains=[load(CALLS)], executors=executors)
        runtime.ingest(Caller(Principal("feed", "service"), ("feed",)), type="OPENED", entity="desk:d1").result()
        assert runtime.execute(Caller(Principal("a", "agent"), ("agent",)), entity="desk:d1", action="CALL").result()
        runtime.close()
    return path


def replayed(path: Path, edit: Callable[[dict[str, Any]], object]) -> list[str]:
    """What replay finds once the counts in the decision's facts were edited."""
    [(seq, body)] = read(path, f"SELECT seq, body FROM records WHERE {IS_DECISION}")
    record = json.decode(bytes(body))  # type: ignore[call-overload]
    edit(record["data"]["facts"]["usage"])
    tamper(path, "UPDATE records SET body = ? WHERE seq = ?", encode(record), seq)
    with closing(SqliteStore(path, read_only=True)) as store:
        return [problem.field for problem in replay_store(store).problems if problem.where == f"record {seq}"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda usage: usage["calls"].update(later=1),
        lambda usage: usage["calls"].pop("limit"),
        lambda usage: usage.update(calls={}),
    ],
    ids=["unknown", "missing", "empty"],
)
def test_counts_of_another_shape_cannot_be_decided_again(desk: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    assert replayed(desk, edit) == ["data.facts"]


def test_counts_that_nobody_edited_are_decided_again(desk: Path) -> None:
    assert replayed(desk, lambda usage: None) == []
