"""What an operator says about remote executors: `executors.toml` and `mcp.toml` in the data folder.

executors.toml, for `executor: https://…`; the tenant or the host may be `*`, and the closest entry counts:

    ["acme/refunds.acme.example"]
    secrets = ["whsec_…"]    # newest first; a request carries a signature of each
    idempotent = true        # the same operation id has one effect, however often it comes
    at_once = 8              # calls of one tenant

mcp.toml, for `executor: mcp://payments/refund`:

    [servers.payments]
    tenants = ["acme"]       # or ["*"]
    command = "payments-mcp" # or url = "https://…" with headers = {…}
    args = ["--stdio"]
    env = {PAYMENTS_KEY = "…"}
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

from msgspec import Struct, ValidationError, convert

from kiff.errors import InvalidInput

HTTPS_FILE, MCP_FILE = "executors.toml", "mcp.toml"
AT_ONCE = 8
"""Calls of one tenant at one target, unless the operator says otherwise: a quarter of a tenant's executor slots."""
ANY = "*"
_SECRET = "whsec_"
_SECRET_BYTES = range(24, 65)
_PLACE = re.compile(r"(?P<tenant>\*|[a-z0-9][a-z0-9-]{0,62})/(?P<host>\*|[a-z0-9.-]+(:[0-9]{1,5})?)")
_SERVER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

S = TypeVar("S", bound=Struct)


class HttpsExecutor(Struct, frozen=True, forbid_unknown_fields=True):
    """How a tenant's calls to a host are made. See above."""

    secrets: tuple[str, ...]
    idempotent: bool = False
    at_once: int = AT_ONCE


class McpServer(Struct, frozen=True, forbid_unknown_fields=True):
    """A server of tools: a command that is started, or a URL.

    Args:
        errors: what a tool's `isError` means. Most servers make one of any exception, also of one after the effect,
            so it is `unknown` unless the operator knows that this server says so only of what did not happen.
    """

    tenants: tuple[str, ...]
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    url: str = ""
    headers: dict[str, str] = {}
    errors: Literal["unknown", "failed"] = "unknown"
    at_once: int = AT_ONCE


class RemoteSettings(Struct, frozen=True):
    """Both files.

    Args:
        https: `tenant/host` -> how.
        mcp: a server's name -> how.
    """

    https: dict[str, HttpsExecutor] = {}
    mcp: dict[str, McpServer] = {}

    def executor(self, tenant: str, host: str, port: int) -> HttpsExecutor | None:
        """What is said about a tenant's calls to a host; the closest entry counts."""
        for who in (tenant, ANY):
            for where in (f"{host}:{port}", host, ANY):
                found = self.https.get(f"{who}/{where}")
                if found is not None and (port == 443 or where == f"{host}:{port}" or where == ANY):
                    return found
        return None

    def server(self, tenant: str, name: str) -> McpServer | None:
        """A server that this tenant may use."""
        found = self.mcp.get(name)
        return found if found is not None and (tenant in found.tenants or ANY in found.tenants) else None


def remote_settings(https: Mapping[str, Any] | None, mcp: Mapping[str, Any] | None) -> RemoteSettings:
    """What the tables of the two files say; None where there is no such file.

    Raises:
        InvalidInput: names the file and the entry.
    """
    executors = {name: _executor(name, table) for name, table in (https or {}).items()}
    strange = sorted((mcp or {}).keys() - {"servers"})
    servers = (mcp or {}).get("servers", {})
    if strange or not isinstance(servers, Mapping):
        raise InvalidInput(f"`{MCP_FILE}`: expected tables like [servers.payments], found `{strange}`", field=MCP_FILE)
    if servers and find_spec("mcp") is None:
        raise InvalidInput(f"`{MCP_FILE}`: MCP servers take `pip install 'kiff[mcp]'`", field=MCP_FILE)
    return RemoteSettings(executors, {name: _server(name, table) for name, table in servers.items()})


def _executor(name: str, table: object) -> HttpsExecutor:
    found = _converted(HTTPS_FILE, name, table, HttpsExecutor)
    place = _PLACE.fullmatch(name)
    if place is None:
        raise _wrong(HTTPS_FILE, name, 'expected ["<tenant>/<host>"] or ["<tenant>/<host>:<port>"], in lower case')
    if place["tenant"] == place["host"] == ANY:
        # Every tenant's host would hold the secret that requests to every other one are signed with.
        raise _wrong(
            HTTPS_FILE, name, "one secret for every tenant and every host lets each forge the others' requests"
        )
    if not found.secrets or not all(map(_is_secret, found.secrets)):
        wanted = f"expected `{_SECRET}` and base64 of {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]} random bytes"
        raise _wrong(HTTPS_FILE, name, f"`secrets`: {wanted}, as in `openssl rand -base64 32`")
    return found


def _server(name: str, table: object) -> McpServer:
    found = _converted(MCP_FILE, name, table, McpServer)
    if not _SERVER.fullmatch(name):
        raise _wrong(MCP_FILE, name, "expected up to 63 lower-case letters, digits, hyphens or underscores")
    if bool(found.command) == bool(found.url):
        raise _wrong(MCP_FILE, name, "expected either `command` or `url`")
    if found.url and not found.url.startswith(("https://", "http://")):
        raise _wrong(MCP_FILE, name, "`url` must begin with https:// or http://")
    if not found.tenants:
        raise _wrong(MCP_FILE, name, 'expected `tenants`, a list of those who may use it, or ["*"]')
    return found


def _converted(file: str, name: str, table: object, kind: type[S]) -> S:
    try:
        found = convert(table, kind)
    except ValidationError as error:
        raise _wrong(file, name, f"{str(error)[:1].lower()}{str(error)[1:]}") from None  # it shows no secret
    if getattr(found, "at_once", 1) < 1:
        raise _wrong(file, name, "`at_once` must be at least 1")
    return found


def _is_secret(text: str) -> bool:
    try:
        return text.startswith(_SECRET) and len(b64decode(text.removeprefix(_SECRET), validate=True)) in _SECRET_BYTES
    except (Base64Error, ValueError):
        return False


def _wrong(file: str, name: str, message: str) -> InvalidInput:
    return InvalidInput(f"`{file}`, `{name:.80}`: {message}", field=file)
