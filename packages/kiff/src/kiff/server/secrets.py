"""Secrets of keys and sessions: `kiff_live_<tenant>_<random>`. Only their SHA-256 is ever kept.

The random part begins with what the row's id ends in, so that a presented secret finds its row by key.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256

from msgspec import Struct

from kiff.protocol.authority import CredentialKind

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX, REST = 10, 43
"""Characters: 43 of 62 are 256 bits."""
SANDBOX = ":test"
"""A tenant's sandbox side is a tenant of its own by this suffix: its own log, keys, domains and limits."""
_KINDS = {"live": "key", "test": "key", "session": "ses"}
_TEXT = re.compile(r"kiff_(live|test|session)_([a-z0-9][a-z0-9-]{0,62}(?:\.test)?)_([0-9A-Za-z]{53})")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(?:[:]test)?")


class Presented(Struct, frozen=True):
    """What somebody presented: which tenant it routes to, which row it would be, and its digest."""

    tenant: str
    id: str
    digest: bytes


def draw(kind: CredentialKind, tenant: str, once: bytes | None = None) -> tuple[str, Presented]:
    """A fresh secret for a tenant, and what is kept of it.

    Args:
        once: what may lead to one credential and no second: its id follows from this, and an id is given once.
    """
    random = "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX + REST))
    if once is not None:
        number = int.from_bytes(sha256(once).digest())
        random = "".join(_ALPHABET[number // 62**at % 62] for at in range(PREFIX)) + random[PREFIX:]
    side = "session" if kind == "session" else "test" if tenant.endswith(SANDBOX) else "live"
    shown = tenant.replace(SANDBOX, ".test") if kind == "session" else tenant.removesuffix(SANDBOX)
    text = f"kiff_{side}_{shown}_{random}"
    presented = read(text)
    assert presented is not None, "a drawn secret has the shape of one"
    return text, presented


def read(text: str) -> Presented | None:
    """What a presented text says; None when it is not even shaped like a secret of ours."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    side, tenant, random = found.groups()
    if side == "session":
        tenant = tenant.replace(".test", SANDBOX)
    elif "." in tenant:
        return None
    elif side == "test":
        tenant += SANDBOX
    return Presented(tenant, f"{_KINDS[side]}_{random[:PREFIX]}", sha256(text.encode()).digest())


def is_tenant(name: str) -> bool:
    """Whether a tenant may be called so."""
    return _TENANT.fullmatch(name) is not None
