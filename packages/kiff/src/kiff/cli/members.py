"""`kiff members`: who a tenant knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click
from msgspec import structs

from kiff.cli.noun import Noun
from kiff.cli.output import output_option, print_fields, print_rows
from kiff.cli.server import server_option
from kiff.protocol.actor import PrincipalType

if TYPE_CHECKING:
    from kiff.cli.on_server import OnServer

COLUMNS = ("id", "type", "roles", "person", "name", "active")


@click.group("members", cls=Noun)
def command() -> None:
    """Say who somebody is on a server, and what they may do."""


@command.command("list")
@output_option
@server_option
def list_(output: str, server: OnServer) -> None:
    """People, agents and services of the tenant."""
    with server.client() as client:
        found = client.members.all()
    rows: list[dict[str, Any]] = [structs.asdict(each) for each in found]
    if output not in ("json", "jsonl"):
        rows = [row | {"roles": ", ".join(row["roles"]), "active": "yes" if row["active"] else "no"} for row in rows]
    print_rows(output, "members", COLUMNS, rows)


@command.command("set")
@click.argument("member_id")
@click.option("--type", "type_", type=click.Choice(get_args(PrincipalType)), required=True, help="What they are.")
@click.option("--role", "roles", multiple=True, help="A role they have; may be repeated. What is left out is taken.")
@click.option("--person", metavar="MEMBER", help="The person behind it: an agent's owner.")
@click.option("--name", metavar="TEXT", help="What screens show.")
@click.option("--inactive", is_flag=True, help="Their keys and sessions are of no use, until they are active again.")
@output_option
@server_option
def set_(
    member_id: str,
    type_: PrincipalType,
    roles: tuple[str, ...],
    person: str | None,
    name: str | None,
    inactive: bool,
    output: str,
    server: OnServer,
) -> None:
    """Say who MEMBER_ID is, whole: what is not said is not so any more."""
    with server.client() as client:
        told = client.members.set(member_id, type_, roles=roles, person=person, name=name, active=not inactive)
    print_fields(output, structs.asdict(told))
