"""`kiff webhooks`: who is told of a tenant's records. A secret is shown once, when it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click
from msgspec import structs

from kiff.cli.noun import Noun
from kiff.cli.output import output_option, print_fields, print_rows
from kiff.cli.repeat import repeated, repeating_option
from kiff.cli.server import server_option
from kiff.cli.webhook_tail import tail

if TYPE_CHECKING:
    from kiff.cli.on_server import OnServer
    from kiff.client.nouns import SecretWebhook, Webhook

COLUMNS = ("id", "url", "events", "entity_types", "enabled", "failing_since", "last_failure")
WAITING = ("id", "entity", "status", "attempts", "due_at", "last_failure")
STATUSES = ("due", "dead")


@click.group("webhooks", cls=Noun)
def command() -> None:
    """Have programs told of what is recorded, with signed messages."""


@command.command("list")
@output_option
@server_option
def list_(output: str, server: OnServer) -> None:
    """The endpoints, without their secrets, and how they do."""
    with server.client() as client:
        rows = [_row(each, output) for each in client.webhooks.all()]
    print_rows(output, "webhooks", COLUMNS, rows)


@command.command("add")
@click.argument("where", metavar="URL")
@click.option(
    "--event",
    "events",
    multiple=True,
    required=True,
    metavar="NAME",
    help="`decision.blocked`, `approval.*` for all of a noun, `*` for all; may be repeated.",
)
@click.option(
    "--entity-type", "types", multiple=True, metavar="TYPE", help="Only of entities of this type; may be repeated."
)
@repeating_option("--key", "request")
@output_option
@server_option
def add(
    where: str, events: tuple[str, ...], types: tuple[str, ...], id: str | None, output: str, server: OnServer
) -> None:
    """Tell URL of what is recorded from now on. Its secret is printed here, and kept nowhere else."""
    with repeated("--key", id, "webhook") as id, server.client() as client:
        told = client.webhooks.add(where, events, entity_types=types, id=id)
    _print_secret(told, output)
    click.echo(f"webhook {told.webhook.id}; kiff webhooks test {told.webhook.id} tries it", err=True)


@command.command("remove")
@click.argument("webhook_id")
@output_option
@server_option
def remove(webhook_id: str, output: str, server: OnServer) -> None:
    """Tell WEBHOOK_ID no more, not even of what is due to it."""
    with server.client() as client:
        at = client.webhooks.remove(webhook_id)
    print_fields(output, {"id": webhook_id, "removed_at": at})


@command.command("rotate")
@click.argument("webhook_id")
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0, 168),
    default=24.0,
    show_default=True,
    help="How long the old secret signs too.",
)
@repeating_option("--key", "request")
@output_option
@server_option
def rotate(webhook_id: str, overlap_hours: float, id: str | None, output: str, server: OnServer) -> None:
    """Draw a new secret for WEBHOOK_ID. It is printed here, and kept nowhere else."""
    with repeated("--key", id, "webhook") as id, server.client() as client:
        told = client.webhooks.rotate(webhook_id, overlap_seconds=int(overlap_hours * 3_600), id=id)
    _print_secret(told, output)
    if told.webhook.old_secret_until is not None:
        click.echo(f"the old secret signs too until {told.webhook.old_secret_until}", err=True)


@command.command("enable")
@click.argument("webhook_id")
@output_option
@server_option
def enable(webhook_id: str, output: str, server: OnServer) -> None:
    """Put WEBHOOK_ID on again that was switched off. What is due to it goes on."""
    with server.client() as client:
        told = client.webhooks.enable(webhook_id)
    print_fields(output, structs.asdict(told))


@command.command("test")
@click.argument("webhook_id")
@output_option
@server_option
def test(webhook_id: str, output: str, server: OnServer) -> int:
    """Send WEBHOOK_ID a test message now, and say what came of it. Ends with 1 when it did not arrive."""
    with server.client() as client:
        told = client.webhooks.test(webhook_id)
    print_fields(output, structs.asdict(told))
    return 0 if told.delivered else 1


@command.command("deliveries")
@click.argument("webhook_id")
@click.option("--status", type=click.Choice(STATUSES), help="due: to be tried again; dead: tried often enough.")
@output_option
@server_option
def deliveries(webhook_id: str, status: Literal["due", "dead"] | None, output: str, server: OnServer) -> None:
    """The messages to WEBHOOK_ID that have not arrived. Those that arrived are not kept."""
    with server.client() as client:
        rows = [structs.asdict(each) for each in client.webhooks.deliveries(webhook_id, status)]
    print_rows(output, "deliveries", WAITING, rows)


@command.command("replay")
@click.argument("webhook_id")
@click.option("--since", metavar="SEQ|TIME", help="Everything it asks for from this record, or this RFC 3339 time, on.")
@click.option("--id", "delivery", metavar="ID", help="One delivery, by its `webhook-id`.")
@output_option
@server_option
def replay(webhook_id: str, since: str | None, delivery: str | None, output: str, server: OnServer) -> None:
    """Send messages to WEBHOOK_ID again, or for the first time. They have the ids they had."""
    if (since is None) == (delivery is None):
        raise click.UsageError("say what to send again: --since SEQ, --since TIME, or --id ID")
    begin = int(since) if since is not None and since.isascii() and since.isdigit() else since
    with server.client() as client:
        count = client.webhooks.replay(webhook_id, since=begin, delivery=delivery)
    print_fields(output, {"id": webhook_id, "due": count})


command.add_command(tail)


def _print_secret(told: SecretWebhook, output: str) -> None:
    if output in ("json", "jsonl"):
        print_fields(output, {**structs.asdict(told.webhook), "secret": told.secret})
    elif told.secret is not None:
        click.echo(told.secret)
    if told.secret is None:
        click.echo("this request was carried out before, and its secret was shown then", err=True)


def _row(webhook: Webhook, output: str) -> dict[str, Any]:
    told = structs.asdict(webhook)
    if output in ("json", "jsonl"):
        return told
    named = {name: ", ".join(told[name]) for name in ("events", "entity_types")}
    return told | named | {"enabled": "yes" if webhook.enabled else f"no: {webhook.off_because}"}
