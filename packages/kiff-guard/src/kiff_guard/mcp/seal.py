"""What the gateway gives a client to send back, sealed: the client can neither read a meaning into it nor make one."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from typing import Any

_PREFIX = "kiff1."


class Seal:
    """Seals small values with a key that this process made and never tells."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def close(self, values: dict[str, Any]) -> str:
        """The values as a text that only this process can have made."""
        body = base64.urlsafe_b64encode(json.dumps(values, sort_keys=True).encode()).decode()
        return f"{_PREFIX}{body}.{self._tag(body)}"

    def open(self, text: str) -> dict[str, Any] | None:
        """The values of a text that this process sealed, None for any other."""
        body, _, tag = text.removeprefix(_PREFIX).rpartition(".")
        if not is_sealed(text) or not hmac.compare_digest(tag.encode("utf-8", "replace"), self._tag(body).encode()):
            return None
        values = json.loads(base64.urlsafe_b64decode(body))
        return values if isinstance(values, dict) else None

    def _tag(self, body: str) -> str:
        return hmac.digest(self._key, body.encode("utf-8", "replace"), "sha256").hex()


def is_sealed(text: str) -> bool:
    """Does it look like a text that a gateway sealed, this one or an earlier one?"""
    return text.startswith(_PREFIX)
