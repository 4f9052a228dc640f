"""`kiff simulate`: what a draft would have decided, over everything that was decided."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kiff.cli.exits import Exit
from kiff.cli.output import SCHEMA, output_option, painted, print_json, print_rows
from kiff.cli.place import Place, Trial
from kiff.cli.place_options import place_option
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.settings import settings

COLUMNS = ("action", "before", "after", "reason", "decisions", "value", "example")


@click.command("simulate")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--against",
    type=click.Choice(["history"]),
    default="history",
    show_default=True,
    help="What is decided again: the decisions that were recorded.",
)
@click.option("--since", help="Only decisions of this time: `90d`, `12h`, or from 2026-05-24T09:53:55Z on.")
@click.option("--action", help="Only decisions on this action.")
@click.option("--policy", type=click.Path(path_type=Path), help="A draft of the policy, which holds for every domain.")
@click.option(
    "--sequential/--independent",
    default=False,
    help="Whether what is decided otherwise changes what comes after it.  [default: independent]",
)
@click.option(
    "--examples", type=click.IntRange(0, 20), default=3, show_default=True, help="How many decisions of each kind."
)
@click.option(
    "--minutes-per-approval", "minutes", type=click.FloatRange(0, 10_000), help="What one yes takes of a person's time."
)
@click.option("--fail-on", type=click.Choice(["new-allows"]), help="End with 1 when something new would be allowed.")
@output_option
@place_option
def command(
    file: Path | None,
    against: str,
    since: str | None,
    action: str | None,
    policy: Path | None,
    sequential: bool,
    examples: int,
    minutes: float | None,
    fail_on: str | None,
    output: str,
    place: Place,
) -> Exit:
    """Decide history again under a draft, and say what would have been different. Nothing is changed.

    FILE is a kiff.yaml, or a folder with one. With --policy alone, every decision keeps the domain version it was made
    under. Limits are counted again in the order in which calls came.
    """
    if file is None and policy is None:
        file = settings().domain
    trial = Trial(
        file=file,
        policy=policy,
        since=since,
        action=action,
        sequential=sequential,
        examples=examples,
        minutes=minutes,
    )
    with place.reading() as reading, progress("deciding history again"):
        told = reading.simulate(trial)
    _print(output, told)
    for line in _summary(told):
        click.echo(visible(line), err=True)
    return Exit.FAILED if fail_on == "new-allows" and told["new_allows"] else Exit.DONE


def _print(output: str, told: dict[str, Any]) -> None:
    if output == "json":
        print_json({"kiff": SCHEMA, **told})
    elif output == "jsonl":
        print_rows(output, "flips", COLUMNS, told["flips"])
    elif output == "text" or (output == "auto" and sys.stdout.isatty()):
        print_rows("text", "flips", COLUMNS[:-1], map(_row, told["flips"]))
        for line in _examples(told):
            print(line)
    else:
        print_rows(output, "flips", COLUMNS, map(_row, told["flips"]))


def _row(flip: dict[str, Any]) -> dict[str, Any]:
    value = ", ".join(f"{each['parameter']} {each['sum']} {each['unit']}" for each in flip["value"])
    example = flip["examples"][0]["receipt_id"] if flip["examples"] else ""
    return {**flip, "value": value, "example": example}


def _examples(told: dict[str, Any]) -> Iterator[str]:
    for flip in told["flips"]:
        head = f"{flip['action']} {flip['before']} -> {flip['after']}"
        for each in flip["examples"]:
            where = f"{each['receipt_id']}  {each['at']}  {each['entity']}"
            yield f"{painted(visible(head), 'head')}  {visible(where)}  {visible(each['why'])}"


def _summary(told: dict[str, Any]) -> Iterator[str]:
    """What it comes to, what could not be told, and what was supposed."""
    window, counted = told["window"], told["decisions"]
    when = f" from {window['since']} to {window['until']}" if window["since"] else ""
    flipped = f"{told['flipped']} differ ({told['new_allows']} newly allowed)"
    left = f"{told['undecided']} not decided again, {told['moot']} not compared"
    yield f"{counted} decisions{when}: {told['same']} the same, {flipped}, {left}"
    yield from _people(told["approvals"])
    for each in told["undecided_because"]:
        some = ", ".join(each["receipts"])
        yield f"not decided again: {each['decisions']}, {each['message']}" + (f" (as {some})" if some else "")
    if not window["complete"]:
        yield f"time was up: only the decisions up to {window['until']} are in it"
    yield from (f"assumed: {each}" for each in told["assumptions"])


def _people(asked: dict[str, Any]) -> Iterator[str]:
    if not (asked["before"] or asked["after"]):
        return
    minutes = asked.get("minutes_per_day")
    time = "" if minutes is None else f", {minutes:+g} minutes a day"
    change = f"{asked['added_per_day']:g} a day more, {asked['removed_per_day']:g} a day fewer"
    yield f"approvals: {asked['before']} were asked for, {asked['after']} would be: {change}{time}"
