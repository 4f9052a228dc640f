"""A receipt's signature binds every field, in both renderings; no receipt chooses how it is checked."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from ledger_cases import KEYS, OTHER, SIGNER, core, mutants

from kiff.canonical import parse
from kiff.ledger import (
    BatchSignature,
    PublicKeys,
    check,
    compact_jws,
    core_of,
    flat,
    jwk,
    jwks,
    sign,
    sign_batch,
)
from kiff.ledger.keys import b64u
from kiff.ledger.receipts import signature_bytes, signature_text, signing_input

CORE = core()
RECEIPT = flat(CORE, sign(SIGNER, CORE), anchor="base-sepolia:0x2f")
CORES = [core(number) for number in range(7)]
BATCH = sign_batch(SIGNER, CORES)
BOTH = PublicKeys([SIGNER.public, OTHER.public])


def flipped(text: str, at: int) -> str:
    """The hex digit at this place with its lowest bit turned over."""
    return text[:at] + f"{int(text[at], 16) ^ 1:x}" + text[at + 1 :]


def signed_core(receipt: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in receipt.items() if name not in ("signature", "anchor", "proofs")}


def test_every_changed_removed_or_added_key_is_refused() -> None:
    count = 0
    for path, mutant in mutants(signed_core(RECEIPT)):
        count += 1
        found = check({**mutant, "signature": RECEIPT["signature"]}, KEYS)
        assert found.status != "valid", path
        assert found.status == "invalid" or path.startswith("kid."), path
    assert count > 40


def test_every_changed_digit_of_the_signature_is_refused() -> None:
    text = RECEIPT["signature"]
    for at in range(len("kiff_sig_"), len(text)):
        assert check({**RECEIPT, "signature": flipped(text, at)}, KEYS).status == "invalid"


@pytest.mark.parametrize(
    "signature",
    [
        None,
        7,
        "",
        "kiff_sig_",
        RECEIPT["signature"].upper(),
        "kiff_sig_" + RECEIPT["signature"][9:].upper(),
        RECEIPT["signature"] + "\n",
        RECEIPT["signature"] + "00",
        RECEIPT["signature"][:-2],
        RECEIPT["signature"].removeprefix("kiff_sig_"),
        RECEIPT["signature"].replace("kiff_sig_", "kiff_batch_"),
    ],
)
def test_a_signature_in_any_other_form_is_refused(signature: Any) -> None:
    assert check({**RECEIPT, "signature": signature}, KEYS).status == "invalid"


def test_an_unknown_key_is_undecidable_and_named() -> None:
    found = check(RECEIPT, PublicKeys([OTHER.public]))
    assert found.status == "undecidable"
    assert found.problem is not None
    assert (found.problem.field, found.kid) == ("kid", SIGNER.kid)
    assert SIGNER.kid in found.problem.message


def test_another_known_key_id_is_refused() -> None:
    assert check({**RECEIPT, "kid": OTHER.kid}, BOTH).status == "invalid"


def test_a_key_that_signs_in_anothers_name_is_refused() -> None:
    forged = flat(CORE, OTHER.sign(signing_input(SIGNER.kid, CORE)))
    assert check(forged, BOTH).status == "invalid"


@pytest.mark.parametrize("kid", [None, 7, ["x"], ""])
def test_a_receipt_without_a_key_id_is_not_valid(kid: Any) -> None:
    assert check({**RECEIPT, "kid": kid}, KEYS).status != "valid"


@pytest.mark.parametrize(
    "brought", [{"alg": "none"}, {"typ": "JWT"}, {"jwk": jwk(OTHER.public)}, {"jku": "https://keys.example"}]
)
def test_a_receipt_cannot_bring_its_own_algorithm_or_key(brought: dict[str, Any]) -> None:
    """Signed by OTHER with the key inside: only the caller's keys count, and they do not know it."""
    own = core(kid=OTHER.kid, **brought)
    assert check(flat(own, sign(OTHER, own)), KEYS).status == "undecidable"
    assert check({**RECEIPT, **brought}, KEYS).status == "invalid"


def test_a_header_with_another_algorithm_or_type_signs_nothing() -> None:
    for header in ({"alg": "none"}, {"alg": "Ed25519"}, {"typ": "JWT"}, {"typ": "kiff-batch+jws"}):
        full = {"alg": "EdDSA", "kid": SIGNER.kid, "typ": "kiff-receipt+jws", **header}
        head = b64u(json.dumps(full, separators=(",", ":"), sort_keys=True).encode())
        signature = SIGNER.sign(f"{head}.{b64u(CORE)}".encode())
        assert check(flat(CORE, signature), KEYS).status == "invalid"


def test_values_that_canonical_json_cannot_hold_are_refused() -> None:
    for value in (float("nan"), 2**53, "\ud800"):
        found = check({**RECEIPT, "extra": value}, KEYS)
        assert (found.status, found.problem and found.problem.field) == ("invalid", "extra")


