"""Who acts: principals, and the authority a call is made with."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

from msgspec import Struct

from kiff.errors import InvalidInput
from kiff.protocol.ids import require_id

PrincipalType = Literal["human", "agent", "service"]
_TYPES = get_args(PrincipalType)


class Principal(Struct, frozen=True, gc=False):
    """One identity: a person, an agent or a service.

    Args:
        id: stable identifier; the only thing authority is ever compared by.
        type: human, agent or service.
        person: the person behind the identity (a human is their own person unless said otherwise;
            an agent's is its owner). Two identities of one person are one reviewer.
        name: what a screen shows; never compared.
    """

    id: str
    type: PrincipalType
    person: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        require_id(self.id, "actor.id")
        if self.type not in _TYPES:
            raise InvalidInput("`actor.type` must be human, agent or service", field="actor.type")
        if self.person is not None:
            require_id(self.person, "actor.person")

    @property
    def someone(self) -> str:
        """The person a decision by this identity counts for, without regard to case."""
        return (self.person or self.id).casefold()


def proposing(id: str, person: str | None, type: PrincipalType) -> set[str]:
    """The names that a proposer goes by, in lower case. Whoever owns an agent is not the agent; they may answer it."""
    own = {id.casefold()}
    return own if type == "agent" or person is None else own | {person.casefold()}


@lru_cache(maxsize=1024)
def principal(id: str, type: PrincipalType) -> Principal:
    """The principal of a stored row: the same few act again and again, so they are checked once."""
    return Principal(id, type)


class Caller(Struct, frozen=True, gc=False):
    """Whose authority a call has: tenant, principal and roles.

    Over HTTP these come from the key row, never from the body. In embedded use the process that
    imports KIFF owns the database and the signing key, so it vouches for the callers it names:
    authority is the process owner's.

    Args:
        credential: the key row it was read from, to be read again by the batch that serves the call; None in
            embedded use.
        adapter: the adapter of the domain whose signature vouches for what it brings; it brings events only.
    """

    principal: Principal
    roles: tuple[str, ...] = ()
    tenant: str = "default"
    credential: str | None = None
    adapter: str | None = None

    def __post_init__(self) -> None:
        require_id(self.tenant, "tenant")
        if not isinstance(self.principal, Principal):
            raise InvalidInput("`principal` must be a Principal: who acts, and as what", field="principal")
        if not isinstance(self.roles, tuple):
            raise InvalidInput("`roles` must be a tuple of role names", field="roles")
        for role in self.roles:
            require_id(role, "roles")
