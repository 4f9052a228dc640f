"""Logging in and out: by a one-time token on the machine itself, or by a code that a signed-in person approves."""

from __future__ import annotations

import re
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from kiff.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthorized
from kiff.protocol.actor import Caller
from kiff.protocol.authority import Credential, Member, authority, holder
from kiff.protocol.ids import require_id
from kiff.protocol.instant import rfc3339
from kiff.server.cookies import SESSION, set_cookie
from kiff.server.devices import INTERVAL_SECONDS, SECONDS, Approver, Flow, denied, gone
from kiff.server.peer import address, is_local, network, url
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.keys import Revoked

CLIENT_CHARACTERS = 80
DEVICE = "/v1/auth/device"
_CODE = re.compile(r"[A-Za-z]{4}-?[A-Za-z]{4}")


class Token(Struct, forbid_unknown_fields=True):
    """A one-time token, as the server printed it."""

    token: str


class Session(Struct):
    """A session, for a member of a tenant. `session` is its secret, shown here and never again."""

    session: str
    tenant: str
    member: str
    expires_at: str


class Start(Struct, forbid_unknown_fields=True):
    """A program that wants to log somebody in.

    `client` is what the person is shown; with `tenant`, only people of that tenant may approve it.
    """

    client: str = ""
    tenant: str | None = None


class Started(Struct):
    """Show `user_code` and `verification_uri` to the person, and keep asking with `device_code`."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DeviceCode(Struct, forbid_unknown_fields=True):
    """The program's code."""

    device_code: str


class Asked(Struct, omit_defaults=True):
    """A login that waits for a person, or what came of it. Approve it only when you began it yourself, just now."""

    status: str
    client: str
    address: str
    asked_at: str
    expires_at: str
    tenant: str | UnsetType = UNSET


class Page(Struct, forbid_unknown_fields=True):
    """The code may come in the address."""

    user_code: str = ""


async def by_token(call: Call) -> Answer:
    """A wrong token, a used one and one that comes from elsewhere are answered alike."""
    call.tower.client_rates.take(network(call.request))
    logins = call.tower.logins
    body: Token = call.body
    if not is_local(call.request):
        raise logins.used()
    secret, row, caller = logins.open(body.token)
    try:
        return await issue(call, secret, row, caller)
    except (Conflict, NotFound, Unauthorized) as error:
        raise logins.used() from error


async def issue(call: Call, secret: str, row: Credential, caller: Caller) -> Answer:
    """Issues a session, and tells its secret.

    Raises:
        Unauthorized: it is for nobody who may do anything. Conflict: what leads to it was used before.
    """
    assert row.principal is not None and row.expires_at is not None, "a session is somebody's, and ends"
    authority(row, call.tower.store.row(Member, row.tenant, row.principal), row.principal)
    await call.answer(call.tower.runtime.establish(caller, row))
    return Answer(Session(secret, row.tenant, row.principal, rfc3339(row.expires_at)))


async def logout(call: Call) -> Answer:
    if call.credential.kind != "session":
        raise InvalidInput("this is a key and no session; DELETE /v1/keys/{id} makes a key useless", field="session")
    told = await call.write(lambda caller: call.tower.runtime.revoke(caller, call.credential.id))
    secure = url(call.request, call.tower.settings).startswith("https:")
    cookie = set_cookie(SESSION, "", path="/", seconds=0, secure=secure, strict=True)
    return Answer(Revoked(told.id, told.at), headers={"set-cookie": cookie})


async def start(call: Call) -> Answer:
    call.tower.client_rates.take(network(call.request))
    body: Start = call.body
    if len(body.client) > CLIENT_CHARACTERS or not body.client.isprintable():
        message = f"`client` must have at most {CLIENT_CHARACTERS} characters, all of them printable"
        raise InvalidInput(message, field="client")
    if body.tenant is not None:
        require_id(body.tenant, "tenant")
    device_code, user_code = await call.tower.devices.start(body.client, body.tenant, address(call.request))
    where = url(call.request, call.tower.settings) + DEVICE
    complete = f"{where}?user_code={user_code}"
    return Answer(Started(device_code, user_code, where, complete, SECONDS, INTERVAL_SECONDS))


