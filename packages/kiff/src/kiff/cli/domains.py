"""`kiff domains`: which domain versions are published, which govern, and making one govern."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kiff.cli.answer import fields
from kiff.cli.domain_file import domain_argument, read_domain
from kiff.cli.exits import Exit
from kiff.cli.noun import Noun
from kiff.cli.output import output_option, print_fields, print_json, print_rows
from kiff.cli.pending import say_pending
from kiff.cli.place import Place
from kiff.cli.place_options import acting_place_option, place_option
from kiff.domain import Domain
from kiff.domain.difference import Difference, differences
from kiff.errors import NotFound

COLUMNS = ("version", "active", "entity_type", "domain", "digest")
CHANGES = ("change", "where", "before", "after")


@click.group("domains", cls=Noun)
def command() -> None:
    """Publish domain versions, and see which of them govern."""


@command.command("list")
@output_option
@place_option
def list_(output: str, place: Place) -> None:
    """The published versions, and which one governs an entity type. A `shadow` is asked beside it."""
    with place.reading() as reading:
        rows = [
            {
                "version": each.version,
                "active": "shadow" if each.shadows else "no" if each.governs is None else "yes",
                "entity_type": each.governs,
                "domain": each.domain,
                "digest": each.digest,
            }
            for each in reading.versions()
        ]
    print_rows(output, "domains", COLUMNS, rows)


@command.command("show")
@click.argument("version")
@place_option
def show(version: str, place: Place) -> None:
    """The content of VERSION (`refund-ops-v2`): JSON, and as such a valid kiff.yaml with everything written out."""
    with place.reading() as reading:
        content = reading.content(version)
    print_json(json.loads(content))


@command.command("diff")
@domain_argument
@output_option
@place_option
def diff(file: Path, output: str, place: Place) -> Exit:
    """What FILE would change in the version that governs its entity type. Ends with 1 when they differ."""
    after = read_domain(file)
    with place.reading() as reading:
        governs = next((each.version for each in reading.versions() if each.governs == after.entity_type), None)
        if governs is None:
            message = f"no version governs `{after.entity_type}`; `kiff domains apply` publishes one"
            raise NotFound(message, entity_type=after.entity_type)
        before = Domain.from_content(reading.content(governs))
    found = differences(before, after)
    print_rows(output, "differences", CHANGES, [_row(each, output) for each in found])
    if not found:
        click.echo(f"{file} is what {governs} says", err=True)
        return Exit.DONE
    if after.version == governs:
        click.echo(f"  hint   {governs} is published and stays what it is: give the file another `version`", err=True)
    return Exit.FAILED


@command.command("apply")
@domain_argument
@click.option("--dry-run", is_flag=True, help="Say whether it could govern, and write nothing.")
@output_option
@acting_place_option
def apply(file: Path, dry_run: bool, output: str, place: Place) -> None:
    """Publish the domain in FILE and make it govern its entity type. Whoever does it needs the role `tenant_owner`.

    Applying the same content again changes nothing. The database is made when it is not there.

    Pending approvals stay. Each is decided again under the version that governs when it is used, and its grant
    satisfies only what it was asked for. A shadow ends.
    """
    answer = place.activate(file, dry_run=dry_run)
    print_fields(output, fields(answer, dry_run=dry_run))
    say_pending(answer.pending_approvals)


@command.command("shadow")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--off", metavar="DOMAIN", help="Ask none beside the version of DOMAIN that governs any more.")
@output_option
@acting_place_option
def shadow(file: Path | None, off: str | None, output: str, place: Place) -> None:
    """Ask the domain in FILE beside the version that governs, for every call: what it says is recorded, and decides
    nothing.

    It is published by that, not activated. `shadow_decision` in the record of a decision has its answer. Whoever does
    it needs the role `tenant_owner`.
    """
    if (file is None) == (off is None):
        raise click.UsageError("give a FILE, or --off with the name of a domain")
    print_fields(output, fields(place.shadow(file, off or "")))


def _row(found: Difference, output: str) -> dict[str, object]:
    told = {"change": found.change, "where": found.where, "before": found.before, "after": found.after}
    if output in ("json", "jsonl"):
        return told
    return {
        name: value if isinstance(value, str) or value is None else json.dumps(value) for name, value in told.items()
    }
