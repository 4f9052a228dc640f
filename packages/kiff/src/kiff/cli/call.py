"""What `kiff propose` and `kiff execute` share: a call on an entity, its options, and how it is put to the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kiff.cli.decision import show_decision, show_rehearsed
from kiff.cli.exits import Exit
from kiff.cli.given import pairs
from kiff.cli.output import output_option
from kiff.cli.place import Call, Executors, Place
from kiff.cli.place_options import acting_place_option
from kiff.cli.repeat import repeated, repeating_option
from kiff.protocol.proposal import Mode

F = TypeVar("F", bound=Callable[..., Any])


def call_options(command: F) -> F:
    """Adds what a call is made of, who makes it, and where."""
    for option in reversed(
        (
            click.argument("action"),
            click.argument("entity"),
            click.option("-p", "--parameter", "given", metavar="NAME=VALUE", multiple=True, help="May be repeated."),
            click.option("--parameters", metavar="JSON", help="All of them: a JSON object, @FILE, or - for stdin."),
            click.option(
                "--approval", "approval_id", metavar="ID", help="The granted approval of a call that was held."
            ),
            click.option("--reasoning", metavar="TEXT", help="Why; shown to reviewers, compared nowhere."),
            repeating_option("--id", "proposal"),
            click.option("--dry-run", is_flag=True, help="Say what the gate would say, and write nothing."),
            output_option,
            acting_place_option,
        )
    ):
        command = option(command)
    return command


def put(
    mode: Mode,
    *,
    action: str,
    entity: str,
    given: tuple[str, ...],
    parameters: str | None,
    approval_id: str | None,
    reasoning: str | None,
    id: str | None,
    dry_run: bool,
    output: str,
    place: Place,
    executors: Executors = dict,
    settles: bool = False,
) -> Exit:
    """Puts one call to the gate, or rehearses it, and shows what came of it."""
    said = pairs(given, parameters, flag="--parameters")
    with repeated("--id", id, "prop", quiet=dry_run) as id:
        call = Call(action, entity, said, id, approval_id, reasoning)
        if dry_run:
            return show_rehearsed(place.rehearse(mode, call, executors, settles=settles), output)
        answer, version = place.put(mode, call, executors, settles=settles)
        return show_decision(answer, output, domain_version=version, hints=place.hints)
