"""What the fast check of the log finds, and what it says of a log that is whole."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from analysis_cases import DOMAIN, STRIPE, copy_of, five_endings, keys_of, open_shop, pay, read, tamper
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff import Runtime
from kiff.analysis import LeavesVerdict, verify_leaves
from kiff.analysis.history import PAGE
from kiff.ledger import EMPTY, Checkpoint, Ed25519Signer, Log, PublicKeys, extend, leaf_hash, root, sign_checkpoint
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
KEYS = PublicKeys([SIGNER.public])


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database with three signed heads, the last over the whole log."""
    path = tmp_path_factory.mktemp("signed") / "refunds.db"
    with open_shop(path, signer=SIGNER) as runtime:
        five_endings(runtime)
        runtime.checkpoint().result()
        runtime.ingest(STRIPE, type="ORDER_PLACED", entity="order:late").result()
        runtime.checkpoint().result()
        runtime.ingest(STRIPE, type="ORDER_PAID", entity="order:late").result()
    return path


@pytest.fixture
def copied(signed: Path, tmp_path: Path) -> Path:
    return copy_of(signed, tmp_path)


def leaves(path: Path, keys: PublicKeys = KEYS, saved: Iterable[bytes] = ()) -> LeavesVerdict:
    with closing(SqliteStore(path, read_only=True)) as store:
        return verify_leaves(store, keys, saved)


def found(path: Path, **more: object) -> set[tuple[str, str]]:
    """(where, field) of every problem; the verdict must be `invalid`."""
    verdict = leaves(path, **more)  # type: ignore[arg-type]
    assert verdict.status == "invalid"
    return {(problem.where, problem.field) for problem in verdict.problems}


def body_of(path: Path, seq: int) -> bytes:
    [(body,)] = read(path, "SELECT body FROM records WHERE seq = ?", seq)
    assert isinstance(body, bytes)
    return body


def tree_of(path: Path) -> Log:
    return extend(EMPTY, [leaf_hash(bytes(body)) for (body,) in read(path, "SELECT body FROM records ORDER BY seq")])  # type: ignore[call-overload]


def size_of(path: Path) -> int:
    [(size,)] = read(path, "SELECT size FROM heads")
    assert isinstance(size, int)
    return size


def rehead(path: Path) -> None:
    """Gives the head row the size, root and frontier of the records that are there."""
    tree = tree_of(path)
    tamper(path, "UPDATE heads SET size = ?, root = ?, frontier = ?", tree.size, root(tree), b"".join(tree.frontier))


def test_a_changed_body_is_named(copied: Path) -> None:
    changed = body_of(copied, 3).replace(b"stripe", b"strype")
    assert tamper(copied, "UPDATE records SET body = ? WHERE seq = 3", changed)
    assert found(copied) == {("record 3", "body")}


def test_a_changed_leaf_is_named_as_the_leaf(copied: Path) -> None:
    assert tamper(copied, "UPDATE records SET leaf = zeroblob(32) WHERE seq = 3")
    assert found(copied) == {("record 3", "leaf")}


def test_a_body_rewritten_with_its_leaf_is_found_at_the_first_head_over_it(copied: Path) -> None:
    changed = body_of(copied, 3).replace(b"stripe", b"strype")
    assert tamper(copied, "UPDATE records SET body = ?, leaf = ? WHERE seq = 3", changed, leaf_hash(changed))
    [(size,)] = read(copied, "SELECT min(size) FROM checkpoints")
    assert found(copied) == {(f"checkpoint {size}", "root")}


def test_a_body_rewritten_with_its_leaf_and_the_head_row_is_found_too(copied: Path) -> None:
    changed = body_of(copied, 3).replace(b"stripe", b"strype")
    assert tamper(copied, "UPDATE records SET body = ?, leaf = ? WHERE seq = 3", changed, leaf_hash(changed))
    rehead(copied)
    assert all(where.startswith("checkpoint ") for where, _ in found(copied))


@pytest.mark.parametrize(("gone", "called"), [("= 5", "record 5"), ("BETWEEN 5 AND 7", "records 5 to 7")])
def test_missing_records_are_named(gone: str, called: str, copied: Path) -> None:
    assert tamper(copied, f"DELETE FROM records WHERE seq {gone}")
    assert (called, "seq") in found(copied)


def test_a_gap_that_was_closed_again_is_found(copied: Path) -> None:
    assert tamper(copied, "DELETE FROM records WHERE seq = 5")
    assert tamper(copied, "UPDATE records SET seq = -seq - 1 WHERE seq > 5")
    assert tamper(copied, "UPDATE records SET seq = -seq - 2 WHERE seq < 0")
    assert ("record 5", "seq") in found(copied)


def test_records_that_changed_places_are_named(copied: Path) -> None:
    for statement in ("seq = 999 WHERE seq = 4", "seq = 4 WHERE seq = 5", "seq = 5 WHERE seq = 999"):
        assert tamper(copied, f"UPDATE records SET {statement}")
    assert {("record 4", "seq"), ("record 5", "seq")} <= found(copied)


