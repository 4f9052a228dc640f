"""tests/frameworks/matrix.toml: every adapter and every extra has its row, and its pins are what the extra promises."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ROOT / "tests" / "frameworks"
sys.path.append(str(FRAMEWORKS))

from environments import NoPython, found  # noqa: E402  # they are there now
from matrix import PINS, Row, rows  # noqa: E402

ALL = rows()
ALONE = [row for row in ALL if "together" not in row.columns]
PROJECT = tomllib.loads((ROOT / "packages/kiff-guard/pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
ADAPTERS = {
    path.stem
    for path in (ROOT / "packages/kiff-guard/src/kiff_guard/adapters").glob("[!_]*.py")
    if "\ndef hook(" in path.read_text("utf-8")
}
PIN = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
RANGE = re.compile(r"([\w.-]+)>=([\d.]+),<([\d.]+)")


def pinned(path: Path) -> dict[str, str]:
    return dict(PIN.findall(path.read_text("utf-8")))


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_every_adapter_has_one_row_of_its_own() -> None:
    driven = [adapter for row in ALONE for adapter in row.adapters]
    assert sorted(driven) == sorted(ADAPTERS)


def test_what_fits_together_is_part_of_the_rest() -> None:
    [together] = [row for row in ALL if "together" in row.columns]
    alone = {adapter: row for row in ALONE for adapter in row.adapters}
    assert set(together.tests) == {tests for adapter in together.adapters for tests in alone[adapter].tests}
    pins = pinned(together.columns["together"].pins)
    for adapter in together.adapters:
        row = alone[adapter]
        named = _wanted(row, "latest")
        assert {name: pins[name] for name in named} == named, row.name


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_a_row_has_both_columns_or_says_why(row: Row) -> None:
    both = {"latest", "floor"} <= set(row.columns) or "together" in row.columns
    assert both != bool(row.why)


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_what_a_row_names_is_there(row: Row) -> None:
    paths = [*(FRAMEWORKS / tests for tests in row.tests), *(column.pins for column in row.columns.values())]
    assert [str(path) for path in paths if not path.exists()] == []
    for column in row.columns.values():
        assert column.pins.with_suffix(".in").exists()


def test_every_pin_file_and_every_folder_of_tests_is_in_a_row() -> None:
    assert {path.name for path in PINS.glob("*.txt")} == {
        column.pins.name for row in ALL for column in row.columns.values()
    }
    folders = {path.name for path in FRAMEWORKS.iterdir() if path.is_dir() and list(path.glob("test_*.py"))}
    assert folders - {tests for row in ALL for tests in row.tests} == set()


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_tested_at_both_ends_of_its_range(extra: str) -> None:
    """The oldest version that it takes is pinned in a floor (or, if there is none, in latest), and none out of it."""
    for requirement in EXTRAS[extra]:
        wanted = RANGE.fullmatch(requirement)
        assert wanted, f"{requirement}: write it as name>=oldest,<next"
        name, oldest, beyond = wanted.groups()
        versions = {
            column: version
            for row in ALONE
            for column, each in row.columns.items()
            if row.adapters  # others have clients or servers of the framework beside what is tested
            if (version := _wanted(row, column).get(name)) is not None and each.pins.exists()
        }
        assert "latest" in versions, f"{name} is in no row"
        inside = {column: number(oldest) <= number(version) < number(beyond) for column, version in versions.items()}
        assert all(inside.values()), (name, versions)
        lowest = number(versions.get("floor", versions["latest"]))
        assert lowest[: len(number(oldest))] == number(oldest), f"{requirement}: its floor is tested with {versions}"


def _wanted(row: Row, column: str) -> dict[str, str]:
    """What a row's .in names: the framework itself, not what comes along."""
    return pinned(row.columns[column].pins.with_suffix(".in")) if column in row.columns else {}


def test_a_python_that_is_not_here_is_said() -> None:
    with pytest.raises(NoPython, match=r"Python 3\.99 is not here"):
        found("3.99")


def test_a_name_that_is_in_no_row_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, FRAMEWORKS, "latest", "langchian"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "no such row in matrix.toml: langchian" in ended.stdout
