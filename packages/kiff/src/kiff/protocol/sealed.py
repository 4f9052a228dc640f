"""A value that the log only commits to, and what opens the commitment: the mathematics of the vault.

    salt        HMAC-SHA256(the tenant's vault key, JCS([tenant, domain, entity, action, principal, name, value]))
    commitment  SHA-256(0x00 || JCS({"name", "salt", "value"})), the salt as hexadecimal digits

The same call gives the same commitment, so approvals fit it and a retry is known again. Whoever has the log and not
the key learns nothing by trying out values.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct, json

from kiff.canonical import digest, encode, fragment

SALT_BYTES = 32
_COMMITMENT = re.compile(r"sha256:[0-9a-f]{64}")


class Sealed(Struct, frozen=True, gc=False):
    """A `sensitive` value in the vault: the log holds its commitment, and this is what opens it.

    Args:
        id: the commitment, `sha256:<hex>`.
        entity: what the call is about; a commitment is one call's.
        name: of the parameter.
        salt: 32 bytes; empty once the value was erased.
        value: canonical JSON; None once it was erased.
    """

    tenant: str
    id: str
    entity: str
    name: str
    salt: bytes
    value: bytes | None

    def __repr__(self) -> str:
        return f"Sealed(id={self.id!r}, name={self.name!r}, …)"

    @property
    def erased(self) -> bool:
        return self.value is None

    @property
    def opens(self) -> bool:
        """Whether it is what the commitment was made over."""
        return self.value is not None and commitment(self.name, self.salt, self.value) == self.id


class Sealing(NamedTuple):
    """The call that a value belongs to; with the value it determines the salt."""

    tenant: str
    domain: str
    entity: str
    action: str
    principal: str

    def seal(self, key: bytes, name: str, value: bytes) -> Sealed:
        """The value as the vault holds it.

        Args:
            key: the tenant's.
            value: canonical JSON.
        """
        salt = hmac.digest(key, encode([*self, name, fragment(value)]), "sha256")
        return Sealed(self.tenant, commitment(name, salt, value), self.entity, name, salt, value)


def tenant_key(secret: bytes, tenant: str) -> bytes:
    """The vault key of a tenant.

    Args:
        secret: of the installation, 32 bytes or more.
    """
    return hmac.digest(secret, b"kiff vault\0" + tenant.encode(), "sha256")


def commitment(name: str, salt: bytes, value: bytes) -> str:
    """What the log holds in place of a value.

    Args:
        value: canonical JSON.
    """
    return digest(b"\0" + encode({"name": name, "salt": salt.hex(), "value": fragment(value)}))


def written(parameters: Mapping[str, Any], sealed: Iterable[Sealed]) -> dict[str, Any]:
    """The parameters as a proposal's body has them: commitments in place of the values that are sealed."""
    return {**parameters, **{row.name: {"commitment": row.id, "name": row.name} for row in sealed}}


def is_commitment(name: str, value: Any) -> bool:
    """Whether the value of a parameter is written as its commitment. No caller may send one that is."""
    if not isinstance(value, dict) or value.keys() != {"commitment", "name"} or value["name"] != name:
        return False
    return isinstance(value["commitment"], str) and is_name(value["commitment"])


def is_name(text: str) -> bool:
    """Whether a text is what commitments are called: `sha256:<hex>`."""
    return _COMMITMENT.fullmatch(text) is not None


def commitments(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Name -> commitment, of those parameters of a proposal's body that are sealed."""
    return {name: value["commitment"] for name, value in parameters.items() if is_commitment(name, value)}


def opened(parameters: Mapping[str, Any], sealed: Iterable[Sealed]) -> dict[str, Any]:
    """The parameters of a proposal's body with the values again; what was erased stays a commitment."""
    values = {row.name: json.decode(row.value) for row in sealed if row.value is not None}
    return {**parameters, **values}
