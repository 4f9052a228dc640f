"""Which place a command works on: `--url` names a server, `--db` a database, and `--as` who acts on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from kiff.cli.database import Database, database_option
from kiff.cli.place import Place
from kiff.cli.principals import acting_options, caller
from kiff.cli.settings import Settings, settings

F = TypeVar("F", bound=Callable[..., Any])


def place_option(command: F) -> F:
    """Adds `--db`, `--tenant` and `--url`, and gives the command its `place`."""
    return url_option(database_option(_placed(command)))


def acting_place_option(command: F) -> F:
    """The same for commands that act: `--as` and `--principals` too."""
    return acting_options(place_option(command))


def _placed(command: F) -> F:
    @wraps(command)
    def run(**said: Any) -> Any:
        names = ("url", "database", "tenant", "acting", "principals")
        return command(place=_place(**{name: said.pop(name) for name in names if name in said}), **said)

    return run  # type: ignore[return-value]  # click calls it by the names of the options


def _place(
    url: str | None, database: Database, tenant: str, acting: str | None = None, principals: Path | None = None
) -> Place:
    """The server when there is one, unless a database is named beside it."""
    is_named = _on_command_line("database")
    if is_named and _on_command_line("url"):
        raise click.UsageError("--url is a server and --db a database; give one of them")
    if url and not is_named:
        if acting is not None:
            raise click.UsageError(f"on {url} the key says who acts; leave --as (KIFF_AS) out, or name a --db")
        from kiff.cli.on_server import OnServer  # brings httpx, which most runs have no use for

        return OnServer(url, said_tenant(tenant))
    from kiff.cli.on_database import OnDatabase

    return OnDatabase(database, tenant, None if principals is None else caller(acting, principals, tenant))


def said_tenant(tenant: str) -> str | None:
    """The tenant, when somebody said which; a server's key leads to its own."""
    return tenant if _on_command_line("tenant") or settings().tenant != Settings().tenant else None


def _on_command_line(parameter: str) -> bool:
    return click.get_current_context().get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def url_option(command: F) -> F:
    """Adds `--url`."""
    return click.option(
        "--url",
        metavar="URL",
        default=lambda: settings().url or None,
        help="The server to work on, instead of a database.  [env var: KIFF_URL]",
    )(command)
