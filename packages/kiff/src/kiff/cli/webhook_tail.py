"""`kiff webhooks tail`: messages as endpoints get them, shown, or signed and given to a program of this machine."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from kiff.cli.output import SCHEMA
from kiff.cli.safe_text import visible
from kiff.cli.server import server_option

if TYPE_CHECKING:
    from kiff.cli.on_server import OnServer
    from kiff.client import Client
    from kiff.protocol.webhook import Endpoint
    from kiff.runtime.outbox import Told

COLUMNS = ("seq", "type", "entity", "answer")
SECRET = "KIFF_WEBHOOK_SECRET"
LOCAL = ("localhost", "127.0.0.1", "::1")
TIMEOUT_SECONDS = 15.0
UNNAMED = "whk_tail"
"""The endpoint in ids, when none is named."""


@click.command("tail")
@click.argument("webhook_id", required=False)
@click.option(
    "--event",
    "events",
    multiple=True,
    metavar="NAME",
    help="What to show, without WEBHOOK_ID: as for `add`; `*` when left out.",
)
@click.option("--after", type=click.IntRange(-1), help="Begin behind this record; -1 for the whole log.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option(
    "--forward-to",
    metavar="URL",
    help=f"Send each to this program on this machine too, signed with ${SECRET}, or with a secret that is drawn.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(("auto", "text", "jsonl")),
    default="auto",
    show_default=True,
    help="jsonl: the messages themselves, one a line.",
)
@server_option
def tail(
    webhook_id: str | None,
    events: tuple[str, ...],
    after: int | None,
    limit: int | None,
    forward_to: str | None,
    output: str,
    server: OnServer,
) -> None:
    """Show messages as they are written, those of WEBHOOK_ID or of --event, until Ctrl-C.

    It sends nothing to the endpoint itself, and nothing of it waits for this.
    """
    from kiff.canonical import encode  # in here, because `kiff --help` has no use for them
    from kiff.runtime.outbox import wants

    if webhook_id is not None and events:
        raise click.UsageError("WEBHOOK_ID says which events; leave out --event")
    forward = None if forward_to is None else _Forward(forward_to)
    lines, shown = _Lines(output), 0
    with server.client() as client:
        endpoint = _endpoint(client, webhook_id, events)
        for event in client.stream(after=None if after is None else str(after)):
            told = wants(endpoint, encode(event.record))
            if told is None:
                continue
            answer = "" if forward is None else forward(endpoint.id, told)
            lines(told, answer)
            shown += 1
            if shown == limit:
                return


def _endpoint(client: Client, webhook_id: str | None, events: tuple[str, ...]) -> Endpoint:
    """What decides which records are shown."""
    from kiff.protocol.webhook import EVERYTHING, Endpoint, require_events
    from kiff.runtime.step.webhooks import missing

    if webhook_id is None:
        return Endpoint(UNNAMED, "", require_events(events or (EVERYTHING,)))
    for each in client.webhooks.all():
        if each.id == webhook_id:
            return Endpoint(each.id, each.url, each.events, each.entity_types)
    raise missing(webhook_id)


class _Forward:
    """Sends messages to a program of this machine, and says what it answered."""

    def __init__(self, url: str) -> None:
        import httpx

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname not in LOCAL:
            raise click.UsageError(f"--forward-to takes a program on this machine, http://localhost:…, found `{url}`")
        self._url = url
        self._http = httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS)
        self._failure = httpx.HTTPError
        self._secret = os.environ.get(SECRET) or f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        if SECRET not in os.environ:
            click.echo(f"signed with {self._secret}; ${SECRET} keeps it the same", err=True)

    def __call__(self, endpoint_id: str, told: Told) -> str:
        from kiff.runtime.rows import delivery_id
        from kiff.server.webhook_message import headers

        signed = headers(delivery_id(endpoint_id, told.seq), told.body, [self._secret], int(time.time() * 1_000))
        try:
            return str(self._http.post(self._url, content=told.body, headers=signed).status_code)
        except self._failure as error:
            return f"none ({type(error).__name__})"


class _Lines:
    """One line a message, written as it comes; the columns are named once."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._gap = "  " if output == "text" or sys.stdout.isatty() else "\t"
        self._begun = False

    def __call__(self, told: Told, answer: str) -> None:
        if self._output == "jsonl":
            message: dict[str, Any] = {"kiff": SCHEMA, **json.loads(told.body)}
            click.echo(json.dumps(message, separators=(",", ":")).replace("\x7f", "\\u007f"))
        else:
            if not self._begun:
                click.echo(self._gap.join(COLUMNS))
                self._begun = True
            click.echo(self._gap.join(visible(each) for each in (told.seq, told.name, told.entity, answer)))
        sys.stdout.flush()
