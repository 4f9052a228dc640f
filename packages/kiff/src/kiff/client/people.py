"""Who may do what in a tenant: its keys and its members. Both take an owner's key."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from kiff.client.connection import Connection
from kiff.client.nouns import Key, Member, Minted
from kiff.client.paths import one
from kiff.protocol.actor import PrincipalType
from kiff.runtime.ports import Ids


class _Keys(Struct):
    keys: list[Key]


class _Members(Struct):
    members: list[Member]


class _Revoked(Struct):
    revoked_at: str


class Keys:
    """The keys of a tenant."""

    def __init__(self, connection: Connection, ids: Ids) -> None:
        self._connection = connection
        self._ids = ids

    def all(self) -> list[Key]:
        """Every key and session, without their secrets."""
        return self._connection.value(_Keys, "GET", "/v1/keys").keys

    def create(
        self,
        label: str = "",
        *,
        principal: str | None = None,
        roles: Sequence[str] = (),
        domain: str | None = None,
        expires_at: str | None = None,
        id: str | None = None,
    ) -> Minted:
        """Mints a key. Its secret is in the answer and nowhere else.

        Args:
            principal: the member it speaks for; without one it acts for any actor with its own roles.
            roles: narrows what a bound key may do, and says what an unbound one may.
            domain: the one domain it is good for.
            expires_at: RFC 3339.
            id: an idempotency key of this request.
        """
        id = id or f"mint_{self._ids.draw()}"
        body = {"label": label, "principal": principal, "roles": list(roles)}
        body |= {"domain": domain, "expires_at": expires_at}
        said = {name: value for name, value in body.items() if value is not None}
        return self._connection.value(Minted, "POST", "/v1/keys", body=said, id=id)

    def revoke(self, key_id: str) -> str:
        """Makes a key useless from the next request on. Returns when it became so."""
        id = f"revoke_{self._ids.draw()}"
        return self._connection.value(_Revoked, "DELETE", f"/v1/keys/{one(key_id, 'key_id')}", id=id).revoked_at


class Members:
    """The members of a tenant: people, agents, services."""

    def __init__(self, connection: Connection, ids: Ids) -> None:
        self._connection = connection
        self._ids = ids

    def all(self) -> list[Member]:
        """Everybody the tenant knows."""
        return self._connection.value(_Members, "GET", "/v1/members").members

    def get(self, member_id: str) -> Member:
        """One member.

        Raises:
            NotFound: the tenant knows nobody of that name.
        """
        return self._connection.value(Member, "GET", f"/v1/members/{one(member_id, 'member_id')}")

    def set(
        self,
        member_id: str,
        type: PrincipalType,
        *,
        roles: Sequence[str] = (),
        person: str | None = None,
        name: str | None = None,
        active: bool = True,
        id: str | None = None,
    ) -> Member:
        """Says who somebody is and what they may do: all of it, what is left out too.

        Args:
            person: the person behind the identity; two identities of one person are one reviewer.
            active: an inactive member's keys are of no use.
            id: an idempotency key of this request.
        """
        id = id or f"member_{self._ids.draw()}"
        body = {"type": type, "roles": list(roles), "person": person, "name": name, "active": active}
        said = {key: value for key, value in body.items() if value is not None}
        return self._connection.value(Member, "PUT", f"/v1/members/{one(member_id, 'member_id')}", body=said, id=id)
