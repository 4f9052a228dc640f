"""Who may do what is in the log: each change once, and the rows of tenants, members and credentials say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from analysis_cases import copy_of, keys_of, open_shop, read, refused, tamper, verify
from msgspec import json
from msgspec.structs import fields

from kiff import Caller
from kiff.analysis.authority import AUTHORITY
from kiff.protocol.authority import AUTHOR, OPERATOR, Credential, Member, Tenant
from kiff.runtime.commands import SYSTEM
from kiff.stores.sqlite import TABLES

TENANT = "default"
FOUNDER = Caller(SYSTEM, (AUTHOR, OPERATOR), TENANT)
NAMES = {"tenants": "tenant", "members": "member", "credentials": "credential"}
"""What a problem calls a row of the table."""

AGENT = Member(TENANT, "ops-agent", "agent", "olive", "The refund agent", "ops_agent,reader", True)
KEY = Credential(TENANT, "key_1", "key", b"\x01" * 32, "ci", "ops-agent", "reader", "refund-ops", "kiff", 0, 2**42)
ROWS: tuple[Any, ...] = (
    Tenant(TENANT, "tenant", False, 0),
    Tenant(TENANT, "tenant", True, 0),
    AGENT,
    Member(TENANT, "olive", "human", None, None, "tenant_owner", True),
    Member(TENANT, "olive", "human", None, "Olive", "tenant_owner,auditor", False),
    KEY,
    Credential(TENANT, "key_2", "key", b"\x02" * 32, "", None, "ops_agent", None, "kiff", 0),
    Credential(TENANT, "ses_3", "session", b"\x03" * 32, "device", "olive", "", None, "kiff", 0, 2**42),
)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database in which each kind of row was established, changed, and (two credentials) revoked."""
    path = tmp_path_factory.mktemp("founded") / "refunds.db"
    with open_shop(path) as runtime:
        for number, row in enumerate(ROWS):
            runtime.establish(FOUNDER, row, key=f"once-{number}" if number % 2 else None).result()
        for credential in ("key_2", "ses_3"):
            runtime.revoke(FOUNDER, credential).result()
    return path


@pytest.fixture
def copied(founded: Path, tmp_path: Path) -> Path:
    return copy_of(founded, tmp_path)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.decode(body) for (body,) in read(path, "SELECT body FROM records ORDER BY seq")]  # type: ignore[arg-type]


def test_each_change_has_one_record_and_what_changes_nothing_has_none(founded: Path, tmp_path: Path) -> None:
    path = copy_of(founded, tmp_path)
    (tmp_path / "copy.db.key.pem").write_bytes(founded.with_name("refunds.db.key.pem").read_bytes())
    (tmp_path / "copy.db.key.pem").chmod(0o600)
    with open_shop(path) as runtime:
        runtime.establish(FOUNDER, AGENT).result()
        runtime.establish(FOUNDER, ROWS[1], key="once-1").result()
        runtime.revoke(FOUNDER, "key_2").result()
        refused(runtime.establish(FOUNDER, KEY))
        refused(runtime.revoke(FOUNDER, "key_9"))
    told = [(record["kind"], record["causation_id"]) for record in records(path)[1:]]
    assert told == [
        ("tenant_changed", "tenant"),
        ("tenant_changed", "tenant"),
        ("member_changed", "ops-agent"),
        ("member_changed", "olive"),
        ("member_changed", "olive"),
        ("credential_issued", "key_1"),
        ("credential_issued", "key_2"),
        ("credential_issued", "ses_3"),
        ("credential_revoked", "key_2"),
        ("credential_revoked", "ses_3"),
    ]


def test_a_record_holds_the_whole_row_and_never_a_secret(founded: Path) -> None:
    [issued] = [each["data"] for each in records(founded) if each["causation_id"] == "key_1"]
    assert issued["credential"] == {
        "id": "key_1",
        "kind": "key",
        "digest": "01" * 32,
        "label": "ci",
        "principal": "ops-agent",
        "roles": "reader",
        "domain": "refund-ops",
        "created_by": "kiff",
        "created_at": issued["credential"]["created_at"],
        "expires_at": 2**42,
    }
    assert issued["command_id"] == "admin:once-5"


def test_control_what_was_written_verifies(founded: Path, copied: Path) -> None:
    verdict = verify(copied, keys_of(founded))
    assert (verdict.status, verdict.problems) == ("valid", ())


