"""`kiff login`: sign in on a server, or approve the login of another program."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

import click

from kiff.cli.credentials import Entry, keep
from kiff.cli.exits import Exit
from kiff.cli.output import output_option, print_fields
from kiff.cli.place_options import said_tenant, url_option
from kiff.cli.safe_text import visible
from kiff.cli.server import needed, tenant_option
from kiff.errors import InvalidInput, KiffError

if TYPE_CHECKING:
    from kiff.client.login import Device, Session

CLIENT_CHARACTERS = 80
REFUSED = {"access_denied": Exit.DENIED, "expired_token": Exit.EXPIRED}


@click.command("login")
@click.option("--token", metavar="TOKEN", help="The one-time token that a new server printed; - reads it from stdin.")
@click.option("--approve", metavar="CODE", help="Let the program that shows CODE act in your name.")
@click.option("--deny", metavar="CODE", help="Say no to the program that shows CODE.")
@click.option("--yes", is_flag=True, help="Approve without being asked.")
@output_option
@url_option
@tenant_option
def command(
    token: str | None, approve: str | None, deny: str | None, yes: bool, output: str, url: str | None, tenant: str
) -> Exit:
    """Sign in on a server.

    Without an option it shows a code, which a person who is signed in already approves: `kiff login --approve CODE`.
    The session is kept in credentials.toml of the user's configuration folder, which nobody else can read. Ends with
    12 when the person said no, and with 13 when nobody answered in time.
    """
    if sum(each is not None for each in (token, approve, deny)) > 1:
        raise click.UsageError("give one of --token, --approve and --deny")
    where, whose = needed(url), said_tenant(tenant)
    if approve is not None or deny is not None:
        return _answer(where, whose, approve or deny or "", approved=approve is not None, yes=yes, output=output)
    try:
        session = _by_device(where, whose) if token is None else _by_token(where, token)
    except KiffError as error:
        if error.code not in REFUSED:
            raise
        click.echo(f"error: {visible(error.message)}   [{error.code}]", err=True)
        return REFUSED[error.code]
    _keep(where, session, output)
    return Exit.DONE


def _by_token(url: str, token: str) -> Session:
    from kiff.client import Client  # with httpx

    if token == "-":
        token = sys.stdin.readline().strip()
    with Client(url) as client:
        return client.login.by_token(token)


def _by_device(url: str, tenant: str | None) -> Session:
    from kiff.client import Client

    with Client(url) as client:
        started = client.login.start(_this_program(), tenant)
        click.echo(f"code   {visible(started.user_code)}", err=True)
        click.echo(
            f"  approve it where you are signed in:  kiff login --approve {visible(started.user_code)}", err=True
        )
        click.echo(f"  or see {visible(started.verification_uri_complete or started.verification_uri)}", err=True)
        click.echo(f"  waiting, {started.expires_in // 60} minutes at most; Ctrl-C ends it", err=True)
        return client.login.wait(started)


def _keep(url: str, session: Session, output: str) -> None:
    from kiff.client.address import server_url

    entry = Entry(server_url(url), session.tenant, session.member, session.session, session.expires_at)
    file = keep(entry)
    told = {"url": entry.url, "tenant": entry.tenant, "member": entry.member, "expires_at": entry.expires_at}
    print_fields(output, told | {"credentials": str(file)})


def _answer(url: str, tenant: str | None, code: str, *, approved: bool, yes: bool, output: str) -> Exit:
    """A person's answer to another program, once they saw which one it is."""
    from kiff.cli.on_server import OnServer

    with OnServer(url, tenant).client() as client:
        device = client.login.show(_code(code))
        _tell(device)
        if approved and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("say --yes to approve it without being asked")
            click.confirm("let it act in your name?", abort=True, err=True)
        answered = client.login.approve(code) if approved else client.login.deny(code)
    print_fields(output, {"status": answered.status, "client": answered.client, "address": answered.address})
    return Exit.DONE


def _tell(device: Device) -> None:
    told = {"client": device.client, "address": device.address, "asked_at": device.asked_at, "tenant": device.tenant}
    for name, value in told.items():
        if value:
            click.echo(f"  {name:<10}{visible(value)}", err=True)


def _code(text: str) -> str:
    if text.isascii() and text.replace("-", "").isalpha():
        return text
    raise InvalidInput("the code is eight letters, as in BCDF-GHJK", field="CODE")


def _this_program() -> str:
    """What the person is shown: who asks, from which machine."""
    user = os.environ.get("USER") or "somebody"
    name = f"kiff login of {user} on {platform.node() or 'a machine without a name'}"
    return "".join(each for each in name if each.isprintable())[:CLIENT_CHARACTERS]
