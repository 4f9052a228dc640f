"""The mathematics of the vault, beside the same written down from its definition with other libraries."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
import rfc8785
from msgspec import structs

from kiff.canonical import admit
from kiff.protocol.sealed import Sealed, Sealing, commitments, is_commitment, opened, tenant_key, written

SECRET = bytes(range(32))
CALL = Sealing("acme", "refund-ops", "order:o_1", "REFUND", "ops-agent")
VALUES = ["customer request", "", None, True, 49, 0.5, 1e-6, {"é": "\U0001f600", "\uff01": [1.0]}, ["x" * 9000]]


def seal(call: Sealing = CALL, name: str = "reason", value: Any = "late", secret: bytes = SECRET) -> Sealed:
    return call.seal(tenant_key(secret, call.tenant), name, admit(value).data)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:20])
def test_it_is_what_its_definition_says(value: Any) -> None:
    value = admit(value).value
    key = hmac.new(SECRET, b"kiff vault\x00acme", hashlib.sha256).digest()
    salt = hmac.new(key, rfc8785.dumps([*CALL, "reason", value]), hashlib.sha256).digest()
    leaf = rfc8785.dumps({"name": "reason", "salt": salt.hex(), "value": value})
    assert seal(value=value).id == "sha256:" + hashlib.sha256(b"\x00" + leaf).hexdigest()


def test_it_never_changes() -> None:
    """Kept approvals and logs stand on it."""
    assert seal().id == "sha256:884dc0cfa592e037e7330c5eb8de6122772b8aec12951a317d4afed3fc5516b4"


@pytest.mark.parametrize("part", CALL._fields)
def test_every_part_of_the_call_is_in_it(part: str) -> None:
    assert seal(CALL._replace(**{part: "another"})).id != seal().id


def test_name_value_and_secret_are_in_it() -> None:
    others = (seal(name="cause"), seal(value="early"), seal(secret=bytes(32)))
    assert len({each.id for each in (*others, seal())}) == 4


@pytest.mark.parametrize("part", [{"name": "cause"}, {"salt": bytes(32)}, {"value": b'"early"'}, {"value": None}])
def test_what_differs_in_any_part_does_not_open_it(part: dict[str, Any]) -> None:
    assert seal().opens
    assert not structs.replace(seal(), **part).opens


@pytest.mark.parametrize(
    "value",
    [
        "sha256:" + "0" * 64,
        {"commitment": "sha256:" + "0" * 63, "name": "reason"},
        {"commitment": "sha256:" + "0" * 64 + "\n", "name": "reason"},
        {"commitment": "sha256:" + "A" * 64, "name": "reason"},
        {"commitment": 7, "name": "reason"},
        {"commitment": "sha256:" + "0" * 64},
        {"commitment": "sha256:" + "0" * 64, "name": "other"},
        {"commitment": "sha256:" + "0" * 64, "name": "reason", "more": 1},
    ],
)
def test_what_is_no_commitment_is_an_ordinary_value(value: Any) -> None:
    assert not is_commitment("reason", value)


def test_written_parameters_are_opened_to_what_they_were() -> None:
    given = {"amount": 49, "reason": "late", "account": {"iban": "NL1"}}
    sealed = [seal(), seal(name="account", value={"iban": "NL1"})]
    body = written(given, sealed)
    assert body == {"amount": 49} | {row.name: {"commitment": row.id, "name": row.name} for row in sealed}
    assert commitments(body) == {row.name: row.id for row in sealed}
    assert opened(body, sealed) == given
    erased = [structs.replace(sealed[0], value=None), sealed[1]]
    assert opened(body, erased) == given | {"reason": body["reason"]}
