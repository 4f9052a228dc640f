"""Key sets: only Ed25519 verification keys under their own thumbprints get in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ledger_cases import KEYS, OTHER, SIGNER

from kiff.errors import InvalidInput
from kiff.ledger import PublicKeys, jwk, jwks, kid_of, parse_jwks
from kiff.ledger.keys import b64u, unb64u

GOOD = jwk(SIGNER.public)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kty": "RSA"}, "kty"),
        ({"crv": "X25519"}, "crv"),
        ({"alg": "none"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"use": "enc"}, "use"),
        ({"d": "AAAA"}, "d"),
        ({"valid_until": "2020-01-01T00:00:00Z"}, "valid_until"),
        ({"x": GOOD["x"] + "="}, "x"),
        ({"x": GOOD["x"][:-1]}, "x"),
        ({"x": GOOD["x"][:-1] + "\n"}, "x"),
        ({"x": 7}, "x"),
        ({"x": b64u(bytes(33))}, "x"),
        ({"kid": OTHER.kid}, "kid"),
        ({"kid": None}, "kid"),
    ],
)
def test_a_key_that_is_not_what_it_says_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_jwks({"keys": [{**GOOD, **changes}]})
    assert caught.value.field == f"keys[0].{field}"


@pytest.mark.parametrize("data", [{}, {"keys": {}}, {"keys": [], "more": 1}, [], {"keys": ["x"]}, None])
def test_anything_but_a_key_set_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput):
        parse_jwks(json.dumps(data).encode())


def test_a_key_twice_is_refused() -> None:
    with pytest.raises(InvalidInput):
        parse_jwks({"keys": [GOOD, GOOD]})


def test_a_member_given_twice_is_refused() -> None:
    text = json.dumps({"keys": [GOOD]}).replace('"kty":', '"kty": "RSA", "kty":')
    with pytest.raises(InvalidInput):
        parse_jwks(text.encode())


def test_an_unknown_id_verifies_nothing() -> None:
    signature = OTHER.sign(b"data")
    assert not KEYS.verify(OTHER.kid, signature, b"data")
    assert not KEYS.verify(SIGNER.kid, signature, b"data")
    assert not PublicKeys().verify(SIGNER.kid, SIGNER.sign(b"data"), b"data")


def test_a_signature_of_another_length_verifies_nothing() -> None:
    signature = SIGNER.sign(b"data")
    assert KEYS.verify(SIGNER.kid, signature, b"data")
    assert not any(KEYS.verify(SIGNER.kid, cut, b"data") for cut in (b"", signature[:-1], signature + b"\0"))


def test_the_published_set_reads_back() -> None:
    keys = parse_jwks(json.dumps(jwks([SIGNER.public, OTHER.public])).encode())
    assert list(keys) == [SIGNER.kid, OTHER.kid]
    assert keys.public(OTHER.kid) == OTHER.public


def test_the_id_is_the_thumbprint_of_rfc_8037() -> None:
    """RFC 8037, appendix A.3."""
    public = unb64u("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert public is not None
    assert kid_of(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_signer_does_not_show_its_key() -> None:
    assert repr(SIGNER) == f"Ed25519Signer(kid={SIGNER.kid!r})"
