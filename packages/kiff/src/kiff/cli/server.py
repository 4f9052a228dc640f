"""The server that a command needs: `--url` and `--tenant`, for commands that have no other place to work on."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kiff.cli.place_options import said_tenant, url_option
from kiff.cli.settings import setting_option

if TYPE_CHECKING:
    pass

F = TypeVar("F", bound=Callable[..., Any])


def server_option(command: F) -> F:
    """Adds `--url` and `--tenant`, and gives the command its `server`."""

    @wraps(command)
    def run(url: str | None, tenant: str, **said: Any) -> Any:
        from kiff.cli.on_server import OnServer  # brings httpx, which `kiff --help` has no use for

        return command(server=OnServer(needed(url), said_tenant(tenant)), **said)

    return url_option(tenant_option(run))  # type: ignore[return-value]  # click calls it by the names of the options


def tenant_option(command: F) -> F:
    """Adds `--tenant`: which of several credentials."""
    return setting_option("tenant", "Whose credential, when there are several.")(command)


def needed(url: str | None) -> str:
    """The URL.

    Raises:
        click.UsageError: nobody said it.
    """
    if url:
        return url
    raise click.UsageError("this works on a server: name it with --url, KIFF_URL, or `url` in kiff.toml")
