"""`kiff entities`: everything that is governed, and what may be done with it now."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from kiff.cli.database import database_option, snapshot
from kiff.cli.noun import Noun
from kiff.cli.output import MOST_ROWS, output_option, print_fields, print_rows
from kiff.cli.safe_text import visible
from kiff.domain import Domain
from kiff.errors import NotFound
from kiff.protocol.action import ActionContract
from kiff.protocol.ids import split_ref
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Store
from kiff.runtime.reading import Reading
from kiff.runtime.rounds import active_domains
from kiff.runtime.rows import ActiveDomain, Runway

PAGE = 1000


@click.group("entities", cls=Noun)
def command() -> None:
    """See which entities there are, and what may be done with one."""


@command.command("list")
@click.option("--state", help="Only those in this state.")
@click.option("--type", "entity_type", help="Only of this entity type.")
@click.option("--after", default="", metavar="ENTITY", help="Only those behind this one in order.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=PAGE, show_default=True, help="At most so many.")
@output_option
@database_option
def list_(
    state: str | None, entity_type: str | None, after: str, limit: int, output: str, database: Path, tenant: str
) -> None:
    """The entities and their states, in order of their names."""
    with snapshot(database) as still:
        found = (e for e in _entities(still, tenant, after) if _is_one(e, state, entity_type))
        shown = list(islice(found, limit))
        more = next(found, None) is not None
    rows = [{"entity": e.entity, "state": e.state, "version": e.version, "domain": e.domain} for e in shown]
    print_rows(output, "entities", ("entity", "state", "version", "domain"), rows)
    if more:
        click.echo(f"more: --after {shown[-1].entity}", err=True)
    if not rows:
        click.echo(f"no such entity of the tenant `{visible(tenant)}`", err=True)


@command.command("show")
@click.argument("entity")
@output_option
@database_option
def show(entity: str, output: str, database: Path, tenant: str) -> None:
    """One ENTITY: its state, who holds it, what waits for a person, and the actions that may start now."""
    ref = ":".join(split_ref(entity))
    with snapshot(database) as still:
        found = Reading(still, {}).state(ref, tenant=tenant)
        if found is None:
            raise NotFound(f"nothing has happened to `{entity}`", entity=entity, tenant=tenant)
        domain = _governing(still, tenant, ref)
        runway = still.row(Runway, tenant, ref)
        waiting = [a.id for a in still.approvals(tenant, status="pending") if a.entity == ref]
    fields = {
        "entity": found.entity,
        "state": found.state,
        "version": found.version,
        "domain": None if domain is None else domain.version,
        "held_by": None if runway is None else runway.holder,
        "waiting_approvals": waiting,
        "actions": [] if domain is None else [_said(c) for c in _startable(domain, found.state)],
    }
    print_fields(output, fields)


def _entities(store: Store, tenant: str, after: str) -> Iterator[EntityState]:
    while page := store.entities(tenant, after=after, limit=PAGE):
        yield from page
        after = page[-1].entity


def _is_one(entity: EntityState, state: str | None, entity_type: str | None) -> bool:
    of_type = entity_type is None or entity.entity.startswith(f"{entity_type.lower()}:")
    return of_type and state in (None, entity.state)


def _governing(store: Store, tenant: str, ref: str) -> Domain | None:
    row = store.row(ActiveDomain, tenant, ref.partition(":")[0])
    return None if row is None else active_domains(store)[row.digest]


def _startable(domain: Domain, state: str | None) -> list[ActionContract]:
    return [contract for contract in domain.actions.values() if state in contract.allowed_states]


def _said(contract: ActionContract) -> str:
    """`REFUND_ORDER (high, approval)`."""
    asks = "" if contract.approval_requirement == "never" else ", approval"
    return f"{contract.name} ({contract.risk}{asks})"
