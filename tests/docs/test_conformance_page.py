"""docs/reference/conformance.md: its tables are what the results say, and every adapter has its rows."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from kiff_guard.conformance import apart, rows

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "frameworks"))  # the matrix, and what makes the table

import conformance_table as table  # noqa: E402  # they are there now
import matrix  # noqa: E402

MODULES = (ROOT / "packages/kiff-guard/src/kiff_guard/adapters").glob("[!_]*.py")
ADAPTERS = sorted(path.stem for path in MODULES if "\ndef hook(" in path.read_text("utf-8"))
"""What has the verb of an adapter; other modules there serve several of them."""
CORE = {"core", "kiff_guard"}
STATEMENTS = {row.id: row.statement for row in rows()} | apart.statements()
MANDATORY = ", ".join(row.id for row in rows() if row.mandatory)


def _page() -> str:
    """The page as the results make it."""
    before, _, rest = table.PAGE.read_text("utf-8").partition(table.BEGIN)
    _, _, after = rest.partition(table.END)
    opening, mark, ending = before.partition("by any adapter: ")
    assert mark, "the page says which invariants may not be lacked"
    before = f"{opening}{mark}{MANDATORY}.\n\n{ending.partition(chr(10) * 2)[2]}"
    return f"{before}{table.BEGIN}\n\n{table.generated(STATEMENTS, table.kept())}\n\n{table.END}{after}"


def test_the_page_is_what_the_results_say() -> None:
    """With KIFF_WRITE_DOCS=1 the page is written anew."""
    if os.environ.get("KIFF_WRITE_DOCS"):
        table.PAGE.write_text(_page(), "utf-8")
    assert table.PAGE.read_text("utf-8") == _page()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_adapter_has_its_results_in_every_column_of_the_matrix(adapter: str) -> None:
    row = next(row for row in matrix.rows() if adapter in row.adapters)
    results = [columns for name, columns in table.kept().items() if table.module_of(name) == adapter]
    assert results, f"`make frameworks NAMES={row.name}` with KIFF_WRITE_DOCS=1 takes over its results"
    for column in set(row.columns) & set(table.COLUMNS):
        assert any(column in columns for columns in results), column


def test_there_are_results_of_nothing_else() -> None:
    assert {table.module_of(name) for name in table.kept()} - set(ADAPTERS) == CORE


def test_the_cases_name_invariants_that_there_are() -> None:
    cases, _, _ = table.PAGE.read_text("utf-8").partition(table.BEGIN)
    named = set(re.findall(r"\b[A-Z][0-9]+\b", cases.partition("| case |")[2]))
    assert named and named <= set(STATEMENTS), named - set(STATEMENTS)


def test_every_result_has_every_invariant() -> None:
    of_adapters, apart_ids = {row.id for row in rows()}, set(apart.CHECKS)
    for name, columns in table.kept().items():
        for column, result in columns.items():
            told = set(result["passed"].split()) | set(result["lacks"])
            assert told == (apart_ids if table.module_of(name) == "kiff_guard" else of_adapters), (name, column)


def test_a_failure_is_never_kept() -> None:
    failed = {"adapter": "x", "version": "1", "results": {"E1": {"verdict": "failed", "why": "it ran"}}}
    with pytest.raises(AssertionError):
        table.short(failed)


def test_control_another_result_is_seen() -> None:
    name, columns = next(iter(table.kept().items()))
    report = {"adapter": name, "version": columns["latest"]["version"], "results": {"E1": {"verdict": "passed"}}}
    assert table.changed("latest", [report]) == [name]
