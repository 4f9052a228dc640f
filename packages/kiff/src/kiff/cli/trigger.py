"""`kiff trigger`: try out what an event leads to."""

from __future__ import annotations

from typing import Any

import click

from kiff.cli.exits import Exit
from kiff.cli.given import pairs
from kiff.cli.ingest import tell
from kiff.cli.output import output_option
from kiff.cli.place_options import said_tenant, url_option
from kiff.cli.repeat import repeating_option
from kiff.cli.server import needed, tenant_option


@click.command("trigger")
@click.argument("type")
@click.argument("entity")
@click.option("-p", "--payload-member", "given", metavar="NAME=VALUE", multiple=True, help="May be repeated.")
@click.option("--payload", metavar="JSON", help="All of it: a JSON object, @FILE, or - for stdin.")
@repeating_option("--id", "event")
@output_option
@url_option
@tenant_option
def command(
    type: str,
    entity: str,
    given: tuple[str, ...],
    payload: str | None,
    id: str | None,
    output: str,
    url: str | None,
    tenant: str,
) -> Exit:
    """Send the event TYPE of ENTITY to a server, as coming from `trigger`.

    It is a real event of the log it goes to: the sandbox side of the tenant when there is a credential for it, else
    the tenant's own.
    """
    from kiff.cli.on_server import OnServer  # with httpx

    event: dict[str, Any] = {"type": type, "entity": entity, "source": "trigger"}
    event["payload"] = pairs(given, payload, flag="--payload")
    return tell(OnServer(needed(url), said_tenant(tenant), sandbox=True), event, id, output)
