"""Whose authority a call has: what a tenant knows about identities and keys, and what follows from it.

INVARIANT: authority is read from these rows in the batch that decides (DESIGN invariant 4), never from a body.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from msgspec import Struct

from kiff.errors import Forbidden, Unauthorized
from kiff.protocol.actor import Caller, Principal, PrincipalType

AUTHOR = "tenant_owner"
"""The role that authoring domains, members and keys needs (PROTOCOL "Domains"). It is the tenant's, not a domain's."""
OPERATOR = "operator"
"""The role that founding other tenants needs. Only somebody who holds it can give it."""
CredentialKind = Literal["key", "session"]


class Tenant(Struct, frozen=True, gc=False):
    """One tenant: the owner of a log, of keys, of limits.

    Args:
        id: always `tenant`; there is one row.
        separate: with separation of duties on, neither an agent's owner nor whoever minted its key reviews it.
    """

    tenant: str
    id: str
    separate: bool
    created_at: int


class Member(Struct, frozen=True, gc=False):
    """An identity that a tenant knows.

    Args:
        type: human, agent or service.
        person: the person behind it (see `Principal`).
        roles: what it may do, comma separated.
        active: one that is not has no authority at all.
    """

    tenant: str
    id: str
    type: PrincipalType
    person: str | None
    name: str | None
    roles: str
    active: bool


class Credential(Struct, frozen=True, gc=False):
    """A key, or a session of somebody who logged in. The secret itself is nowhere.

    Args:
        id: `key_…` or `ses_…`; its end is how the secret's text begins, so that a presented secret finds its row.
        digest: SHA-256 of the secret (256 random bits, so a fast hash is enough).
        principal: the member it is bound to; None acts for any actor of the tenant with its own roles.
        roles: of an unbound key, its roles; of a bound one, a narrowing of its member's (empty: all of them).
        domain: the one domain it is good for; None is good for all.
        created_by: who minted it, under every name, and whoever minted the key that was done with (comma separated).
        expires_at: instant (ms).
    """

    tenant: str
    id: str
    kind: CredentialKind
    digest: bytes
    label: str
    principal: str | None
    roles: str
    domain: str | None
    created_by: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None


def good(credential: Credential, now: int) -> bool:
    """Whether a credential was neither revoked nor is past its time."""
    return (credential.revoked_at is None) & (not _past(credential.expires_at, now))


def holder(credential: Credential | None, acting: str | None, now: int) -> str:
    """Which member a credential acts as, when it is good at all.

    Args:
        acting: who the caller says it is; None when it did not say.

    Raises:
        Unauthorized: there is no such credential, it was revoked, or its time is up: one answer for all.
        Forbidden: it is bound to somebody else.
    """
    if credential is None or not good(credential, now):
        raise Unauthorized("the credential is not valid")
    bound = credential.principal
    if bound is None:
        return acting or credential.id
    if acting is not None and acting != bound:
        raise Forbidden(f"this key acts only as `{bound}`", reason="actor_not_key_holder", actor_id=acting)
    return bound


@lru_cache(maxsize=1024)
def authority(credential: Credential, member: Member | None, acting: str) -> Caller:
    """The caller that a good credential makes. The same few call again and again.

    Args:
        member: what the tenant knows of `acting`.

    Raises:
        Unauthorized: it is bound to a member that is gone or not active.
        Forbidden: it acts for a member that is not active.
    """
    if credential.principal is not None:
        if member is None or not member.active:
            raise Unauthorized("the credential is not valid")
        who = Principal(member.id, member.type, member.person, member.name)
        roles = _roles(member.roles)
        own = _roles(credential.roles)
        roles = tuple(role for role in roles if role in own) if own else roles
        return Caller(who, roles, credential.tenant, credential.id)
    return Caller(_spoken_for(credential, member, acting), _roles(credential.roles), credential.tenant, credential.id)


def _spoken_for(credential: Credential, member: Member | None, acting: str) -> Principal:
    """Whom an unbound key acts for. Never a person themselves: for one, it is a service of theirs.

    So such a key answers no approval, and the person does not answer what it proposed in their name.
    """
    if acting == credential.id:
        return Principal(acting, "service")
    if member is None:
        return Principal(acting, "agent")
    if not member.active:
        raise Forbidden(f"`{acting}` is not active", reason="permission_denied", actor_id=acting)
    if member.type == "human":
        return Principal(acting, "service", member.person or member.id, member.name)
    return Principal(acting, member.type, member.person, member.name)


def _roles(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _past(instant: int | None, now: int) -> bool:
    return instant is not None and now >= instant
