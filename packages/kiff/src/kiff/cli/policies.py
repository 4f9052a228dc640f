"""`kiff policies`: what the organisation asks beside the contracts of every domain, and changing it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from kiff.cli.answer import fields
from kiff.cli.check import found_of, print_found, summary
from kiff.cli.domain_file import read_domain
from kiff.cli.exits import Exit
from kiff.cli.noun import Noun
from kiff.cli.output import output_option, print_fields, print_json, print_rows
from kiff.cli.pending import say_pending
from kiff.cli.place import Place
from kiff.cli.place_options import acting_place_option, place_option
from kiff.cli.policy_file import policy_text
from kiff.cli.safe_text import visible
from kiff.domain import Domain, check_policy

COLUMNS = ("version", "active", "policy", "digest")


@click.group("policies", cls=Noun)
def command() -> None:
    """Publish policy versions, and see which of them holds.

    A policy is a YAML file with rules and limits over the actions of many domains. It can only tighten what their
    contracts say: nothing in it allows anything.
    """


@command.command("list")
@output_option
@place_option
def list_(output: str, place: Place) -> None:
    """The published versions, and which one holds for every domain."""
    with place.reading() as reading:
        rows = [
            dict(zip(COLUMNS, (each.version, "yes" if each.active else "no", each.policy, each.digest), strict=True))
            for each in reading.policies()
        ]
    print_rows(output, "policies", COLUMNS, rows)


@command.command("show")
@click.argument("version", required=False)
@place_option
def show(version: str | None, place: Place) -> None:
    """The content of VERSION (`inventory-v2`), or of the one that holds: JSON, and as such a valid policy."""
    with place.reading() as reading:
        content = reading.policy(version)
    print_json(json.loads(content))


@command.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--domain",
    "domains",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A kiff.yaml that it is to hold for; several may be given.",
)
@click.option("--governing", is_flag=True, help="It is to hold for the domains that govern in the database or server.")
@click.option("--strict", is_flag=True, help="End with 1 on warnings, too.")
@output_option
@place_option
def check(file: Path, domains: tuple[Path, ...], governing: bool, strict: bool, output: str, place: Place) -> Exit:
    """Say everything that is wrong with the policy in FILE, and how to mend it.

    What parameters and entities are, only domains say: give those that it is to hold for. `unfinished` is what does not
    fit an action that it is about: that action would be withheld. Ends with 1 when there is an error or something
    unfinished.
    """
    over = [read_domain(each) for each in domains]
    if governing:
        over += _governing(place)
    policy, issues = check_policy(policy_text(file), over)
    found = [found_of(issue, file) for issue in issues]
    counted, version = Counter(each.level for each in found), policy.version if policy else None
    failed = bool(counted["error"] or counted["unfinished"] or (strict and found))
    print_found(output, file, "policy", version, found, ok=not failed)
    asked = ", ".join(each.version for each in over)
    click.echo(visible(f"asked about {asked}" if over else "asked about no domain; --domain FILE names one"), err=True)
    click.echo(visible(summary(counted, version, ready=not failed)), err=True)
    return Exit.FAILED if failed else Exit.DONE


def _governing(place: Place) -> list[Domain]:
    with place.reading() as reading:
        versions = [each.version for each in reading.versions() if each.governs is not None]
        return [Domain.from_content(reading.content(version)) for version in versions]


@command.command("activate")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--published", metavar="VERSION", help="A version that is published already, instead of a FILE.")
@click.option("--dry-run", is_flag=True, help="Say whether it could hold, and write nothing.")
@output_option
@acting_place_option
def activate(file: Path | None, published: str | None, dry_run: bool, output: str, place: Place) -> None:
    """Publish the policy in FILE and let it hold for every domain. Whoever does it needs the role `tenant_owner`.

    Pending approvals stay. Each is decided again under what holds when it is used, and its grant satisfies only what it
    was asked for.
    """
    if (file is None) == (published is None):
        raise click.UsageError("give a FILE, or --published with the name of a version")
    if file is not None:
        _warn(file, place)
    answer = place.activate_policy(file, published, dry_run=dry_run)
    print_fields(output, fields(answer, dry_run=dry_run))
    say_pending(answer.pending_approvals)


def _warn(file: Path, place: Place) -> None:
    """Says on stderr which actions it would withhold because it cannot be asked about them."""
    for issue in check_policy(policy_text(file), _governing(place))[1]:
        if issue.level == "activation":
            click.echo(visible(f"{file}:{issue.line}  {issue.message}"), err=True)


@command.command("deactivate")
@click.option("--dry-run", is_flag=True, help="Say what would change, and write nothing.")
@output_option
@acting_place_option
def deactivate(dry_run: bool, output: str, place: Place) -> None:
    """Let no policy hold. Published versions stay, and `activate --published` brings one back."""
    answer = place.activate_policy(None, None, dry_run=dry_run)
    print_fields(output, fields(answer, dry_run=dry_run))
    say_pending(answer.pending_approvals)
