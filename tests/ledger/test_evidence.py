"""Exported receipts and bundles: each rung, what it does not check, and the exact name of what is broken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ledger_cases import KEYS, ORIGIN, OTHER, SIGNER, TRAIL, core, decision, mutants

from kiff.canonical import encode
from kiff.ledger import (
    Checkpoint,
    PublicKeys,
    Verdict,
    flat,
    jwks,
    leaf_hash,
    sign,
    sign_batch,
    sign_checkpoint,
    verify_bundle,
    verify_receipt,
)


def rungs(verdict: Verdict) -> list[bool | None]:
    assert [rung.name for rung in verdict.rungs] == ["SIGNED", "INCLUDED", "CONSISTENT"]
    return [rung.ok for rung in verdict.rungs]


def named(verdict: Verdict) -> set[tuple[str, str]]:
    return {(problem.where, problem.field) for problem in verdict.problems}


def with_record(record: dict[str, Any]) -> dict[str, Any]:
    return TRAIL.receipt(record=encode(record).decode())


def alone(record: dict[str, Any], receipt_core: bytes = TRAIL.core) -> dict[str, Any]:
    """A receipt in a log of one record that says what it likes: signed and included, whatever it says."""
    head = Checkpoint(ORIGIN, 1, leaf_hash(encode(record)))
    proofs = {
        "log": ORIGIN,
        "seq": 0,
        "record": record,
        "inclusion": {"index": 0, "size": 1, "hashes": []},
        "checkpoint": sign_checkpoint(head, SIGNER).decode(),
    }
    return flat(receipt_core, sign(SIGNER, receipt_core), proofs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", "other"),
        ("entity", "order:ord_003"),
        ("trace_id", "trace_2"),
        ("receipt_id", "rcpt_8"),
        ("proposal_id", "prop_2"),
        ("action", "AUTO_REFUND"),
        ("decision", "allowed"),
        ("reason", "none"),
        ("domain_version", "refund-ops-v1"),
        ("policy_version", "v9"),
        ("action_digest", "sha256:" + "0" * 64),
        ("proposal_digest", "sha256:" + "0" * 64),
        ("domain_digest", "sha256:" + "0" * 64),
    ],
)
def test_a_changed_field_of_the_receipt_is_named(field: str, value: str) -> None:
    verdict = verify_receipt({**TRAIL.receipt(), field: value}, KEYS)
    assert (verdict.status, rungs(verdict)) == ("invalid", [False, False, None])
    assert named(verdict) == {("receipt", "signature"), ("receipt", field)}


def test_a_changed_field_the_record_does_not_repeat_is_noticed() -> None:
    verdict = verify_receipt({**TRAIL.receipt(), "audit_url": "/elsewhere"}, KEYS)
    assert named(verdict) == {("receipt", "signature"), ("receipt", "")}


def test_a_changed_field_of_the_record_is_named() -> None:
    record = decision(TRAIL.seq, TRAIL.core)
    record["data"]["outcome"] = "allowed"
    verdict = verify_receipt(with_record(record), KEYS)
    assert rungs(verdict) == [True, False, None]
    assert named(verdict) == {("record 5", ""), ("record 5", "data.outcome")}


def test_every_change_to_the_record_is_refused_and_the_record_named() -> None:
    for path, mutant in mutants(decision(TRAIL.seq, TRAIL.core)):
        verdict = verify_receipt(with_record(mutant), KEYS)
        assert verdict.status != "valid", path
        assert verdict.reached == "SIGNED"
        assert any(problem.where.startswith("record") for problem in verdict.problems), path


def test_every_change_to_the_proofs_is_refused_or_said_to_be_unchecked() -> None:
    for path, proofs in mutants(TRAIL.proofs()):
        if path == "+zz":
            continue
        verdict = verify_receipt({**TRAIL.receipt(), "proofs": proofs}, KEYS)
        assert verdict.reached == "SIGNED", path
        assert verdict.status != "valid" or path.startswith("-"), path


def test_every_change_to_the_receipt_is_refused() -> None:
    receipt = TRAIL.receipt()
    for path, mutant in mutants(receipt):
        if path.split(".")[0] in ("proofs", "-proofs", "anchor", "-anchor"):
            continue
        assert verify_receipt(mutant, KEYS).status != "valid", path


def test_a_receipt_that_is_not_the_one_recorded_is_refused_though_signed() -> None:
    """The issuer signed two stories; the log holds one."""
    other = core(decision="allowed")
    verdict = verify_receipt(flat(other, sign(SIGNER, other), TRAIL.proofs()), KEYS)
    assert rungs(verdict) == [True, False, None]
    assert named(verdict) == {("receipt", "decision")}


def test_a_record_that_contradicts_the_receipt_it_binds_is_refused_though_logged() -> None:
    record = {**decision(0, TRAIL.core), "entity": "order:ord_999"}
    assert named(verify_receipt(alone(record), KEYS)) == {("record 0", "entity")}


def test_a_record_that_speaks_of_no_receipt_is_refused() -> None:
    record = decision(0, TRAIL.core)
    del record["data"]["receipt"]
    assert named(verify_receipt(alone(record), KEYS)) == {("record 0", "data.receipt.digest")}


def test_a_record_at_another_position_than_it_says_is_refused() -> None:
    record = decision(3, TRAIL.core)
    receipt = alone(record)
    assert ("record 3", "seq") in named(verify_receipt(receipt, KEYS))


def test_a_record_of_a_later_version_is_undecidable() -> None:
    verdict = verify_receipt(alone({**decision(0, TRAIL.core), "v": 2}), KEYS)
    assert (verdict.status, rungs(verdict)) == ("undecidable", [True, None, None])


def test_record_text_that_is_not_canonical_is_refused() -> None:
    text = json.dumps(TRAIL.records[TRAIL.seq])
    assert verify_receipt(TRAIL.receipt(record=text), KEYS).status == "invalid"


def test_a_head_of_another_log_is_refused() -> None:
    other = sign_checkpoint(Checkpoint("kiff.example/log/t1", TRAIL.size, TRAIL.head().root), SIGNER).decode()
    assert ("checkpoint", "origin") in named(verify_receipt(TRAIL.receipt(checkpoint=other), KEYS))


def test_a_head_nobody_known_signed_is_undecidable() -> None:
    note = sign_checkpoint(TRAIL.head(), OTHER).decode()
    verdict = verify_receipt(TRAIL.receipt(checkpoint=note), KEYS)
    assert (verdict.status, rungs(verdict)) == ("undecidable", [True, None, None])


def test_an_unknown_key_is_undecidable_and_named() -> None:
    verdict = verify_receipt(TRAIL.receipt(), PublicKeys([OTHER.public]))
    assert (verdict.status, verdict.reached) == ("undecidable", "")
    assert SIGNER.kid in verdict.problems[0].message


def test_a_false_field_is_invalid_even_under_an_unknown_key() -> None:
    verdict = verify_receipt({**TRAIL.receipt(), "decision": "allowed"}, PublicKeys())
    assert verdict.status == "invalid"
    assert ("receipt", "decision") in named(verdict)


def test_without_proofs_the_receipt_is_signed_and_no_more() -> None:
    verdict = verify_receipt(flat(TRAIL.core, sign(SIGNER, TRAIL.core)), KEYS)
    assert (verdict.status, verdict.reached, rungs(verdict)) == ("valid", "SIGNED", [True, None, None])
    assert "not checked" in verdict.rungs[1].detail
    assert "inclusion" in verdict.rungs[1].detail


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"proofs":[]}', b"\xff"])
def test_what_cannot_be_read_is_refused(raw: bytes) -> None:
    for verify in (verify_receipt, verify_bundle):
        verdict = verify(raw, KEYS)
        assert (verdict.status, verdict.reached) == ("invalid", "")


def test_a_rewritten_log_is_caught_by_a_saved_head_of_its_size() -> None:
    saved = Checkpoint(ORIGIN, TRAIL.size, bytes(32))
    verdict = verify_receipt(TRAIL.receipt(), KEYS, saved)
    assert (verdict.status, rungs(verdict)) == ("invalid", [True, True, False])
    assert named(verdict) == {("checkpoint", "root")}


def test_a_rewritten_log_is_caught_by_an_older_saved_head() -> None:
    saved = Checkpoint(ORIGIN, 4, bytes(32))
    verdict = verify_receipt(TRAIL.receipt(consistency=TRAIL.growth(4)), KEYS, saved)
    assert (verdict.status, rungs(verdict)) == ("invalid", [True, True, False])


def test_every_change_to_the_consistency_proof_is_refused() -> None:
    for path, mutant in mutants(TRAIL.growth(4)):
        verdict = verify_receipt(TRAIL.receipt(consistency=mutant), KEYS, TRAIL.head(4))
        assert (verdict.status, verdict.reached) == ("invalid", "INCLUDED"), path


def test_a_hash_written_another_way_is_refused() -> None:
    for proof in ("inclusion", "consistency"):
        value = {"inclusion": TRAIL.inclusion(TRAIL.seq), "consistency": TRAIL.growth(4)}
        value[proof]["hashes"] = [text.upper() for text in value[proof]["hashes"]]
        assert verify_receipt(TRAIL.receipt(**value), KEYS, TRAIL.head(4)).status == "invalid"


@pytest.mark.parametrize(
    "saved",
    [
        TRAIL.head(4),
        Checkpoint("kiff.example/log/t1", TRAIL.size, TRAIL.head().root),
        Checkpoint(ORIGIN, 0, bytes(32)),
    ],
)
def test_a_saved_head_that_cannot_be_compared_is_undecidable(saved: Checkpoint) -> None:
    verdict = verify_receipt(TRAIL.receipt(), KEYS, saved)
    assert (verdict.status, rungs(verdict)) == ("undecidable", [True, True, None])


def test_a_saved_head_beside_a_receipt_without_proofs_is_undecidable() -> None:
    verdict = verify_receipt(flat(TRAIL.core, sign(SIGNER, TRAIL.core)), KEYS, TRAIL.head())
    assert (verdict.status, rungs(verdict)) == ("undecidable", [True, None, None])


def test_every_change_to_a_bundle_is_refused() -> None:
    bundle = TRAIL.bundle()
    assert verify_bundle(bundle, KEYS).status == "valid"
    ignored = ("jwks", "-jwks", "receipt.anchor", "receipt.-anchor", "receipt.proofs.+zz")
    for path, mutant in mutants(bundle):
        if path.startswith(ignored):
            continue
        if path.startswith("records.-"):
            continue  # a bundle may hold fewer records; what it holds must be true
        assert verify_bundle(mutant, KEYS).status != "valid", path


def test_a_record_swapped_with_its_neighbour_is_named() -> None:
    bundle = TRAIL.bundle()
    bundle["records"][0]["record"], bundle["records"][1]["record"] = (
        bundle["records"][1]["record"],
        bundle["records"][0]["record"],
    )
    assert {("record 2", "seq"), ("record 3", "seq")} <= named(verify_bundle(bundle, KEYS))


def test_records_out_of_order_are_refused() -> None:
    bundle = TRAIL.bundle()
    bundle["records"].reverse()
    assert ("record 6", "seq") in named(verify_bundle(bundle, KEYS))


def test_a_spliced_record_is_named() -> None:
    bundle = TRAIL.bundle()
    bundle["records"][1]["record"] = bundle["records"][1]["record"].replace("49.5", "49.6")
    assert named(verify_bundle(bundle, KEYS)) == {("record 3", "")}


def test_another_tenants_record_is_named() -> None:
    bundle = TRAIL.bundle()
    bundle["records"][1]["record"] = bundle["records"][1]["record"].replace("kiff-demo", "kiff-other")
    assert ("record 3", "tenant") in named(verify_bundle(bundle, KEYS))


def test_a_bundle_of_a_later_version_is_undecidable() -> None:
    assert verify_bundle({**TRAIL.bundle(), "kiff_bundle": 2}, KEYS).status == "undecidable"


def test_the_keys_inside_a_bundle_are_not_trusted() -> None:
    bundle = {**TRAIL.bundle(), "jwks": jwks([SIGNER.public])}
    assert verify_bundle(bundle, PublicKeys()).status == "undecidable"


def test_two_checkpoints_in_one_bundle_are_refused() -> None:
    bundle = TRAIL.bundle()
    bundle["receipt"]["proofs"]["checkpoint"] = TRAIL.note(TRAIL.size - 1)
    assert named(verify_bundle(bundle, KEYS)) == {("receipt", "proofs.checkpoint")}


def test_an_included_receipt_is_valid_and_says_what_was_not_checked() -> None:
    verdict = verify_receipt(json.dumps(TRAIL.receipt()).encode(), KEYS)
    assert (verdict.status, verdict.reached, verdict.problems) == ("valid", "INCLUDED", ())
    assert "not checked" in verdict.rungs[2].detail


def test_a_record_may_come_as_an_object() -> None:
    verdict = verify_receipt(TRAIL.receipt(record=TRAIL.records[TRAIL.seq]), KEYS)
    assert verdict.reached == "INCLUDED"


def test_a_record_deeper_than_a_request_may_be_comes_as_text() -> None:
    deep: Any = 1
    for _ in range(32):
        deep = [deep]
    record = decision(0, TRAIL.core)
    record["data"]["parameters"] = deep
    receipt = alone(record)
    receipt["proofs"]["record"] = encode(record).decode()
    assert verify_receipt(receipt, KEYS).reached == "INCLUDED"


@pytest.mark.parametrize("size", [4, 11])
def test_a_log_that_only_grew_is_consistent(size: int) -> None:
    verdict = verify_receipt(TRAIL.receipt(consistency=TRAIL.growth(4)), KEYS, TRAIL.head(size))
    assert (verdict.status, verdict.reached) == ("valid", "CONSISTENT")


def test_a_saved_head_newer_than_the_evidence_is_consistent_too() -> None:
    older = {"checkpoint": TRAIL.note(8), "inclusion": TRAIL.inclusion(TRAIL.seq, 8)}
    receipt = TRAIL.receipt(**older, consistency=TRAIL.growth(8))
    assert verify_receipt(receipt, KEYS, TRAIL.head()).reached == "CONSISTENT"


def test_a_bundle_with_a_consistency_proof_reaches_the_top() -> None:
    bundle = {**TRAIL.bundle(), "consistency": TRAIL.growth(4)}
    verdict = verify_bundle(json.dumps(bundle).encode(), KEYS, TRAIL.head(4))
    assert (verdict.status, verdict.reached) == ("valid", "CONSISTENT")


def test_a_batch_signed_receipt_climbs_like_any_other() -> None:
    share = sign_batch(SIGNER, [core(1), TRAIL.core, core(2)])[1]
    verdict = verify_receipt(flat(TRAIL.core, share, TRAIL.proofs()), KEYS)
    assert (verdict.status, verdict.reached) == ("valid", "INCLUDED")
