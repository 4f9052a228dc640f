"""Who is at the other end of a request, and under which name they reach this server."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from starlette.requests import Request

from kiff.server.settings import ServerSettings

_FORWARDED = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"})
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_NETWORK = 64
"""Bits of an IPv6 address that tell clients apart: a client has all addresses below them."""


def address(request: Request) -> str:
    """The client's address as the socket tells it; a proxy's, when one stands before this server."""
    return "unknown" if request.client is None else request.client.host


def network(request: Request) -> str:
    """The name under which the requests of one client are counted."""
    try:
        found = ip_address(address(request))
    except ValueError:
        return address(request)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return f"{int(found) >> 128 - _NETWORK:x}"
    return str(found)


def is_local(request: Request) -> bool:
    """Whether the client is a program on this very machine.

    A proxy makes everybody look local. So nothing may say that one was passed, and the server must have been reached
    by a name that only this machine has, which also keeps a page out whose own name was pointed here.
    """
    named = request.headers.keys()
    if any(name in _FORWARDED or name.startswith("x-forwarded") for name in named):
        return False
    host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    return _is_loopback(address(request)) and (host == "localhost" or _is_loopback(host.strip("[]")))


def url(request: Request, settings: ServerSettings) -> str:
    """How the client reaches this server, without a slash at the end."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host if _HOST.fullmatch(host) else f'{settings.host}:{settings.port}'}"


def _is_loopback(text: str) -> bool:
    try:
        found = ip_address(text)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback
