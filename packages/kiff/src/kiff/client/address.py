"""Where a server is: a URL that a secret may be sent to."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from kiff.errors import InvalidInput

_HOST = re.compile(r"[a-z0-9._:-]+")
_TEXT = re.compile(r"[!-~]+")


def server_url(text: str, *, unsafe_http: bool = False) -> str:
    """The URL in its one spelling: no slash at the end, the host in lower case.

    Args:
        unsafe_http: accept plain HTTP to other machines, where everybody on the way reads the key.

    Raises:
        InvalidInput: it is no URL of a server, or it is plain HTTP to another machine.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _no_url(text) from error
    more = parts.username is not None or parts.password is not None or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or more or not _HOST.fullmatch(host or "") or not _TEXT.fullmatch(text):
        raise _no_url(text)
    assert host is not None, "it matched"
    if parts.scheme == "http" and not unsafe_http and not is_loopback(host):
        message = f"`{host}` is another machine, and plain HTTP would show it the key to everybody on the way"
        raise InvalidInput(message, field="url", hint="use https://, or a tunnel that ends on this machine")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether it is this machine by its name or number."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _no_url(text: str) -> InvalidInput:
    # A URL with a password in it must not be repeated.
    shown = text.rpartition("@")[2][:60]
    message = f"`{shown}` is no URL of a server; expected https://host or http://127.0.0.1:8480"
    return InvalidInput(message, field="url")
