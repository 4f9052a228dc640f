"""`kiff domains`: which domain versions are published, which govern, and making one govern."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import click

from kiff.cli.answer import fields
from kiff.cli.database import database_option, snapshot
from kiff.cli.domain_file import domain_argument, read_domain
from kiff.cli.noun import Noun
from kiff.cli.output import output_option, print_fields, print_json, print_rows
from kiff.cli.principals import acting_options, caller
from kiff.domain import Domain
from kiff.embedded import open_runtime
from kiff.errors import NotFound
from kiff.protocol.actor import Caller
from kiff.runtime import Activated
from kiff.runtime.clock import Ulids
from kiff.runtime.commands import Activate
from kiff.runtime.rehearsal import Rehearsal
from kiff.stores.memory import MemoryStore

COLUMNS = ("version", "active", "entity_type", "domain", "digest")


@click.group("domains", cls=Noun)
def command() -> None:
    """Publish domain versions, and see which of them govern."""


@command.command("list")
@output_option
@database_option
def list_(output: str, database: Path, tenant: str) -> None:
    """The published versions, and which one governs an entity type."""
    with snapshot(database) as still:
        governs = {row.version: row.entity_type for row in still.active_domains() if row.tenant == tenant}
        rows = [
            {
                "version": row.version,
                "active": "yes" if row.version in governs else "no",
                "entity_type": governs.get(row.version),
                "domain": row.domain,
                "digest": row.digest,
            }
            for row in still.domain_versions()
            if row.tenant == tenant
        ]
    print_rows(output, "domains", COLUMNS, rows)


@command.command("show")
@click.argument("version")
@database_option
def show(version: str, database: Path, tenant: str) -> None:
    """The content of VERSION (`refund-ops-v2`): JSON, and as such a valid kiff.yaml with everything written out."""
    with snapshot(database) as still:
        found = [row for row in still.domain_versions() if (row.tenant, row.version) == (tenant, version)]
    if not found:
        raise NotFound(f"no version `{version}` is published", version=version, hint="kiff domains list")
    print_json(json.loads(found[0].content))


@command.command("apply")
@domain_argument
@click.option("--dry-run", is_flag=True, help="Say whether it could govern, and write nothing.")
@acting_options
@output_option
@database_option
def apply(
    file: Path, dry_run: bool, acting: str | None, principals: Path, output: str, database: Path, tenant: str
) -> None:
    """Publish the domain in FILE and make it govern its entity type. Whoever does it needs the role `tenant_owner`.

    Applying the same content again changes nothing. The database is made when it is not there.
    """
    who = caller(acting, principals, tenant)
    domain = read_domain(file)
    answer = _rehearsed(who, domain, database)  # what is refused leaves no database behind
    answer = answer if dry_run else _applied(who, domain, database)
    print_fields(output, fields(answer, dry_run=dry_run))


def _applied(who: Caller, domain: Domain, database: Path) -> Activated:
    with open_runtime(database) as runtime:
        return runtime.activate(who, domain).result()


def _rehearsed(who: Caller, domain: Domain, database: Path) -> Activated:
    store = snapshot(database) if database.is_file() else nullcontext(MemoryStore())
    with store as still:
        answer: Activated = Rehearsal(still).take(Activate(who, domain, Ulids().draw())).answer
        return answer
