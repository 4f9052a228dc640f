"""The rows of matrix.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PINS = ROOT / "requirements" / "frameworks"
COLUMNS = ("latest", "floor", "together")
RESULTS = {"latest": "latest", "floor": "floor", "together": "latest"}
"""In which column of the docs its results belong: what fits one environment is there at its latest version."""
PYTHON = "3.11"


@dataclass(frozen=True)
class Column:
    """One environment of a row: its pins and its Python."""

    pins: Path
    python: str


@dataclass(frozen=True)
class Row:
    """Attributes:
    name: of the row, and of its environments.
    adapters: modules of `kiff_guard.adapters` that its tests drive.
    tests: folders and files below tests/frameworks.
    columns: `latest`, `floor`, or one of them.
    why: the other one is missing.
    """

    name: str
    adapters: tuple[str, ...]
    tests: tuple[str, ...]
    columns: dict[str, Column]
    why: str

    def takes(self, column: str) -> bool:
        """Is there anything to say of it in this column? `together` is of few rows, and those are of nothing else."""
        return column in self.columns or ("together" not in self.columns and column != "together")


def rows(path: Path = HERE / "matrix.toml") -> list[Row]:
    return [_row(given) for given in tomllib.loads(path.read_text("utf-8"))["row"]]


def _row(given: dict[str, Any]) -> Row:
    columns = {
        column: Column(PINS / given[column]["pins"], given[column].get("python", PYTHON))
        for column in COLUMNS
        if column in given
    }
    return Row(given["name"], tuple(given["adapters"]), tuple(given["tests"]), columns, given.get("why", ""))