async def page(call: Call) -> Answer:
    """What a person reads who opens the address that the program shows."""
    said: Page = call.query
    code = said.user_code.upper() if _CODE.fullmatch(said.user_code) else "CODE"
    server = url(call.request, call.tower.settings)
    lines = (
        "A program wants to act on KIFF in your name.",
        "If you began this yourself, just now, approve it where you are logged in:",
        "",
        f"    kiff login --url {server} --approve {code}",
        "",
        "If you did not, do nothing: the code is of no use after ten minutes.",
    )
    return Answer("\n".join([*lines, ""]).encode(), media="text/plain; charset=utf-8")


async def show(call: Call) -> Answer:
    _person(call)
    return Answer(_asked(call.tower.devices.waiting(_user_code(call), call.tenant)))


async def approve(call: Call) -> Answer:
    return await _answer(call, "approved")


async def deny(call: Call) -> Answer:
    return await _answer(call, "denied")


async def _answer(call: Call, verdict: Literal["approved", "denied"]) -> Answer:
    _person(call)
    return Answer(_asked(await call.tower.devices.answer(_user_code(call), call.credential, verdict)))


async def by_device(call: Call) -> Answer:
    call.tower.client_rates.take(network(call.request))
    body: DeviceCode = call.body
    flow, approver = await call.tower.devices.poll(body.device_code)
    answer = await _session(call, body.device_code, flow, approver)
    await call.tower.devices.end(body.device_code)
    return answer


async def _session(call: Call, device_code: str, flow: Flow, approver: Approver) -> Answer:
    """The session that a person approved. The credential they did it with must still be good."""
    tower = call.tower
    credential = tower.store.row(Credential, approver.tenant, approver.credential)
    try:
        member = holder(credential, None, tower.clock.now())
        secret, row, caller = tower.logins.session(
            approver.tenant, member, f"device login: {flow.client}", device_code.encode(), on=credential
        )
        return await issue(call, secret, row, caller)
    except (Unauthorized, NotFound) as error:
        raise denied() from error
    except Conflict as error:
        raise gone() from error


def _person(call: Call) -> None:
    """Whoever answers is a person, in their own name; and nobody tries codes out.

    Raises:
        Forbidden: an agent, a service, or a key that is bound to nobody.
    """
    call.tower.code_rates.take(f"{call.tenant}/{call.credential.id}")
    if call.afresh().principal.type != "human":
        message = "a login is approved by a person: with a session, or a key that is bound to them"
        raise Forbidden(message, reason="permission_denied")


def _user_code(call: Call) -> str:
    code = call.path["user_code"]
    return code if _CODE.fullmatch(code) else ""


def _asked(flow: Flow) -> Asked:
    return Asked(
        status=flow.status,
        client=flow.client,
        address=flow.address,
        asked_at=rfc3339(flow.asked_at),
        expires_at=rfc3339(flow.expires_at),
        tenant=flow.tenant or UNSET,
    )


ROUTES = (
    Route(
        "POST",
        "/v1/auth/session",
        by_token,
        "Log in with a one-time token, on the server's own machine.",
        "Logging in",
        body=Token,
        answers={200: Session},
        access="public",
        writes=True,
    ),
    Route("POST", "/v1/auth/logout", logout, "End this session.", "Logging in", answers={200: Revoked}, writes=True),
    Route(
        "POST",
        f"{DEVICE}/start",
        start,
        "Begin a login for a program without a browser (RFC 8628).",
        "Logging in",
        body=Start,
        answers={200: Started},
        access="public",
        writes=True,
    ),
    Route(
        "POST",
        f"{DEVICE}/token",
        by_device,
        "Ask what became of such a login; `error` is one of the codes of RFC 8628 until it is approved.",
        "Logging in",
        body=DeviceCode,
        answers={200: Session},
        access="public",
        writes=True,
    ),
    Route(
        "GET",
        DEVICE,
        page,
        "How to approve such a login, for people.",
        "Logging in",
        query=Page,
        answers={200: "text/plain"},
        access="public",
    ),
    Route(
        "GET", f"{DEVICE}/{{user_code}}", show, "Which login waits under a code.", "Logging in", answers={200: Asked}
    ),
    Route(
        "POST",
        f"{DEVICE}/{{user_code}}/approve",
        approve,
        "Let the program act in your name.",
        "Logging in",
        answers={200: Asked},
        writes=True,
    ),
    Route(
        "POST",
        f"{DEVICE}/{{user_code}}/deny",
        deny,
        "Say no to the program.",
        "Logging in",
        answers={200: Asked},
        writes=True,
    ),
)
