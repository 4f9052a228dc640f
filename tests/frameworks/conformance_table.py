"""docs/reference/conformance.json, which holds what came out, and the page that is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fcntl import LOCK_EX, flock
from itertools import groupby
from typing import Any

from matrix import ROOT

KEPT = ROOT / "docs" / "reference" / "conformance.json"
PAGE = ROOT / "docs" / "reference" / "conformance.md"
FAMILIES = {
    "O": "observe",
    "E": "enforce",
    "R": "receipts",
    "X": "errors",
    "C": "concurrency",
    "A": "awaiting",
    "K": "cancelling",
    "S": "streams",
    "I": "the same call again",
    "H": "people",
    "N": "the client",
    "D": "drafts",
    "B": "boundary",
    "P": "hooks",
}
COLUMNS = ("latest", "floor")
APART = "kiff_guard"
"""The module of what is shown without an adapter: client, drafts, imports, hooks."""
PASSED, LACKED, OTHER = "✓", "–", " "
BEGIN, END = "<!-- conformance: generated -->", "<!-- /conformance -->"

Kept = dict[str, dict[str, Any]]


def module_of(adapter: str) -> str:
    """The module of `kiff_guard.adapters` that a driver drives, by its name: `google-adk (plugin)` is `google_adk`."""
    return adapter.split()[0].replace("-", "_")


def kept() -> Kept:
    """Adapter -> `latest` and `floor` -> version, what passed, and what it lacks and why."""
    return json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}


def changed(column: str, reports: Iterable[Mapping[str, Any]]) -> list[str]:
    """The adapters of whose reports the docs say something else."""
    known = kept()
    return [each["adapter"] for each in reports if known.get(each["adapter"], {}).get(column) != short(each)]


def take_over(column: str, reports: Iterable[Mapping[str, Any]]) -> None:
    """The reports are what the docs say from now on. Several runs may do this at once."""
    with KEPT.open("a+", encoding="utf-8") as file:
        flock(file, LOCK_EX)
        file.seek(0)
        known = json.loads(file.read() or "{}")
        for report in reports:
            known.setdefault(report["adapter"], {})[column] = short(report)
        file.truncate(0)
        file.write(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def short(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as it is kept."""
    results = report["results"].items()
    assert not [id for id, result in results if result["verdict"] == "failed"], report["adapter"]
    return {
        "version": report["version"],
        "passed": " ".join(id for id, result in results if result["verdict"] == "passed"),
        "lacks": {id: result["why"] for id, result in results if result["verdict"] == "lacks"},
    }


def generated(statements: Mapping[str, str], results: Kept) -> str:
    """The part of the page that is made of results.

    Args:
        statements: id -> what must hold, in the order of the table.
    """
    families = [(letter, list(ids)) for letter, ids in groupby(statements, key=lambda id: id[0])]
    parts = []
    for of_adapters in (True, False):
        shown = {name: columns for name, columns in results.items() if (module_of(name) != APART) == of_adapters}
        letters = {id[0] for columns in shown.values() for result in columns.values() for id in _ids(result)}
        parts += [*_table([family for family in families if family[0] in letters], shown), ""]
    return "\n".join((*parts, *_lacked(results), "", *_invariants(statements)))


def _table(families: list[tuple[str, list[str]]], results: Kept) -> Iterable[str]:
    """A row for each adapter; one for each of its versions, where they differ."""
    yield f"| | version | {' | '.join(letter for letter, _ in families)} |"
    yield f"|---|---|{'---|' * len(families)}"
    for adapter, columns in sorted(results.items()):
        rows: dict[str, list[str]] = {}
        for result in (columns[column] for column in COLUMNS if column in columns):
            cells = " | ".join(_marks(result, ids) for _, ids in families)
            rows.setdefault(cells, []).append(result["version"])
        for cells, versions in rows.items():
            yield f"| {adapter} | {', '.join(dict.fromkeys(versions))} | {cells} |"


def _ids(result: Mapping[str, Any]) -> set[str]:
    return set(result["passed"].split()) | set(result["lacks"])


def _marks(result: Mapping[str, Any], ids: list[str]) -> str:
    passed = set(result["passed"].split())
    return "".join(PASSED if id in passed else LACKED if id in result["lacks"] else OTHER for id in ids).strip()


def _lacked(results: Kept) -> Iterable[str]:
    yield "| adapter | lacks | because |"
    yield "|---|---|---|"
    for adapter, columns in sorted(results.items()):
        reasons: dict[str, list[str]] = {}
        for column in COLUMNS:
            for id, why in columns.get(column, {}).get("lacks", {}).items():
                if id not in reasons.setdefault(why, []):
                    reasons[why].append(id)
        for why, ids in reasons.items():
            yield f"| {adapter} | {', '.join(ids)} | {why} |"


def _invariants(statements: Mapping[str, str]) -> Iterable[str]:
    yield "| invariant | what must hold |"
    yield "|---|---|"
    for letter, ids in groupby(statements, key=lambda id: id[0]):
        yield f"| **{letter}** | **{FAMILIES[letter]}** |"
        yield from (f"| {id} | {statements[id]} |" for id in ids)
