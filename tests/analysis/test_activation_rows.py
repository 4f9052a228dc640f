"""A change of what is in force that was asked for with an idempotency key is in the log, and so is its answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from analysis_cases import copy_of, five_endings, keys_of, open_shop, tamper, verify

from kiff import Caller, Domain, load_policy
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
        runtime.activate_policy(OWNER, load_policy("policy: house-v1"), key="rules").result()
        runtime.activate_policy(OWNER, None, key="no_rules").result()
        runtime.shadow(OWNER, domain, key="aside").result()
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
        (f"{ANSWER.format('house-v1', 'house-v2')} WHERE id = 'policy:rules'", "answer.version"),
        ("UPDATE commands SET digest = 'sha256:other' WHERE id = 'policy:no_rules'", "digest"),
        (f"{ANSWER.format('ops-v9', 'ops-v2')} WHERE id = 'shadow:aside'", "answer.beside"),
        ("DELETE FROM commands WHERE id = 'policy:no_rules'", ""),
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
    assert problems[0].where.startswith(("command activate:", "command policy:", "command shadow:"))


@pytest.mark.parametrize(
    ("change", "where", "field"),
    [
        ("UPDATE policy_versions SET policy = 'mouse'", "policy version house-v1", "policy"),
        ("UPDATE policy_versions SET digest = 'sha256:0'", "policy version house-v1", "digest"),
        ("UPDATE policy_versions SET content = x'7B7D'", "policy version house-v1", "content"),
        ("DELETE FROM policy_versions", "policy version house-v1", ""),
        ("UPDATE active_policies SET version = 'house-v1'", "active policy", "version"),
        ("DELETE FROM active_policies", "active policy", ""),
        ("UPDATE active_domains SET shadow_version = NULL", "active domain order", "shadow_version"),
    ],
)
def test_what_is_in_force_is_what_the_log_says(
    published: Path, copied: Path, change: str, where: str, field: str
) -> None:
    assert tamper(copied, change) == 1
    problems = verify(copied, keys_of(published)).problems
    assert (where, field) in [(problem.where, problem.field) for problem in problems]


@pytest.fixture(scope="module")
def tightened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five endings, under a policy that asks about every call."""
    path = tmp_path_factory.mktemp("tightened") / "refunds.db"
    with open_shop(path) as runtime:
        asks = "policy: house-v1\nrules: [{id: asks, when: 'true', then: require_approval}]"
        runtime.activate_policy(OWNER, load_policy(asks)).result()
        five_endings(runtime)
    return path


@pytest.mark.parametrize("kind", ["decision_recorded", "approval_required", "action_validated", "approval_granted"])
def test_a_record_that_names_another_policy_is_named_by_that_field(tightened: Path, tmp_path: Path, kind: str) -> None:
    copied = copy_of(tightened, tmp_path)
    changed = 'CAST(replace(body, \'"policy":"house-v1"\', \'"policy":"house-v9"\') AS BLOB)'
    last = f'SELECT max(seq) FROM records WHERE instr(CAST(body AS TEXT), \'"kind":"{kind}"\')'
    assert verify(tightened, keys_of(tightened)).problems == ()
    assert tamper(copied, f"UPDATE records SET body = {changed} WHERE seq = ({last})") == 1
    [problem] = verify(copied, keys_of(tightened)).problems
    assert (problem.field, "house-v9" in problem.message) == ("versions.policy", True)
