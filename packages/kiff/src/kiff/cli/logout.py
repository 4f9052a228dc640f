"""`kiff logout`: end the session, on the server and here."""

from __future__ import annotations

import click

from kiff.cli.credentials import forget, key_for
from kiff.cli.place_options import said_tenant, url_option
from kiff.cli.server import needed, tenant_option
from kiff.errors import Unauthorized


@click.command("logout")
@url_option
@tenant_option
def command(url: str | None, tenant: str) -> None:
    """Sign out on a server: the session ends there, and credentials.toml forgets it."""
    from kiff.client import Client  # with httpx
    from kiff.client.address import server_url

    where = server_url(needed(url))
    session = key_for(where, said_tenant(tenant))
    with Client(where, session) as client:
        try:
            client.login.out()
        except Unauthorized:
            click.echo("the session had ended already", err=True)
    forget(where, session)
    click.echo(f"signed out of {where}", err=True)
