"""Who acts: `--as NAME`, a principal of the principals file.

On an embedded database the owner of the process vouches for the callers it names (see `kiff.Caller`); the file
keeps their types and roles in one place, so that a command line cannot make up a role.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec import Struct, ValidationError, convert

from kiff.cli.settings import setting_option
from kiff.errors import InvalidInput
from kiff.protocol.actor import Caller, Principal, PrincipalType
from kiff.protocol.ids import require_id

F = TypeVar("F", bound=Callable[..., Any])


class Entry(Struct, forbid_unknown_fields=True):
    """One table of the file.

    Args:
        person: whose decisions this identity's count for; the identity itself when left out.
    """

    type: PrincipalType
    roles: tuple[str, ...] = ()
    person: str | None = None
    name: str | None = None


def acting_options(command: F) -> F:
    """Adds `--as` and `--principals`."""
    file = setting_option("principals", "Who may act.")
    acting = click.option("--as", "acting", metavar="NAME", envvar="KIFF_AS", show_envvar=True, help="Who acts.")
    return acting(file(command))


def caller(acting: str | None, principals: Path, tenant: str) -> Caller:
    """The caller that `--as` names.

    Raises:
        InvalidInput: there is no such principal, or the file is not one of principals.
        click.UsageError: nobody was named.
    """
    known = read_principals(principals)
    there_are = f"`{principals}` has {', '.join(known)}" if known else f"`{principals}` names nobody yet"
    if acting is None:
        raise click.UsageError(f"say who acts with --as NAME; {there_are}")
    if acting not in known:
        raise InvalidInput(f"there is no principal `{acting}`; {there_are}", field="--as")
    entry = known[acting]
    return Caller(Principal(acting, entry.type, _person(acting, known), entry.name), entry.roles, tenant)


def _person(acting: str, known: dict[str, Entry]) -> str | None:
    """The person behind an identity, through other identities to the end: an alias of an alias is one person.

    Raises:
        InvalidInput: they lead in a circle.
    """
    behind = {name.casefold(): entry.person for name, entry in known.items()}
    person, seen = behind[acting.casefold()], {acting.casefold()}
    while person is not None and behind.get(person.casefold()) is not None:
        if person.casefold() in seen:
            raise InvalidInput(f"the person behind `{acting}` leads back to itself", field="person")
        seen.add(person.casefold())
        person = behind[person.casefold()]
    return person


def read_principals(file: Path) -> dict[str, Entry]:
    """Everybody the file names.

    Raises:
        InvalidInput: it is not there, or not a file of principals.
    """
    try:
        said = tomllib.loads(file.read_bytes().decode())
    except FileNotFoundError as error:
        hint = (
            'give it with --principals FILE; a principal is [ops-agent] with type = "agent" and roles = ["ops_agent"]'
        )
        raise InvalidInput(f"there is no principals file at `{file}`", field="--principals", hint=hint) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}", field=str(file)) from error
    return {name: _entry(file, name, table) for name, table in said.items()}


def _entry(file: Path, name: str, table: object) -> Entry:
    """One table. msgspec says `… - at `$.type``; a reader of the file looks for the principal and its `type`."""
    try:
        require_id(name, "name")
        return convert(table, Entry)
    except InvalidInput as error:
        raise InvalidInput(f"`{file}`: principal `{name[:40]}`: {error.message}", field=str(file)) from error
    except ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        place = f" in {where.replace('$.', '')}" if where else ""
        types = "; a type is human, agent or service" if ".type" in where else ""
        message = f"`{file}`: principal `{name}`: {what[:1].lower()}{what[1:]}{place}{types}"
        raise InvalidInput(message, field=str(file)) from error
