"""`kiff diff`: what one version of a domain lets through that another does not, with calls that show it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kiff.cli.domain_file import read_domain
from kiff.cli.exits import Exit
from kiff.cli.output import SCHEMA, output_option, painted, print_json, print_rows
from kiff.cli.pasted import pasted
from kiff.cli.place import Place
from kiff.cli.place_options import place_option
from kiff.cli.policy_file import read_policy
from kiff.cli.safe_text import visible
from kiff.domain import Domain
from kiff.errors import InvalidInput, StoreUnavailable

COLUMNS = ("kind", "action", "reason", "before", "after", "message")
_SHOWN = 60  # characters of a value


@click.command("diff")
@click.argument("before")
@click.argument("after")
@click.option("--no-new-access", is_flag=True, help="End with 1 when AFTER lets through what BEFORE does not.")
@click.option("--prove", is_flag=True, help="Prove that nothing is left out; takes `pip install 'kiff[prove]'`.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.001, 3600),
    default=2.0,
    show_default=True,
    help="How many seconds the solver may take for one question.",
)
@click.option("--policy", type=click.Path(path_type=Path), help="A policy that holds as well.")
@click.option("--new-policy", type=click.Path(path_type=Path), help="The policy that holds for AFTER, instead of it.")
@output_option
@place_option
def command(
    before: str,
    after: str,
    no_new_access: bool,
    prove: bool,
    timeout: float,
    policy: Path | None,
    new_policy: Path | None,
    output: str,
    place: Place,
) -> Exit:
    """What AFTER lets through that BEFORE does not.

    Each is a kiff.yaml, a folder with one, or a published version (`refund-ops-v2`); a change of the policy is looked
    at with the same one twice. Calls are tried on both gates:
    whatever is shown was decided by both. With --prove, what was not found is proved not to be there.
    """
    old = _under(_domain(before, place), policy)
    new = _under(_domain(after, place), new_policy or policy)
    told = compared(old, new, timeout if prove else None)
    for each in told["access"]:
        each["case"] |= {"policy": str(new_policy or policy)} if new_policy or policy else {}
    _print(output, told)
    for line in _summary(told, before, after):
        click.echo(visible(line), err=True)
    return Exit.FAILED if no_new_access and _is_more(told) else Exit.DONE


def compared(before: Domain, after: Domain, seconds: float | None) -> dict[str, Any]:
    """The difference, as JSON tells it.

    Args:
        seconds: what the solver may take for one question; None: nothing is proved.

    Raises:
        InvalidInput: they govern different entity types; or a proof is asked for and the solver is not installed.
    """
    from kiff.analysis.access.difference import (
        difference_json,  # brings the gate and the step, which other commands lack
    )

    return {"before": before.version, "after": after.version, **difference_json(before, after, seconds)}


def _under(domain: Domain, policy: Path | None) -> Domain:
    """The domain with what a policy adds to it."""
    from kiff.analysis.access.governed import governed

    return domain if policy is None else governed(domain, read_policy(policy))


def _domain(named: str, place: Place) -> Domain:
    """The domain of a file, or of a published version.

    Raises:
        InvalidInput: there is no such file, and no database. NotFound: no such version.
    """
    path = Path(named)
    if path.exists() or path.suffix in (".yaml", ".yml", ".json") or "/" in named:
        return read_domain(path)
    try:
        with place.reading() as reading:
            return Domain.from_content(reading.content(named))
    except StoreUnavailable as error:
        hint = "give the path of a kiff.yaml; or a published version, and its database with --db"
        raise InvalidInput(f"`{named}` is no file, and {error.message}", field="BEFORE", hint=hint) from error


def _is_more(told: dict[str, Any]) -> bool:
    """Whether there is more, or may be."""
    return bool(told["access"] or told["moves"] or told.get("unknown"))


def _print(output: str, told: dict[str, Any]) -> None:
    if output == "json":
        print_json({"kiff": SCHEMA, **told})
    elif output == "text" or (output == "auto" and sys.stdout.isatty()):
        for line in _lines(told):
            print(line)
    else:
        print_rows(output, "access", COLUMNS, map(_row, [*told["access"], *told["moves"]]))


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """A line of a table."""
    if "kind" not in found:
        return {**found, "kind": "new_move", "action": "", "reason": found["event"], "after": found["to"]}
    return {**found, "before": found["before"]["outcome"], "after": found["after"]["outcome"]}


def _lines(told: dict[str, Any]) -> Iterator[str]:
    for each in [*told["access"], *told["moves"]]:
        kind = each.get("kind", "new_move")
        yield f"{painted(f'{kind:<13}', 'held')}  {visible(each['message'])}"
        if "kind" in each:
            yield from (f"    {side:<6}  {_answer(each[side])}" for side in ("before", "after"))
        yield from (f"        {line}" for line in pasted(each["case"]))
    for each in told["differences"]:
        values = " -> ".join(_short(each[side]) for side in ("before", "after") if each[side] is not None)
        change = painted(f"{each['change']:<13}", "head")
        yield f"{change}  {visible(each['where'])}  {visible(values)}".rstrip()


def _answer(answer: dict[str, Any]) -> str:
    people = f"  {answer['people']} people" if answer.get("people", 1) > 1 else ""
    return visible(f"{answer['outcome']:<17}  {', '.join(answer['reasons'])}{people}").rstrip()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _summary(told: dict[str, Any], before: str, after: str) -> Iterator[str]:
    more = len(told["access"]) + len(told["moves"])
    yield from (f"not known: {each}" for each in told.get("unknown", ()))
    if more:
        ways = "way" if more == 1 else "ways"
        yield f"{after} lets more through than {before} in {more} {ways}"
    elif told.get("proved"):
        yield f"proved: no call gets further under {after} than under {before}{told['note']}"
    elif "proved" not in told:
        yield f"nothing was found that {after} lets through and {before} does not; --prove makes sure"
