"""What the verdict says about rows, keys, heads and tiles that are not what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from analysis_cases import (
    AGENT,
    DOMAIN,
    STRIPE,
    copy_of,
    five_endings,
    keys_of,
    open_shop,
    read,
    refund,
    tamper,
    verify,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff import Runtime
from kiff.analysis import verify_store
from kiff.ledger import EMPTY, Ed25519Signer, PublicKeys, extend, leaf_hash, root
from kiff.stores.memory import MemoryStore

SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))


@pytest.fixture
def copied(busy: Path, tmp_path: Path) -> Path:
    return copy_of(busy, tmp_path)


def problem_of(path: Path, busy: Path) -> Any:
    verdict = verify(path, keys_of(busy))
    assert verdict.status == "invalid"
    return verdict.problems[0]


def test_an_approval_granted_in_the_database_is_found(copied: Path, busy: Path) -> None:
    sql = "UPDATE approvals SET status = 'granted', reviewed_by = 'ops-human', use_by = 9e15 WHERE status = 'pending'"
    assert tamper(copied, sql)
    problem = problem_of(copied, busy)
    assert (problem.where.split()[0], problem.field) == ("approval", "status")
    assert "the log says `pending`" in problem.message


def test_a_clearance_given_back_in_the_database_is_found(copied: Path, busy: Path) -> None:
    assert tamper(copied, "UPDATE clearances SET status = 'failed' WHERE status = 'unknown' AND disputed = 0")
    problem = problem_of(copied, busy)
    assert (problem.where.split()[0], problem.field) == ("clearance", "status")


def test_a_freed_runway_is_found(copied: Path, busy: Path) -> None:
    assert tamper(copied, "UPDATE runways SET holder = NULL WHERE entity = 'order:ord_011'")
    problem = problem_of(copied, busy)
    assert (problem.where, problem.field) == ("runway order:ord_011", "holder")


def test_an_edited_state_is_found(copied: Path, busy: Path) -> None:
    assert tamper(copied, "UPDATE entities SET state = 'PAID' WHERE entity = 'order:ord_003'")
    problem = problem_of(copied, busy)
    assert (problem.where, problem.field) == ("entity order:ord_003", "state")


def test_an_answer_edited_to_executed_is_found(copied: Path, busy: Path) -> None:
    sql = "UPDATE commands SET answer = CAST(replace(CAST(answer AS TEXT), '\"unknown\"', '\"failed\"') AS BLOB)"
    assert tamper(copied, f"{sql} WHERE instr(CAST(answer AS TEXT), '\"unknown\"')")
    assert problem_of(copied, busy).field == "answer.status"


@pytest.mark.parametrize(
    "table",
    ["approvals", "clearances", "commands", "entities", "runways", "last_approvals", "receipts", "tiles", "blobs"],
)
def test_a_missing_row_is_found(table: str, copied: Path, busy: Path) -> None:
    kept = "id LIKE 'propose:%'" if table == "commands" else "true"
    [first, *_] = read(copied, f"SELECT * FROM {table} WHERE {kept} LIMIT 1")
    columns = [str(row[1]) for row in read(copied, f"PRAGMA table_info({table})")]
    where = " AND ".join(f"{name} IS ?" for name in columns)
    assert tamper(copied, f"DELETE FROM {table} WHERE {where}", *first) == 1
    assert problem_of(copied, busy)


@pytest.mark.parametrize("table", ["approvals", "clearances", "commands", "entities", "runways", "last_approvals"])
def test_a_row_that_no_record_tells_of_is_found(table: str, copied: Path, busy: Path) -> None:
    columns = [str(row[1]) for row in read(copied, f"PRAGMA table_info({table})")]
    made_up = {
        columns[1]: "'made-up'",
        "approval_id": "NULL",
        "status": "'open'" if table == "clearances" else "status",
    }
    if table in ("approvals", "commands"):
        made_up.pop("status")
    values = ", ".join(made_up.get(name, name) for name in columns)
    if table == "last_approvals":
        values = ", ".join("'made-up'" if name == "action_digest" else name for name in columns)
    source = f"SELECT {values} FROM {table}"
    source += " WHERE entity = 'order:ord_001'" if table in ("clearances",) else " LIMIT 1"
    assert tamper(copied, f"INSERT INTO {table} {source}") == 1
    problem = problem_of(copied, busy)
    assert problem.where.endswith(" made-up")
    assert "the log does not tell of it" in problem.message


def test_a_whole_tenant_without_a_head_is_found(copied: Path, busy: Path) -> None:
    tamper(copied, "INSERT INTO records SELECT 'shadow', seq, entity, leaf, body FROM records WHERE seq = 0")
    assert any(p.where == "head of shadow" for p in verify(copied, keys_of(busy)).problems)


def test_an_upper_tile_is_checked_too(copied: Path, busy: Path) -> None:
    assert tamper(copied, "UPDATE tiles SET hashes = zeroblob(32) WHERE level = 1")
    assert problem_of(copied, busy).where == "tile/1/000"


def test_a_rewritten_record_is_found_though_leaf_head_and_frontier_were_rewritten_with_it(tmp_path: Path) -> None:
    path = tmp_path / "rewritten.db"
    with open_shop(path, signer=SIGNER) as runtime:
        five_endings(runtime)
    rows = read(path, "SELECT seq, body FROM records ORDER BY seq")
    bodies = [bytes(body) for _, body in rows]  # type: ignore[call-overload]
    bodies[1] = bodies[1].replace(b"ORDER_PLACED", b"ORDER_PAID")
    tree = extend(EMPTY, [leaf_hash(body) for body in bodies])
    tamper(path, "UPDATE records SET body = ?, leaf = ? WHERE seq = 1", bodies[1], leaf_hash(bodies[1]))
    tamper(path, "UPDATE heads SET root = ?, frontier = ?", root(tree), b"".join(tree.frontier))
    verdict = verify(path, PublicKeys([SIGNER.public]))
    assert verdict.status == "invalid"
    assert any(problem.where.startswith("checkpoint ") and problem.field == "root" for problem in verdict.problems)


def test_a_kind_from_a_newer_version_hides_no_rewritten_record(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    with open_shop(path, signer=SIGNER) as runtime:
        five_endings(runtime)
    [(body,)] = read(path, "SELECT body FROM records WHERE seq = 1")
    wrong = bytes(body).replace(b"event_ingested", b"event_dreamt_of")  # type: ignore[call-overload]
    tamper(path, "UPDATE records SET body = ?, leaf = ? WHERE seq = 1", wrong, leaf_hash(wrong))
    assert verify(path, PublicKeys([SIGNER.public])).status == "invalid"


def test_unknown_keys_leave_it_undecidable(busy: Path) -> None:
    verdict = verify(busy, PublicKeys())
    assert verdict.status == "undecidable"
    assert verdict.unsigned_tail["default"] == verdict.records


def test_a_database_written_with_another_key_is_undecidable(tmp_path: Path) -> None:
    path = tmp_path / "forged.db"
    with open_shop(path, signer=OTHER) as runtime:
        five_endings(runtime)
    assert verify(path, PublicKeys([OTHER.public])).status == "valid"
    verdict = verify(path, PublicKeys([SIGNER.public]))
    assert verdict.status == "undecidable"
    assert all(problem.undecidable for problem in verdict.problems)


def test_a_saved_head_of_another_log_is_undecidable(busy: Path, endings: Path) -> None:
    [(note,)] = read(endings, "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
    both = PublicKeys([next(iter_publics(busy)), next(iter_publics(endings))])
    assert isinstance(note, bytes)
    verdict = verify(busy, both, [note])
    assert (verdict.status, verdict.problems[0].where) == ("undecidable", "saved head 1")


def iter_publics(path: Path) -> Any:
    keys = keys_of(path)
    return (keys.public(kid) for kid in keys)


def test_a_saved_head_that_the_log_still_has_is_counted(busy: Path) -> None:
    [(note,)] = read(busy, "SELECT note FROM checkpoints ORDER BY size LIMIT 1")
    assert isinstance(note, bytes)
    verdict = verify(busy, keys_of(busy), [note])
    assert (verdict.status, verdict.saved_heads) == ("valid", 1)


def test_records_after_the_last_signed_head_are_counted(copied: Path, busy: Path) -> None:
    [(last,)] = read(copied, "SELECT max(size) FROM checkpoints")
    tamper(copied, "DELETE FROM checkpoints WHERE size = ?", last)
    [(before,)] = read(copied, "SELECT max(size) FROM checkpoints")
    verdict = verify(copied, keys_of(busy))
    assert verdict.status == "valid"
    assert verdict.unsigned_tail == {"default": last - before}  # type: ignore[operator]


def test_receipts_signed_together_verify_and_break_alike(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    with open_shop(path, receipts="batch", signer=SIGNER) as runtime:
        five_endings(runtime)
        many = [
            runtime.execute(AGENT, entity=f"order:none_{number}", action="AUTO_REFUND", parameters={})
            for number in range(20)
        ]
        assert all(pending.result().outcome == "invalid" for pending in many)
    keys = PublicKeys([SIGNER.public])
    assert verify(path, keys).status == "valid"
    sql = "UPDATE receipts SET batch = CAST(replace(CAST(batch AS TEXT), '\"index\":0', '\"index\":1') AS BLOB)"
    assert tamper(path, sql)
    assert verify(path, keys).status == "invalid"


def test_the_memory_store_is_verified_alike() -> None:
    store = MemoryStore()
    runtime = Runtime(store, SIGNER, domains=[DOMAIN], executors={"refund.issue": refund})
    five_endings(runtime)
    runtime.close()
    verdict = verify_store(store, PublicKeys([SIGNER.public]))
    assert (verdict.status, verdict.problems) == ("valid", ())


def test_a_database_is_verified_beside_its_running_writer(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    with open_shop(path, signer=SIGNER) as runtime:
        five_endings(runtime)
        runtime.checkpoint().result()
        more = [runtime.ingest(STRIPE, type="ORDER_PLACED", entity=f"order:live_{n}") for n in range(200)]
        verdict = verify(path, PublicKeys([SIGNER.public]))
        assert [pending.result().applied for pending in more] == [True] * 200
    assert (verdict.status, verdict.problems) == ("valid", ())


def test_a_ruined_database_gives_a_bounded_answer(copied: Path, busy: Path) -> None:
    tamper(copied, "UPDATE records SET body = X'00'")
    verdict = verify(copied, keys_of(busy))
    assert verdict.status == "invalid"
    assert len(verdict.problems) <= 201


def test_verifying_leaves_the_database_as_it_was(copied: Path, busy: Path) -> None:
    before = copied.read_bytes()
    verify(copied, keys_of(busy))
    assert copied.read_bytes() == before
