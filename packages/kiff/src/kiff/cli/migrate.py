"""`kiff migrate`: a PostgreSQL database is brought up to date by its owner, before the servers of the new version."""

from __future__ import annotations

from pathlib import Path

import click

from kiff.cli.output import SCHEMA, output_option, print_fields, print_json
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.settings import settings
from kiff.cli.store_place import said_place, store_place_options
from kiff.errors import InvalidInput, StoreError

NO_SUCH_ROLE = "42704"
"""PostgreSQL's code."""


@click.command("migrate")
@store_place_options
@click.option(
    "--role", metavar="NAME", help="What servers connect as: it may add to the log, and change nothing of it."
)
@click.option("--plan", is_flag=True, help="Print the SQL that would be sent, and send nothing.")
@output_option
def command(store: str | None, store_file: Path | None, role: str | None, plan: bool, output: str) -> None:
    """Bring a PostgreSQL database up to date, and grant the role that servers connect as what it needs.

    Connect as the owner of the tables. Done twice, it changes nothing; servers of the version before go on meanwhile.
    A SQLite database brings itself up to date when it is opened to be written.
    """
    place = said_place(store, store_file, settings().data)
    if not place.is_postgres:
        message = f"{visible(place.shown)} is SQLite: it brings itself up to date when it is opened to be written"
        click.echo(f"{message}; name a PostgreSQL database with --store", err=True)
        return
    from kiff.stores.postgres import migrate  # brings the driver
    from kiff.stores.postgres.migrate import plan as planned

    if plan:
        _show(planned(place.where, role=role), output)
        return
    with progress(f"bringing {visible(place.shown)} up to date"):
        try:
            done = migrate(place.where, role=role)
        except StoreError as error:
            if error.detail.get("sqlstate") != NO_SUCH_ROLE:
                raise
            message = f"the server has no role `{role}`: CREATE ROLE {role} LOGIN makes it"
            raise InvalidInput(message, field="--role") from error
    print_fields(
        output,
        {"database": place.shown, "schema": done.after, "before": done.before, "role": role},
    )
    click.echo("up to date" if done.before == done.after else f"brought from {done.before} to {done.after}", err=True)


def _show(sql: list[str], output: str) -> None:
    if output in ("json", "jsonl"):
        print_json({"kiff": SCHEMA, "sql": sql})
        return
    for statement in sql:
        click.echo(statement.strip())
    if not sql:
        click.echo("up to date: nothing would be sent", err=True)
