"""`kiff keys`: the keys of a tenant. A secret is shown once, when it is minted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from kiff.cli.noun import Noun
from kiff.cli.output import output_option, print_fields, print_rows
from kiff.cli.repeat import repeated, repeating_option
from kiff.cli.server import server_option

if TYPE_CHECKING:
    from kiff.cli.on_server import OnServer
    from kiff.client.nouns import Key

COLUMNS = ("id", "kind", "label", "principal", "roles", "created_at", "last_used_at", "revoked_at")


@click.group("keys", cls=Noun)
def command() -> None:
    """Mint, list and revoke the keys of a tenant on a server."""


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Those that are revoked too.")
@output_option
@server_option
def list_(every: bool, output: str, server: OnServer) -> None:
    """The keys and sessions, without their secrets."""
    with server.client() as client:
        found = [each for each in client.keys.all() if every or each.revoked_at is None]
    found.sort(key=lambda each: (each.created_at, each.id))
    print_rows(output, "keys", COLUMNS, [_row(each, output) for each in found])


@command.command("create")
@click.option("--label", default="", metavar="TEXT", help="What it is for.")
@click.option("--for", "principal", metavar="MEMBER", help="Whom it speaks for; without it, for any actor.")
@click.option("--role", "roles", multiple=True, help="What it may do; narrows a member's roles. May be repeated.")
@click.option("--domain", metavar="SLUG", help="The one domain it is good for.")
@click.option("--expires-at", metavar="TIME", help="RFC 3339; never, when left out.")
@repeating_option("--key", "request")
@output_option
@server_option
def create(
    label: str,
    principal: str | None,
    roles: tuple[str, ...],
    domain: str | None,
    expires_at: str | None,
    id: str | None,
    output: str,
    server: OnServer,
) -> None:
    """Mint a key. Its secret is printed here, and kept nowhere.

    Alone on stdout it can be put where it belongs: kiff keys create --for ops-agent | …
    """
    with repeated("--key", id, "mint") as id, server.client() as client:
        told = client.keys.create(label, principal=principal, roles=roles, domain=domain, expires_at=expires_at, id=id)
    if output in ("json", "jsonl"):
        print_fields(output, {**structs.asdict(told.key), "secret": told.secret})
    elif told.secret is not None:
        click.echo(told.secret)
    if told.secret is None:
        click.echo("this request was carried out before, and its secret was shown then", err=True)
    click.echo(f"key {told.key.id}; kiff keys revoke {told.key.id} ends it", err=True)


@command.command("revoke")
@click.argument("key_id")
@output_option
@server_option
def revoke(key_id: str, output: str, server: OnServer) -> None:
    """Make the key KEY_ID useless, from the next request on."""
    with server.client() as client:
        at = client.keys.revoke(key_id)
    print_fields(output, {"id": key_id, "revoked_at": at})


def _row(key: Key, output: str) -> dict[str, Any]:
    told = structs.asdict(key)
    return told if output in ("json", "jsonl") else told | {"roles": ", ".join(key.roles)}
