"""An activation that was asked for with an idempotency key is in the log, and so is what it was answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from analysis_cases import copy_of, keys_of, open_shop, tamper, verify

from kiff import Caller, Domain
from kiff.protocol.authority import AUTHOR
from kiff.runtime.commands import SYSTEM

ANSWER = "UPDATE commands SET answer = CAST(replace(answer, '{}', '{}') AS BLOB)"
OWNER = Caller(SYSTEM, (AUTHOR,), "default")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database in which a version was activated with a key, twice: once nothing changed by it."""
    path = tmp_path_factory.mktemp("published") / "refunds.db"
    with open_shop(path) as runtime:
        [domain] = runtime.read.domains().values()
        second = Domain.from_content(domain.content.replace(b'"version":"v2"', b'"version":"v9"'))
        for key in ("first", "again"):
            runtime.activate(OWNER, second, key=key).result()
    return path


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    return copy_of(published, tmp_path)


def test_a_database_as_it_was_written_is_whole(published: Path) -> None:
    assert verify(published, keys_of(published)).problems == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("UPDATE commands SET digest = 'sha256:other' WHERE id = 'activate:first'", "digest"),
        (f"{ANSWER.format('v9', 'v2')} WHERE id = 'activate:first'", "answer.version"),
        (f"{ANSWER.format('false', 'true')} WHERE id = 'activate:again'", "answer.changed"),
        ("DELETE FROM commands WHERE id = 'activate:first'", ""),
        ("INSERT INTO commands SELECT tenant, 'activate:x', digest, status, answer, NULL FROM commands LIMIT 1", ""),
    ],
)
def test_an_answer_that_the_log_does_not_tell_of_is_named(
    published: Path, copied: Path, change: str, field: str
) -> None:
    assert tamper(copied, change) == 1
    problems = verify(copied, keys_of(published)).problems
    assert [problem.field for problem in problems] == [field]
    assert problems[0].where.startswith("command activate:")