def test_a_truncated_tail_is_found_when_the_head_row_was_kept(copied: Path) -> None:
    size = size_of(copied)
    assert tamper(copied, "DELETE FROM records WHERE seq >= ?", size - 2) == 2
    assert {("head of default", "size"), (f"checkpoint {size}", "size")} <= found(copied)


def test_a_log_cut_off_with_its_heads_looks_whole_without_a_saved_head(copied: Path, signed: Path) -> None:
    [(size,)] = read(copied, "SELECT min(size) FROM checkpoints")
    [(note,)] = read(copied, "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
    tamper(copied, "DELETE FROM records WHERE seq >= ?", size)
    tamper(copied, "DELETE FROM checkpoints WHERE size > ?", size)
    rehead(copied)
    assert leaves(copied).status == "valid"
    assert found(copied, saved=[note]) == {(f"saved head of size {size_of(signed)}", "size")}


def test_a_head_row_with_another_root_is_found(copied: Path) -> None:
    assert tamper(copied, "UPDATE heads SET root = zeroblob(32)")
    assert found(copied) == {("head of default", "root")}


def test_a_head_row_that_is_gone_is_found(copied: Path) -> None:
    assert tamper(copied, "DELETE FROM heads")
    assert ("head of default", "") in found(copied)


def test_a_head_whose_signature_was_changed_is_found(copied: Path) -> None:
    [(size, note)] = read(copied, "SELECT size, note FROM checkpoints ORDER BY size LIMIT 1")
    text, _, _ = bytes(note).rpartition(b"\n\n")  # type: ignore[call-overload]
    checkpoint = Checkpoint(text.split(b"\n")[0].decode(), int(str(size)), root(tree_of(copied)))
    lines = bytes(note)[len(text) :]  # type: ignore[call-overload]
    forged = sign_checkpoint(checkpoint, OTHER).rpartition(b"\n\n")[0] + lines
    assert tamper(copied, "UPDATE checkpoints SET note = ? WHERE size = ?", forged, size)
    assert (f"checkpoint {size}", "signature") in found(copied)


def test_heads_of_a_key_that_is_not_trusted_decide_nothing(signed: Path) -> None:
    verdict = leaves(signed, PublicKeys([OTHER.public]))
    assert (verdict.status, verdict.checkpoints) == ("undecidable", 0)
    assert {problem.field for problem in verdict.problems if problem.where.startswith("checkpoint ")} == {"signature"}


def test_a_log_without_any_signed_head_is_undecidable(copied: Path) -> None:
    assert tamper(copied, "DELETE FROM checkpoints")
    verdict = leaves(copied)
    assert (verdict.status, verdict.checkpoints) == ("undecidable", 0)
    assert verdict.unsigned_tail == {"default": size_of(copied)}


def test_a_whole_tenant_without_a_head_is_found(copied: Path) -> None:
    assert tamper(copied, "INSERT INTO records SELECT 'shadow', seq, entity, leaf, body FROM records WHERE seq = 0")
    assert ("head of shadow", "") in found(copied)


def test_control_an_intact_log_is_valid(signed: Path) -> None:
    verdict = leaves(signed)
    [(heads,)] = read(signed, "SELECT count(*) FROM checkpoints")
    assert (verdict.status, verdict.problems) == ("valid", ())
    assert (verdict.tenants, verdict.records, verdict.checkpoints) == (1, size_of(signed), heads)
    assert verdict.unsigned_tail == {"default": 0}


def test_control_a_log_over_several_pages_with_a_head_inside_a_page_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    with open_shop(path, signer=SIGNER) as runtime:
        for start in (0, PAGE // 2):
            waiting = [
                runtime.ingest(STRIPE, type="ORDER_PLACED", entity=f"order:{start + number}")
                for number in range(PAGE // 2 + start)
            ]
            for pending in waiting:
                pending.result()
            note = runtime.checkpoint().result()
    verdict = leaves(path, saved=[note])
    assert (verdict.status, verdict.saved_heads, verdict.records > 2 * PAGE) == ("valid", 1, True)


def test_control_an_empty_store_is_valid() -> None:
    assert verify_leaves(MemoryStore(), KEYS).status == "valid"


def test_control_a_log_in_memory_is_valid_beside_its_writer() -> None:
    store = MemoryStore()
    with Runtime(store, SIGNER, domains=[DOMAIN]) as runtime:
        pay(runtime, "ord_001")
        runtime.checkpoint().result()
        verdict = verify_leaves(store, KEYS)
    assert (verdict.status, verdict.records) == ("valid", 5)


def test_a_busy_database_with_every_kind_of_record_is_valid(busy: Path) -> None:
    assert leaves(busy, keys_of(busy)).status == "valid"
