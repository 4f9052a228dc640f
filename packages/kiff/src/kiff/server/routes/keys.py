"""Who may do what in a tenant: keys, members, and who one is. Secrets are shown once, when they are minted."""

from __future__ import annotations

import asyncio

from msgspec import UNSET, Struct, UnsetType

from kiff.errors import InvalidInput, NotFound
from kiff.protocol.actor import PrincipalType
from kiff.protocol.authority import Credential, Member
from kiff.protocol.ids import require_id
from kiff.protocol.instant import parse_rfc3339, rfc3339
from kiff.runtime.rows import NoteRow
from kiff.server.route import Answer, Call, Route
from kiff.server.secrets import SANDBOX, draw

MOST = 1_000
TEXT = 200


class NewKey(Struct, forbid_unknown_fields=True):
    """A key to mint.

    `principal` binds it to one member (an agent, a service, a person); without it the key acts for any actor of the
    tenant with its own `roles`. `domain` limits it to one domain.
    """

    label: str = ""
    principal: str | None = None
    roles: list[str] = []
    domain: str | None = None
    expires_at: str | None = None


class Key(Struct, omit_defaults=True):
    """A key, without its secret."""

    id: str
    kind: str
    label: str
    roles: list[str]
    created_at: str
    created_by: str
    principal: str | UnsetType = UNSET
    domain: str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    revoked_at: str | UnsetType = UNSET
    last_used_at: str | UnsetType = UNSET


class Minted(Struct):
    """A new key. `secret` is shown here and never again; null when this request was carried out before."""

    key: Key
    secret: str | None


class Keys(Struct):
    """The tenant's keys and sessions."""

    keys: list[Key]


class Revoked(Struct):
    """The key is of no use from now on."""

    id: str
    revoked_at: str


class MemberBody(Struct, forbid_unknown_fields=True):
    """Who somebody is. `person`: the person behind the identity; two identities of one person are one reviewer."""

    type: PrincipalType
    roles: list[str] = []
    person: str | None = None
    name: str | None = None
    active: bool = True


class Identity(Struct, omit_defaults=True):
    """A member of the tenant."""

    id: str
    type: str
    roles: list[str]
    active: bool
    person: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class Members(Struct):
    """The tenant's members."""

    members: list[Identity]


class Me(Struct, omit_defaults=True):
    """Who the key makes the caller."""

    tenant: str
    sandbox: bool
    principal: Identity
    key: Key
    domains: list[str]


async def mint(call: Call) -> Answer:
    body: NewKey = call.body
    secret, presented = draw("key", call.tenant)
    expires_at = None if body.expires_at is None else parse_rfc3339(body.expires_at, field="expires_at")
    if expires_at is not None and expires_at <= call.tower.clock.now():
        raise InvalidInput("`expires_at` is in the past", field="expires_at")
    if len(body.label) > TEXT:
        raise InvalidInput(f"`label` must have at most {TEXT} characters", field="label")
    for name, value in (("principal", body.principal), ("domain", body.domain)):
        if value is not None:
            require_id(value, name)
    minter = call.caller()
    row = Credential(
        call.tenant,
        presented.id,
        "key",
        presented.digest,
        body.label,
        body.principal,
        roles_text(body.roles),
        body.domain,
        minter.principal.person or minter.principal.id,
        0,
        expires_at,
    )
    key = call.id_of_write(None)
    told = await call.write(lambda caller: call.tower.runtime.establish(caller, row, key=key))
    stored = call.tower.store.row(Credential, call.tenant, told.id)
    assert stored is not None, "it was just established"
    return Answer(Minted(_key(stored, None), None if told.repeated else secret), 200 if told.repeated else 201)


async def list_(call: Call) -> Answer:
    def read() -> list[Key]:
        rows = call.tower.store.rows(Credential, call.tenant, limit=MOST)
        return [_key(row, call.tower.store.row(NoteRow, call.tenant, f"used:{row.id}")) for row in rows]

    return Answer(Keys(await asyncio.to_thread(read)))