def test_one_receipts_signature_is_no_good_for_another() -> None:
    assert check(flat(CORES[1], sign(SIGNER, CORES[2])), KEYS).status == "invalid"


def test_a_share_of_a_batch_is_no_good_for_another_receipt_or_place() -> None:
    for own in range(len(CORES)):
        for at, share in enumerate(BATCH):
            assert (check(flat(CORES[own], share), KEYS).status == "valid") == (own == at)


def test_every_change_to_a_batch_signed_receipt_is_refused() -> None:
    for share, text in zip(BATCH, CORES, strict=True):
        receipt = flat(text, share)
        for path, mutant in mutants(receipt):
            if path.split(".")[0] in ("anchor", "-anchor") or path == "proofs.+zz":
                continue  # unsigned, and nothing the signature check reads
            assert check(mutant, KEYS).status != "valid", path
        for at in range(len("kiff_batch_"), len(receipt["signature"])):
            changed = {**receipt, "signature": flipped(receipt["signature"], at)}
            assert check(changed, KEYS).status == "invalid"


def test_a_batch_signature_and_a_receipts_own_are_not_interchangeable() -> None:
    share = BATCH[0]
    own = flat(CORES[0], share.signature, {"batch": {"index": 0, "size": 7, "hashes": share.path.hashes}})
    assert check(own, KEYS).status == "invalid"
    single = sign(SIGNER, CORES[0])
    assert check(flat(CORES[0], BatchSignature(single, share.path)), KEYS).status == "invalid"


def test_an_absurd_path_is_refused() -> None:
    batch = {"index": 0, "size": 2**53 - 1, "hashes": ["00" * 32] * 1000}
    receipt = {**flat(CORES[0], BATCH[0]), "proofs": {"batch": batch}}
    assert check(receipt, KEYS).status == "invalid"


def test_a_signed_receipt_is_valid() -> None:
    found = check(RECEIPT, KEYS)
    assert (found.status, found.kid, found.problem) == ("valid", SIGNER.kid, None)


def test_anchor_and_proofs_are_beside_the_signed_core() -> None:
    assert check({**RECEIPT, "anchor": "other:1", "proofs": {"log": "x"}}, KEYS).status == "valid"


def test_keys_nobody_knows_are_signed_too() -> None:
    own = core(zz_future={"Ключ": [1, 2.5]})
    receipt = flat(own, sign(SIGNER, own))
    assert core_of(receipt) == parse(own).data
    assert check(receipt, KEYS).status == "valid"


def test_the_flat_form_is_the_seeds() -> None:
    seeds = "receipt_id trace_id tenant entity action decision reason domain_version policy_version issued_by"
    assert {*seeds.split(), "signature", "audit_url", "anchor"} <= set(RECEIPT)
    assert core_of(RECEIPT) == CORE
    assert RECEIPT["signature"].startswith("kiff_sig_")


def test_stored_text_renders_like_the_signature_itself() -> None:
    signature = sign(SIGNER, CORE)
    assert flat(CORE, signature_text(signature)) == flat(CORE, signature)
    assert signature_bytes(signature_text(signature)) == signature
    assert signature_bytes(signature_text(BATCH[0])) is None
    stored = flat(CORES[0], signature_text(BATCH[0]), {"batch": msgspec.to_builtins(BATCH[0].path)})
    assert stored == flat(CORES[0], BATCH[0])


def test_batches_of_every_small_size_are_valid() -> None:
    assert sign_batch(SIGNER, []) == []
    for size in range(1, 20):
        cores = [core(number) for number in range(size)]
        shares = sign_batch(SIGNER, cores)
        assert len({share.signature for share in shares}) == 1
        assert all(check(flat(text, share), KEYS).status == "valid" for text, share in zip(cores, shares, strict=True))


def jose(token: str, keys: PublicKeys = KEYS) -> dict[str, Any]:
    """What an independent JOSE library makes of the token, given the published key set."""
    key_set = KeySet.import_key_set(jwks(keys.public(kid) for kid in keys))  # type: ignore[arg-type]
    read: dict[str, Any] = json.loads(jws.deserialize_compact(token, key_set, algorithms=["EdDSA"]).payload)
    return read


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_jose_library_reads_the_receipt() -> None:
    assert jose(compact_jws(CORE, SIGNER.kid, sign(SIGNER, CORE))) == json.loads(CORE)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_jose_library_refuses_what_was_tampered_with() -> None:
    head, body, tail = compact_jws(CORE, SIGNER.kid, sign(SIGNER, CORE)).split(".")
    other = b64u(core(8))
    for token in (f"{head}.{other}.{tail}", f"{head}.{body}.{b64u(bytes(64))}", f"{head}.{body}."):
        with pytest.raises(JoseError):
            jose(token)
    with pytest.raises((JoseError, ValueError)):
        jose(f"{head}.{body}.{tail}", PublicKeys([OTHER.public]))
