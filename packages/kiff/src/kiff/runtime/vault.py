"""The vault as the edge has it: the key of each tenant, and the values of a call that are sealed with it.

What is sealed leaves the edge beside its commitment; the step that records the call puts it into the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from threading import Lock
from typing import Any

from kiff.canonical import admit
from kiff.errors import InvalidInput
from kiff.protocol.sealed import SALT_BYTES, Sealed, Sealing, is_commitment, tenant_key


class Vault:
    """Seals the values of calls.

    Args:
        secret: of the installation, 32 bytes or more, or what brings it when it is first needed. With another one
            the same call has another digest. None draws one for this process: approvals of calls with sensitive
            values then do not survive a restart, and neither do their ids.

    Raises:
        InvalidInput: the secret is too short.
    """

    def __init__(self, secret: bytes | Callable[[], bytes] | None = None) -> None:
        self._secret = secrets.token_bytes(SALT_BYTES) if secret is None else secret
        self._keys: dict[str, bytes] = {}
        self._loading = Lock()
        if not callable(self._secret):
            _check(self._secret)

    def seal(self, call: Sealing, parameters: dict[str, Any], names: Collection[str]) -> tuple[Sealed, ...]:
        """The values of these parameters, sealed, in the order of their names.

        Raises:
            KeyUnusable: there is no key that can be trusted, so nothing may be written.
        """
        key = self._key(call.tenant)
        return tuple(call.seal(key, name, admit(parameters[name]).data) for name in sorted(names))

    def _key(self, tenant: str) -> bytes:
        key = self._keys.get(tenant)
        if key is None:
            with self._loading:
                if callable(self._secret):
                    self._secret = _check(self._secret())
            key = self._keys[tenant] = tenant_key(self._secret, tenant)
        return key


def refuse_commitments(parameters: dict[str, Any]) -> None:
    """What stands for a sealed value comes from KIFF itself: nobody points at what another call holds.

    Raises:
        InvalidInput: a parameter is written as its commitment.
    """
    for name, value in parameters.items():
        if type(value) is dict and is_commitment(name, value):
            message = f"`parameters.{name}` is written as the commitment of a sealed value; send the value itself"
            raise InvalidInput(message, field=f"parameters.{name}")


def _check(secret: bytes) -> bytes:
    if len(secret) < SALT_BYTES:
        raise InvalidInput(f"the vault's secret must have at least {SALT_BYTES} bytes", field="vault")
    return secret
