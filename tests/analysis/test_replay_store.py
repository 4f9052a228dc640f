"""Same events, same state; same facts, same decision."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from analysis_cases import copy_of, read, tamper

from kiff.analysis import Replayed, replay_store
from kiff.canonical import encode
from kiff.stores.sqlite import SqliteStore


@pytest.fixture
def copied(busy: Path, tmp_path: Path) -> Path:
    return copy_of(busy, tmp_path)


def replay(path: Path) -> Replayed:
    with closing(SqliteStore(path, read_only=True)) as store:
        return replay_store(store)


def test_history_comes_out_as_it_was(busy: Path) -> None:
    replayed = replay(busy)
    assert (replayed.match, replayed.problems) == (True, ())
    [(events, decisions)] = read(
        busy,
        "SELECT sum(body ->> '$.kind' = 'event_ingested'), sum(body ->> '$.kind' = 'decision_recorded')"
        " FROM (SELECT CAST(body AS TEXT) AS body FROM records)",
    )
    assert (replayed.events, replayed.decisions) == (events, decisions)


def test_an_edited_row_does_not_match(copied: Path) -> None:
    tamper(copied, "UPDATE entities SET state = 'REFUNDED' WHERE entity = 'order:ord_003'")
    [problem] = replay(copied).problems
    assert (problem.where, problem.field) == ("entity order:ord_003", "state")
    assert problem.message == "the row says `REFUNDED`, its events lead to `CREATED`"


def test_a_row_without_events_and_events_without_a_row_do_not_match(copied: Path) -> None:
    tamper(copied, "UPDATE entities SET entity = 'order:zzz' WHERE entity = 'order:ord_003'")
    assert {problem.where for problem in replay(copied).problems} == {"entity order:ord_003", "entity order:zzz"}


@pytest.mark.parametrize(
    ("path", "put", "field"),
    [
        (("data", "outcome"), "blocked", "data.outcome"),
        (("data", "facts", "roles"), [], "data.outcome"),
        (("data", "facts", "state"), "CREATED", "data.facts.state"),
        (("data", "proposal", "parameters", "amount"), 101, "data.outcome"),
        (("versions", "domain"), "refund-ops-v9", "versions.domain"),
    ],
)
def test_a_decision_that_no_longer_follows_is_named(
    path: tuple[str, ...], put: object, field: str, copied: Path
) -> None:
    sql = 'SELECT seq, body FROM records WHERE CAST(body AS TEXT) LIKE \'%"kind":"decision_recorded"%\' LIMIT 1'
    [(seq, body)] = read(copied, sql)
    value = inner = json.loads(bytes(body))  # type: ignore[call-overload]
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = put
    tamper(copied, "UPDATE records SET body = ? WHERE seq = ?", encode(value), seq)
    problems = replay(copied).problems
    assert (f"record {seq}", field) in {(problem.where, problem.field) for problem in problems}


def test_a_version_that_is_gone_is_named(copied: Path) -> None:
    tamper(copied, "DELETE FROM domain_versions")
    replayed = replay(copied)
    assert not replayed.match
    assert replayed.problems[0].field == "versions.domain"