async def revoke(call: Call) -> Answer:
    key_id = require_id(call.path["id"], "id")
    told = await call.write(lambda caller: call.tower.runtime.revoke(caller, key_id))
    return Answer(Revoked(told.id, told.at))


async def enroll(call: Call) -> Answer:
    body: MemberBody = call.body
    id = require_id(call.path["id"], "id")
    if body.person is not None:
        require_id(body.person, "person")
    if body.name is not None and len(body.name) > TEXT:
        raise InvalidInput(f"`name` must have at most {TEXT} characters", field="name")
    row = Member(call.tenant, id, body.type, body.person, body.name, roles_text(body.roles), body.active)
    key = call.id_of_write(None)
    await call.write(lambda caller: call.tower.runtime.establish(caller, row, key=key))
    return Answer(identity(row))


async def members(call: Call) -> Answer:
    rows = await asyncio.to_thread(call.tower.store.rows, Member, call.tenant, limit=MOST)
    return Answer(Members([identity(row) for row in rows]))


async def member(call: Call) -> Answer:
    id = require_id(call.path["id"], "id")
    row = call.tower.store.row(Member, call.tenant, id)
    if row is None:
        raise NotFound(f"there is no member `{id}`", member_id=id)
    return Answer(identity(row))


async def me(call: Call) -> Answer:
    caller = call.caller()
    who = caller.principal
    principal = Identity(who.id, who.type, list(caller.roles), True, who.person or UNSET, who.name or UNSET)
    domains = [domain.name for domain in call.tower.runtime.read.domains(call.tenant).values()]
    tenant = call.tenant.removesuffix(SANDBOX)
    return Answer(Me(tenant, tenant != call.tenant, principal, _key(call.credential, None), sorted(domains)))


def roles_text(roles: list[str]) -> str:
    """Role names as a row keeps them."""
    for role in roles:
        require_id(role, "roles")
    return ",".join(dict.fromkeys(roles))


def identity(row: Member) -> Identity:
    return Identity(row.id, row.type, _split(row.roles), row.active, row.person or UNSET, row.name or UNSET)


def _key(row: Credential, used: NoteRow | None) -> Key:
    return Key(
        id=row.id,
        kind=row.kind,
        label=row.label,
        roles=_split(row.roles),
        created_at=rfc3339(row.created_at),
        created_by=row.created_by,
        principal=row.principal or UNSET,
        domain=row.domain or UNSET,
        expires_at=UNSET if row.expires_at is None else rfc3339(row.expires_at),
        revoked_at=UNSET if row.revoked_at is None else rfc3339(row.revoked_at),
        last_used_at=UNSET if used is None else rfc3339(used.last_at),
    )


def _split(roles: str) -> list[str]:
    return roles.split(",") if roles else []


ROUTES = (
    Route("GET", "/v1/me", me, "Who the key makes the caller.", "Keys", answers={200: Me}),
    Route(
        "GET",
        "/v1/keys",
        list_,
        "The tenant's keys, without their secrets.",
        "Keys",
        answers={200: Keys},
        access="owner",
    ),
    Route(
        "POST",
        "/v1/keys",
        mint,
        "Mint a key; its secret is shown once.",
        "Keys",
        body=NewKey,
        answers={200: Minted, 201: Minted},
        access="owner",
        writes=True,
    ),
    Route("DELETE", "/v1/keys/{id}", revoke, "Make a key useless.", "Keys", answers={200: Revoked}, writes=True),
    Route("GET", "/v1/members", members, "Who the tenant knows.", "Keys", answers={200: Members}, access="owner"),
    Route("GET", "/v1/members/{id}", member, "One member.", "Keys", answers={200: Identity}, access="owner"),
    Route(
        "PUT",
        "/v1/members/{id}",
        enroll,
        "Say who somebody is and what they may do.",
        "Keys",
        body=MemberBody,
        answers={200: Identity},
        access="owner",
        writes=True,
    ),
)
