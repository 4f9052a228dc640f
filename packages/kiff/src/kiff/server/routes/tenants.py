"""Making tenants and their sandboxes, and what a tenant asks of itself."""

from __future__ import annotations

import asyncio

from msgspec import Struct, json, structs

from kiff.canonical import digest
from kiff.errors import Conflict, Forbidden, InvalidInput
from kiff.protocol.actor import Caller
from kiff.protocol.authority import AUTHOR, OPERATOR, Credential, Member, Tenant
from kiff.protocol.ids import require_id
from kiff.runtime.rows import NoteRow
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.keys import TEXT
from kiff.server.secrets import SANDBOX, is_tenant
from kiff.server.tower import Tower


class Owner(Struct, forbid_unknown_fields=True):
    """The first person of a tenant. `person`: the person behind the identity, when it has another name."""

    id: str
    name: str | None = None
    person: str | None = None


class NewTenant(Struct, forbid_unknown_fields=True):
    """A tenant to make, and who owns it."""

    tenant: str
    owner: Owner


class MadeTenant(Struct):
    """A new tenant. `login_token` is for its owner: good once, for a quarter of an hour, on the server's machine."""

    tenant: str
    owner: str
    login_token: str


class Rules(Struct, forbid_unknown_fields=True):
    """What a tenant asks of itself.

    With separation of duties, neither an agent's owner nor whoever minted its key answers its approvals.
    """

    separation_of_duties: bool


class TenantAnswer(Struct):
    """A tenant."""

    tenant: str
    sandbox: bool
    separation_of_duties: bool


class Sandbox(Struct):
    """The sandbox of a tenant: a log, members and domains of its own. `secret` is a key there, shown once."""

    tenant: str
    sandbox: bool
    member: str
    secret: str


async def make(call: Call) -> Answer:
    _needs(call.afresh(), OPERATOR)
    if call.credential.domain is not None:
        raise Forbidden("a key for one domain makes no tenants", reason="permission_denied")
    body: NewTenant = call.body
    owner = _owner(body)
    made = await asyncio.to_thread(_made, call.tower, owner)
    await _remember(call, body, made=made)
    token = await asyncio.to_thread(call.tower.logins.token, owner.tenant, owner.id)
    return Answer(MadeTenant(owner.tenant, owner.id, token), 201)


def _owner(body: NewTenant) -> Member:
    """The first member. A sandbox is made by its tenant's owner, and by nobody else."""
    if not is_tenant(body.tenant) or body.tenant.endswith(SANDBOX):
        message = "`tenant` must be 1 to 63 characters out of a-z 0-9 -, and must not begin with -"
        raise InvalidInput(message, field="tenant")
    owner = body.owner
    for name, value in (("owner.id", owner.id), ("owner.person", owner.person)):
        if value is not None:
            require_id(value, name)
    if owner.name is not None and len(owner.name) > TEXT:
        raise InvalidInput(f"`owner.name` must have at most {TEXT} characters", field="owner.name")
    return Member(body.tenant, owner.id, "human", owner.person, owner.name, AUTHOR, True)


def _made(tower: Tower, owner: Member) -> bool:
    """Makes the tenant, unless it is there: then nobody gets into it."""
    if tower.store.row(Tenant, owner.tenant, "tenant") is not None or not tower.found(owner.tenant, []):
        return False
    tower.found(owner.tenant, [owner])
    return True


async def _remember(call: Call, body: NewTenant, *, made: bool) -> None:
    """Keeps what was asked under an Idempotency-Key, so that whoever lost the answer gets another token.

    Raises:
        Conflict: the tenant was there, and not by this very request; or somebody has logged in since.
    """
    key, id = call.id_of_write(None), f"founded:{body.tenant}"
    asked = digest(json.encode([key, body])).encode()
    if made:
        if key is not None:
            await call.write(lambda caller: call.tower.runtime.note(caller, id, asked))
        return
    note = call.tower.store.row(NoteRow, call.tenant, id)
    if note is None or note.body != asked or call.tower.store.count(Credential, body.tenant):
        raise Conflict(f"there is a tenant `{body.tenant}` already; choose another name", tenant=body.tenant)


async def change(call: Call) -> Answer:
    body: Rules = call.body
    row = Tenant(call.tenant, "tenant", body.separation_of_duties, 0)
    key = call.id_of_write(None)
    await call.write(lambda caller: call.tower.runtime.establish(caller, row, key=key))
    tenant = call.tenant.removesuffix(SANDBOX)
    return Answer(TenantAnswer(tenant, tenant != call.tenant, body.separation_of_duties))


async def sandbox(call: Call) -> Answer:
    caller = call.afresh()
    _needs(caller, AUTHOR)
    if call.tenant.endswith(SANDBOX):
        raise InvalidInput("this is the sandbox already", field="tenant")
    own = call.tower.store.row(Member, call.tenant, caller.principal.id)
    if own is None or call.credential.principal is None:
        message = "a sandbox is made by a member of the tenant: with a session, or a key that is bound to them"
        raise Forbidden(message, reason="permission_denied")
    roles = ",".join(role for role in caller.roles if role != OPERATOR)
    member = structs.replace(own, tenant=f"{call.tenant}{SANDBOX}", roles=roles)
    secret = await asyncio.to_thread(_opened, call.tower, member)
    if secret is None:
        raise Conflict("this tenant has a sandbox already; its owner mints keys there")
    return Answer(Sandbox(call.tenant, True, member.id, secret), 201)


def _opened(tower: Tower, member: Member) -> str | None:
    """A key for the first member of a sandbox; None when somebody has one."""
    tower.found(member.tenant, [])
    if tower.store.count(Credential, member.tenant):
        return None
    tower.found(member.tenant, [member])
    return tower.mint(member.tenant, member.id, "sandbox")


def _needs(caller: Caller, role: str) -> None:
    if role not in caller.roles:
        raise Forbidden(f"that needs the role `{role}`", reason="permission_denied", missing_roles=[role])


ROUTES = (
    Route(
        "POST",
        "/v1/tenants",
        make,
        "Make a tenant. Takes the role operator.",
        "Tenants",
        body=NewTenant,
        answers={201: MadeTenant},
        writes=True,
    ),
    Route(
        "PUT",
        "/v1/me/tenant",
        change,
        "Say what the tenant asks of itself.",
        "Tenants",
        body=Rules,
        answers={200: TenantAnswer},
        access="owner",
        writes=True,
    ),
    Route(
        "POST",
        "/v1/me/sandbox",
        sandbox,
        "Make the tenant's sandbox.",
        "Tenants",
        answers={201: Sandbox},
        access="owner",
        writes=True,
    ),
)
