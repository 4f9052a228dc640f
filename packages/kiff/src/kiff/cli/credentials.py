"""Who one is on which server: `credentials.toml` in the user's configuration folder, open to nobody else.

One entry for each tenant of each server. KIFF_KEY stands above it.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from msgspec import Struct, ValidationError, convert

from kiff.cli.settings import configuration, secret
from kiff.errors import InvalidInput, Unauthorized
from kiff.protocol.ids import require_id
from kiff.server.secrets import SANDBOX, read

FILE = "credentials.toml"


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """What one login left.

    Args:
        session: the secret.
        expires_at: RFC 3339.
    """

    url: str
    tenant: str
    member: str
    session: str
    expires_at: str

    def __repr__(self) -> str:
        return f"<Entry {self.member} of {self.tenant} at {self.url}>"


def key_for(url: str, tenant: str | None, *, sandbox: bool = False) -> str:
    """The secret for a server.

    Args:
        tenant: whose; None when that was not said.
        sandbox: the tenant's sandbox side, when there is an entry for it.

    Raises:
        Unauthorized: there is none; the hint says how to get one.
        InvalidInput: there are several and it was not said which, or KIFF_KEY is of another tenant.
    """
    key = secret()
    if key is not None:
        _is_of(key, tenant)
        return key
    here = [entry for entry in entries() if entry.url == url]
    tried_out = [entry for entry in here if _is_sandbox(entry) and tenant in (None, entry.tenant.removesuffix(SANDBOX))]
    found = tried_out if sandbox else []
    found = found or [entry for entry in here if (not _is_sandbox(entry) if tenant is None else entry.tenant == tenant)]
    if not found:
        whose = "" if tenant is None else f" of `{tenant}`"
        hint = f"kiff login --url {url}, or set KIFF_KEY"
        raise Unauthorized(f"no credential for {url}{whose}", hint=hint)
    if len(found) > 1:
        names = ", ".join(entry.tenant for entry in found)
        raise InvalidInput(f"there are credentials for {names} of {url}; say which with --tenant", field="--tenant")
    return found[0].session


def keep(entry: Entry) -> Path:
    """Writes an entry in the place of the one for the same tenant. Returns the file.

    Raises:
        InvalidInput: a server told something that is no entry.
    """
    require_id(entry.tenant, "tenant")
    require_id(entry.member, "member")
    if read(entry.session) is None:
        raise InvalidInput("what the server gave is no session", field="session")
    others = [each for each in entries() if (each.url, each.tenant) != (entry.url, entry.tenant)]
    return _write([*others, entry])


def forget(url: str, session: str) -> None:
    """Removes the entry with this secret."""
    _write([each for each in entries() if (each.url, each.session) != (url, session)])


def entries() -> list[Entry]:
    """Every entry.

    Raises:
        InvalidInput: the file is open to others, or is not one of credentials.
    """
    file = configuration() / FILE
    try:
        with file.open("rb") as opened:
            _is_private(file, os.fstat(opened.fileno()))
            said = tomllib.loads(opened.read().decode())
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}", field=str(file)) from error
    try:
        return convert(said.get("login", []), list[Entry])
    except ValidationError as error:
        hint = f"remove {file} and log in again"
        raise InvalidInput(f"`{file}` is no file of credentials: {error}", field=str(file), hint=hint) from error


def _write(kept: list[Entry]) -> Path:
    """The file appears whole, and never with a mode that lets others read it."""
    file = configuration() / FILE
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = file.with_name(f".{FILE}.{os.getpid()}")
    try:
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(number, "w", encoding="ascii") as opened:
            opened.write("".join(_table(entry) for entry in kept))
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    return file


def _table(entry: Entry) -> str:
    """One entry as TOML. For ASCII, a JSON string is a TOML string."""
    values: dict[str, Any] = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return "[[login]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()) + "\n"


def _is_private(file: Path, found: os.stat_result) -> None:
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"`{file}` holds secrets and is open to other users; run `chmod 600 {file}`"
        raise InvalidInput(message, field=str(file))
    if found.st_uid != os.geteuid():
        raise InvalidInput(f"`{file}` belongs to another user", field=str(file))


def _is_of(key: str, tenant: str | None) -> None:
    """A key leads to its own tenant, so another one must not be meant."""
    presented = read(key)
    if tenant is None or presented is None or tenant in (presented.tenant, presented.tenant.removesuffix(SANDBOX)):
        return
    raise InvalidInput(f"KIFF_KEY is a key of `{presented.tenant}`, and not of `{tenant}`", field="--tenant")


def _is_sandbox(entry: Entry) -> bool:
    return entry.tenant.endswith(SANDBOX)
