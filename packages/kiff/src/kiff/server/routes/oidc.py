"""Logging in at another provider (OpenID Connect). Nobody is enrolled by that: the member must be there, and active."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from kiff.errors import Conflict, Forbidden, NotFound, Unauthorized
from kiff.protocol.authority import Member
from kiff.runtime.ports import Store
from kiff.server.cookies import SESSION, set_cookie
from kiff.server.logins import SESSION_SECONDS
from kiff.server.oidc import LOGIN_SECONDS, Provider
from kiff.server.peer import network, url
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.auth import issue

PATH = "/v1/auth/oidc"
LOGIN = "kiff_login"
"""The cookie of a login in progress."""
SHOWN = 200
PAGE = 1_000
_EMAIL = re.compile(r"([A-Za-z0-9._-]+)@([A-Za-z0-9.-]+)")


class Callback(Struct):
    """What a provider sends a browser back with; it may say more."""

    state: str = ""
    code: str = ""
    error: str = ""
    iss: str | None = None


async def login(call: Call) -> Answer:
    call.tower.client_rates.take(network(call.request))
    provider, here = _provider(call), url(call.request, call.tower.settings)
    there, sealed = await provider.begin(f"{here}{PATH}/callback")
    secure = here.startswith("https:")
    cookie = set_cookie(LOGIN, sealed, path=PATH, seconds=LOGIN_SECONDS, secure=secure, strict=False)
    return Answer(status=302, headers={"location": there, "set-cookie": cookie})


async def callback(call: Call) -> Answer:
    call.tower.client_rates.take(network(call.request))
    provider, told = _provider(call), call.query
    attempt = provider.attempt(call.request.cookies.get(LOGIN), told.state)
    if told.error or not told.code or told.iss not in (None, provider.settings.issuer):
        raise Unauthorized("the login provider did not log you in; begin the login again")
    claims = await provider.claims(attempt, told.code)
    tenant, claim = provider.settings.tenant, provider.settings.claim
    member = await asyncio.to_thread(_member, call.tower.store, tenant, claim, claims)
    secret, row, caller = call.tower.logins.session(tenant, member.id, "login provider", attempt.state.encode())
    try:
        await issue(call, secret, row, caller)
    except Conflict as error:
        raise Unauthorized("this login was finished before; begin it again") from error
    secure = attempt.redirect_uri.startswith("https:")
    cookie = set_cookie(SESSION, secret, path="/", seconds=SESSION_SECONDS, secure=secure, strict=True)
    return Answer(status=302, headers={"location": "/", "set-cookie": cookie})


def _provider(call: Call) -> Provider:
    if call.tower.provider is None:
        raise NotFound("this server has no login provider; its operator sets one with oidc.toml")
    return call.tower.provider


def _member(store: Store, tenant: str, claim: str, claims: Mapping[str, Any]) -> Member:
    """The active person that the claim is about: by their id, or as the person behind exactly one identity.

    Raises:
        Forbidden: there is none, or it is not sure who it is.
    """
    said = claims.get(claim)
    value = said if isinstance(said, str) else ""
    if claim == "email" and claims.get("email_verified") is not True:
        message = f"the login provider has not verified `{value:.{SHOWN}}`, so it says nothing about who you are"
        raise _unknown(message, claim, value)
    id = _as_id(value) if claim == "email" else value
    own = store.row(Member, tenant, id)
    found = [own] if own is not None else [each for each in _members(store, tenant) if each.person == id]
    found = [each for each in found if each.type == "human" and each.active]
    if len(found) == 1:
        return found[0]
    wrong = "stands behind several people" if found else "is no active person"
    who = f"; an owner of it can say who `{id:.{SHOWN}}` is" if id else ""
    message = f"`{value:.{SHOWN}}` {wrong} of this tenant{who}"
    raise _unknown(message, claim, value)


def _unknown(message: str, claim: str, value: str) -> Forbidden:
    return Forbidden(message, reason="permission_denied", claim=claim, value=value[:SHOWN])


def _as_id(value: str) -> str:
    """An address as an id, which has no @: with a colon, which is in no address taken here, and in lower case."""
    address = _EMAIL.fullmatch(value)
    return "" if address is None else ":".join(address.groups()).lower()


def _members(store: Store, tenant: str) -> Iterator[Member]:
    after = ""
    while rows := store.rows(Member, tenant, after=after, limit=PAGE):
        yield from rows
        after = rows[-1].id


ROUTES = (
    Route(
        "GET",
        f"{PATH}/login",
        login,
        "Log in at the login provider, with a browser.",
        "Logging in",
        answers={302: None, 404: None, 429: None},
        access="public",
    ),
    Route(
        "GET",
        f"{PATH}/callback",
        callback,
        "Where the login provider sends the browser back to.",
        "Logging in",
        query=Callback,
        answers={302: None, 401: None, 403: None, 404: None, 429: None},
        access="public",
    ),
)
