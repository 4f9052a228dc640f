"""`kiff explain`: why a decision came out as it did, and what would have to change."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from kiff.cli.output import SCHEMA, output_option, painted, print_json, print_rows
from kiff.cli.place import Place
from kiff.cli.place_options import place_option
from kiff.cli.safe_text import visible

COLUMNS = ("kind", "name", "said", "detail")
_SAID = {True: "holds", False: "does not hold", None: "was not asked"}
_FITS = {True: "fits", False: "is over", None: "cannot be told"}


@click.command("explain")
@click.argument("id")
@output_option
@place_option
def command(id: str, output: str, place: Place) -> None:
    """Say why a decision came out as it did, and what would have to change for another outcome.

    ID is of a receipt, or of a proposal: then the last decision about it. Every rule is told with what it read, under
    the versions that were in force. Sensitive values and names of reviewers are never told.
    """
    with place.reading() as reading:
        told = reading.explain(id)
    if output == "json":
        print_json({"kiff": SCHEMA, **told})
        return
    rows = list(_rows(told))
    if output == "text" or (output == "auto" and sys.stdout.isatty()):
        _show(told, rows)
    else:
        print_rows(output, "lines", COLUMNS, rows)


def _show(told: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The sentence first, then what was considered, then what would help."""
    versions = " and ".join(filter(None, (told["domain"], told["policy"])))
    colour = {"allowed": "ok", "approval_required": "held"}.get(told["outcome"], "wrong")
    print(f"{painted(told['outcome'], colour)}  {visible(told['message'])}")
    print(visible(f"{told['action']} on {told['entity']} at {told['at']}, under {versions or 'no version'}"))
    print_rows("text", "lines", COLUMNS, rows)


def _rows(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield _line("decision", told["action"], told["outcome"], told["message"])
    yield _line("state", told["state"]["current"], "", f"may start in {', '.join(told['state']['allowed']) or 'none'}")
    yield from (_line("parameter", "", "is wrong", each) for each in told.get("invalid", ()))
    if permissions := told.get("permissions"):
        missing = ", ".join(permissions["missing"])
        said = "missing" if missing else "held"
        yield _line("permissions", ", ".join(permissions["roles"]), said, missing or ", ".join(permissions["required"]))
    if condition := told.get("precondition"):
        yield _line("precondition", "", _said(condition), _read(condition))
    for rule in told.get("rules", ()):
        name = f"{rule['id']} (shadow)" if rule["mode"] == "shadow" else rule["id"]
        yield _line("rule", name, _said(rule["condition"]), _read(rule["condition"]) or rule.get("message", ""))
    for limit in told.get("limits", ()):
        yield _line("limit", limit["id"], _FITS[limit["fits"]], _room(limit))
    for demand in told["approval"].get("demands", ()):
        people = f"{demand['people']} people" if demand["people"] > 1 else "one person"
        roles = f" of {', '.join(demand['roles'])}" if demand["roles"] else ""
        yield _line("asks", demand["rule"], told["approval"].get("standing") or "", f"{people}{roles}")
    for change in told.get("changes", ()):
        yield _line("change", change["objection"], change["leads_to"] or "", change["message"])
    yield from (_line("note", "", "", each) for each in told.get("notes", ()))


def _line(kind: str, name: str | None, said: str, detail: str) -> dict[str, Any]:
    return {"kind": kind, "name": name or "", "said": said, "detail": detail}


def _said(condition: dict[str, Any]) -> str:
    return "has no answer" if condition.get("error") else _SAID[condition["holds"]]


def _read(condition: dict[str, Any]) -> str:
    """`parameters.amount > 50, with parameters.amount = 75`."""
    values = ", ".join(f"{path} = {json.dumps(value)}" for path, value in condition.get("values", {}).items())
    why = f": {condition['error']}" if condition.get("error") else ""
    return (condition.get("when") or "") + why + (f", with {values}" if values else "")


def _room(limit: dict[str, Any]) -> str:
    if limit["fits"] is None:
        return str(limit.get("error") or "nothing was counted")
    unit = f" minor units of {limit['unit']}" if limit.get("unit") else ""
    return f"{limit['used']} used, {limit['asked']} asked, of {limit['cap']}{unit}"