def cells() -> Iterator[tuple[str, str, str]]:
    """(table, row, column) for every column of every row but its key."""
    for kind in AUTHORITY:
        for id in {row.id for row in ROWS if isinstance(row, kind)}:
            for column in fields(kind):
                if column.name not in ("tenant", "id"):
                    yield TABLES[kind], id, column.name


@pytest.mark.parametrize("cell", sorted(cells()), ids=".".join)
def test_any_changed_column_is_named(founded: Path, copied: Path, cell: tuple[str, str, str]) -> None:
    table, id, column = cell
    [(before,)] = read(copied, f"SELECT {column} FROM {table} WHERE id = ?", id)
    assert tamper(copied, f"UPDATE {table} SET {column} = ? WHERE id = ?", another(column, before), id) == 1
    problems = verify(copied, keys_of(founded)).problems
    assert [(problem.where, problem.field) for problem in problems] == [(f"{NAMES[table]} {id}", column)]


@pytest.mark.parametrize("cell", [("members", "olive", "name"), ("credentials", "key_1", "expires_at")], ids=".".join)
def test_a_column_that_was_emptied_is_named(founded: Path, copied: Path, cell: tuple[str, str, str]) -> None:
    table, id, column = cell
    assert tamper(copied, f"UPDATE {table} SET {column} = NULL WHERE id = ?", id) == 1
    [problem] = verify(copied, keys_of(founded)).problems
    assert (problem.where, problem.field) == (f"{NAMES[table]} {id}", column)


def test_a_revocation_that_was_taken_back_is_named(founded: Path, copied: Path) -> None:
    tamper(copied, "UPDATE credentials SET revoked_at = NULL WHERE id = 'key_2'")
    [problem] = verify(copied, keys_of(founded)).problems
    assert (problem.where, problem.field) == ("credential key_2", "revoked_at")


@pytest.mark.parametrize("table", NAMES)
def test_a_row_that_is_gone_is_named(founded: Path, copied: Path, table: str) -> None:
    [(id,)] = read(copied, f"SELECT min(id) FROM {table}")
    assert tamper(copied, f"DELETE FROM {table} WHERE id = ?", id) == 1
    [problem] = verify(copied, keys_of(founded)).problems
    assert (problem.where, problem.message) == (f"{NAMES[table]} {id}", "the log tells of it, and it has no row")


STRAYS = {
    "members": "INSERT INTO members SELECT tenant, 'mallory', 'human', NULL, NULL, 'tenant_owner', 1 FROM tenants",
    "credentials": "INSERT INTO credentials SELECT tenant, 'mallory', kind, digest, label, 'olive', '', NULL,"
    " 'olive', created_at, NULL, NULL FROM credentials WHERE id = 'key_1'",
}


@pytest.mark.parametrize("table", STRAYS)
def test_a_row_that_nobody_established_is_named(founded: Path, copied: Path, table: str) -> None:
    assert tamper(copied, STRAYS[table]) == 1
    [problem] = verify(copied, keys_of(founded)).problems
    told = (f"{NAMES[table]} mallory", "has a row, and the log does not tell of it")
    assert (problem.where, problem.message) == told


def test_a_tenant_that_nobody_founded_is_named(founded: Path, copied: Path) -> None:
    tamper(copied, "INSERT INTO tenants VALUES ('zebra', 'tenant', 0, 1)")
    problems = verify(copied, keys_of(founded)).problems
    told = ("tenant tenant", "has a row, and the log does not tell of it")
    assert told in {(problem.where, problem.message) for problem in problems}


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("digest", "sha256:other", "digest"),
        ("status", "open", "status"),
        ("operation_id", "clr_1", "operation_id"),
        ("answer", b'{"id":"key_9","at":"2026-01-01T00:00:00.000Z","repeated":false}', "answer.id"),
        ("answer", b"{}", "answer"),
    ],
)
def test_the_answer_that_an_idempotency_key_brings_again_is_bound(
    founded: Path, copied: Path, column: str, value: object, field: str
) -> None:
    tamper(copied, f"UPDATE commands SET {column} = ? WHERE id = 'admin:once-5'", value)
    problems = verify(copied, keys_of(founded)).problems
    assert ("command admin:once-5", field) in {(problem.where, problem.field) for problem in problems}


def another(column: str, value: object) -> object:
    """Another value of the column's type."""
    if value is None:
        return 1 if column.endswith("_at") else "x"
    if isinstance(value, int):
        return 1 - value if value in (0, 1) else value + 1
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1])
    return {"key": "session", "session": "key", "agent": "human", "human": "agent"}.get(str(value), f"{value}x")
