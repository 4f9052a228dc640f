"""`kiff serve`: a server for many tenants."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kiff.cli.executors_file import registry
from kiff.cli.exits import Exit
from kiff.cli.server_options import (
    adapter_secrets,
    login_provider,
    port_of,
    remote_executors,
    rollback_option,
    server_options,
    start_logging,
)
from kiff.cli.settings import Settings, setting_option, settings
from kiff.cli.store_option import root_key_option, said_store, store_options
from kiff.errors import InvalidInput
from kiff.stores.opening import is_postgres

if TYPE_CHECKING:
    from kiff.server.settings import ServerSettings

Tell = Callable[[str, str, str | None], None]
"""`tell(url, local_url, token)`, once it serves."""


@click.command("serve")
@server_options
@setting_option("tenant", "The first tenant; made when it is not there.")
@setting_option("executors", "The Python file that holds EXECUTORS.")
@store_options
@click.option(
    "--workers",
    envvar="KIFF_WORKERS",
    show_envvar=True,
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many processes serve; several take PostgreSQL.",
)
@click.option(
    "--public-url",
    envvar="KIFF_PUBLIC_URL",
    show_envvar=True,
    metavar="URL",
    help="How clients reach it, when a proxy stands before it.",
)
@root_key_option
@rollback_option
@click.option("--otel", is_flag=True, help="Send spans with OpenTelemetry; the OTEL_* variables say where.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    data: Path,
    host: str,
    port: str,
    issuer: str,
    log_level: str,
    tenant: str,
    executors: Path,
    store: str,
    store_file: Path | None,
    workers: int,
    public_url: str | None,
    root_key: Path | None,
    accept_rollback: tuple[str, ...],
    otel: bool,
    output: str,
) -> int:
    """Serve tenants over HTTP, until SIGINT or SIGTERM. TLS is a proxy's work.

    The first start makes the tenant and prints a one-time token: `kiff login` with it, on this machine, is the
    first administrator. With several workers, on PostgreSQL, SIGHUP replaces them one after the other.
    """
    where = said_store(store, store_file)
    one_writer(where, workers)
    start_logging(log_level)
    from kiff.server.settings import ServerSettings  # what serves is imported by the process that does

    def given() -> ServerSettings:
        return ServerSettings(
            data=data,
            store=where,
            host=host,
            port=port_of(port),
            issuer=issuer,
            public_url=public_url,
            adapter_secrets=adapter_secrets(data),
            oidc=login_provider(data),
            remote=remote_executors(data),
            root_key=root_key,
            accept_rollback=accept_rollback,
            otel=otel,
            log_level=log_level,
        )

    has_executors = executors.is_file() or settings().executors != Settings().executors
    functions = executors if has_executors else None
    tell = partial(_tell, tenant, output)
    if workers == 1:
        return _alone(given(), functions, tenant, tell)
    return _several(workers, given, functions, tenant, tell)


def one_writer(store: str, workers: int) -> None:
    """
    Raises:
        InvalidInput: several processes on one SQLite file.
    """
    if not is_postgres(store) and workers != 1:
        raise InvalidInput(
            "a SQLite file has one writer process, so more workers would only wait for one another; "
            "run one worker here, and several with --store postgresql://…",
            field="--workers",
        )


def _alone(given: ServerSettings, executors: Path | None, tenant: str, tell: Tell) -> int:
    """Serves in this process."""
    from kiff.server.serving import Serving

    functions = {}
    if executors is not None:
        with redirect_stdout(sys.stderr):
            functions = dict(registry(executors))
    serving = Serving(given, executors=functions)
    token = serving.tower.first_login(tenant)
    serving.run(lambda: tell(serving.url, serving.local_url, token))
    return Exit.DONE


def _several(workers: int, given: Callable[[], ServerSettings], executors: Path | None, tenant: str, tell: Tell) -> int:
    """Serves in processes of its own, and sees to it that they are there."""
    from kiff.server.listening import share, url_of
    from kiff.server.workers import Work, Workers

    first = given()
    sockets = share(first.host, first.port, workers)
    local = url_of(sockets[0])
    parent = Workers(
        lambda: Work(given(), executors=executors),
        sockets,
        tenant,
        lambda serves: tell(first.public_url or local, local, serves.login_token),
    )
    return parent.run()


def _tell(tenant: str, output: str, url: str, local_url: str, token: str | None) -> None:
    """Where it is, and how the first administrator comes in."""
    if output == "json":
        click.echo(json.dumps({"url": url, "tenant": tenant, "login_token": token}))
    else:
        click.echo(f"serving {url}", err=True)
        if token is not None:
            click.echo(f"first administrator of `{tenant}`, once, within 15 minutes, on this machine:", err=True)
            click.echo(f"  kiff login --url {local_url} --token {token}", err=True)
    sys.stdout.flush()
