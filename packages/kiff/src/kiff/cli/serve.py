"""`kiff serve`: a server for many tenants."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from kiff.cli.executors_file import registry
from kiff.cli.server_options import adapter_secrets, login_provider, port_of, server_options, start_logging
from kiff.cli.settings import Settings, setting_option, settings
from kiff.errors import InvalidInput


@click.command("serve")
@server_options
@setting_option("tenant", "The first tenant; made when it is not there.")
@setting_option("executors", "The Python file that holds EXECUTORS.")
@click.option(
    "--store",
    envvar="KIFF_STORE",
    show_envvar=True,
    default="sqlite",
    show_default=True,
    help="Where rows are kept: `sqlite`, in the data folder.",
)
@click.option(
    "--workers", envvar="KIFF_WORKERS", show_envvar=True, default=1, show_default=True, help="How many processes serve."
)
@click.option(
    "--public-url",
    envvar="KIFF_PUBLIC_URL",
    show_envvar=True,
    metavar="URL",
    help="How clients reach it, when a proxy stands before it.",
)
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
    workers: int,
    public_url: str | None,
    otel: bool,
    output: str,
) -> None:
    """Serve tenants over HTTP, until SIGINT or SIGTERM. TLS is a proxy's work.

    The first start makes the tenant and prints a one-time token: `kiff login` with it, on this machine, is the
    first administrator.
    """
    one_writer(store, workers)
    start_logging(log_level)
    from kiff.server.serving import Serving
    from kiff.server.settings import ServerSettings

    functions = {}
    if executors.is_file() or settings().executors != Settings().executors:
        with redirect_stdout(sys.stderr):
            functions = dict(registry(executors))
    given = ServerSettings(
        data=data,
        host=host,
        port=port_of(port),
        issuer=issuer,
        public_url=public_url,
        adapter_secrets=adapter_secrets(data),
        oidc=login_provider(data),
        otel=otel,
        log_level=log_level,
    )
    serving = Serving(given, executors=functions)
    token = serving.tower.first_login(tenant)

    def told() -> None:
        if output == "json":
            click.echo(json.dumps({"url": serving.url, "tenant": tenant, "login_token": token}))
        else:
            click.echo(f"serving {serving.url}", err=True)
            if token is not None:
                click.echo(f"first administrator of `{tenant}`, once, within 15 minutes, on this machine:", err=True)
                click.echo(f"  kiff login --url {serving.local_url} --token {token}", err=True)
        sys.stdout.flush()

    serving.run(told)


def one_writer(store: str, workers: int) -> None:
    """What this version can serve.

    Raises:
        InvalidInput: several processes on one SQLite file, or a store that is not there yet.
    """
    if store != "sqlite":
        message = f"`{store.split('://')[0]:.20}` is no store of this version: it has `sqlite`; PostgreSQL comes later"
        raise InvalidInput(message, field="--store")
    if workers != 1:
        raise InvalidInput(
            "a SQLite file has one writer process, so more workers would only wait for one another; "
            "run one worker here, and several on PostgreSQL, which comes later",
            field="--workers",
        )
