"""`make frameworks` says what failed, and never takes silence for success."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ROOT / "tests" / "frameworks"
sys.path.append(str(FRAMEWORKS))

import conformance_table  # noqa: E402  # they are there now
from environments import NoPython  # noqa: E402
from matrix import Column, Row  # noqa: E402

pytestmark = pytest.mark.slow

REPORTS = """
from results import keep
from kiff_guard.conformance import Report, Result

def test_it():
    keep(Report("agno (agent)", "3.1", (Result("E1", "passed"), Result("I1", "lacks", "no ids"))))
"""
KEPT = {"agno (agent)": {"latest": {"version": "3.1", "passed": "E1", "lacks": {"I1": "no ids"}}}}
Go = Callable[..., tuple[int, str]]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with the project's own environment in place of those it would make, and results of its own."""
    spec = importlib.util.spec_from_file_location("frameworks_runner", FRAMEWORKS / "__main__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDER", tmp_path / "frameworks")
    monkeypatch.setattr(module, "made", lambda row, column: ROOT / ".venv")
    monkeypatch.setattr(conformance_table, "KEPT", tmp_path / "conformance.json")
    monkeypatch.delenv("KIFF_WRITE_DOCS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # those of the project take most of the time
    return module


@pytest.fixture
def go(runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Go:
    """Runs one row with tests of this text; (exit status, what was printed)."""

    def go(text: str, adapters: tuple[str, ...] = ("agno",), column: str = "latest") -> tuple[int, str]:
        (tmp_path / "test_row.py").write_text(text, "utf-8")
        row = Row("row", adapters, (str(tmp_path / "test_row.py"),), {"latest": Column(tmp_path, "3.11")}, "because")
        monkeypatch.setattr(runner, "rows", lambda: [row])
        return runner.main([column]), capsys.readouterr().out

    return go


def _kept(known: Any) -> None:
    conformance_table.KEPT.write_text(json.dumps(known), "utf-8")


def test_a_row_that_passes_and_reports_what_the_docs_say_is_ok(go: Go) -> None:
    _kept(KEPT)
    status, told = go(REPORTS)
    assert status == 0, told
    assert told.startswith("ok       row") and "1 passed" in told


@pytest.mark.parametrize(
    "text",
    ["def test_it():\n    assert 0", "", "import nothing_of_that_name", "def test_it(:", "import os; os._exit(0)"],
    ids=["a test fails", "no tests", "an import fails", "no python", "it ends in the middle"],
)
def test_a_row_that_does_not_pass_fails(go: Go, text: str) -> None:
    status, told = go(text, adapters=())
    assert status == 1
    assert told.startswith("FAILED   row") and "1 of 1 failed: row" in told


def test_a_row_without_the_report_of_its_adapter_fails(go: Go) -> None:
    _kept(KEPT)
    status, told = go(REPORTS, ("agno", "hermes"))
    assert status == 1 and "no report of hermes" in told


def test_other_results_than_those_of_the_docs_fail(go: Go) -> None:
    _kept({})
    status, told = go(REPORTS)
    assert status == 1 and "the docs say otherwise of agno (agent)" in told


def test_the_docs_take_over_results_when_they_are_told_to(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIFF_WRITE_DOCS", "1")
    status, _ = go(REPORTS)
    assert status == 0 and conformance_table.kept() == KEPT


def test_what_hangs_is_ended(go: Go, runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LIMIT_SECONDS", 0.5)
    status, told = go("import time\ndef test_it():\n    time.sleep(60)")
    assert status == 1 and "ended after 0.5 s" in told


def test_no_secret_of_the_caller_reaches_a_framework(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    _kept(KEPT)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setenv("KIFF_URL", "https://production")
    status, told = go(f"import os\nassert not {{'OPENAI_API_KEY', 'KIFF_URL'}} & set(os.environ)\n{REPORTS}")
    assert status == 0, told


def test_a_missing_python_is_said_and_fails_nothing(
    go: Go, runner: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(row: Row, column: str) -> Path:
        raise NoPython("Python 3.10 is not here")

    monkeypatch.setattr(runner, "made", missing)
    status, told = go(REPORTS)
    assert status == 0 and told.split(None, 2) == ["skipped", "row", "Python 3.10 is not here\n"]


def test_pins_that_cannot_be_installed_fail(go: Go, runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(row: Row, column: str) -> Path:
        raise subprocess.CalledProcessError(1, "uv", output="no such version\n")

    monkeypatch.setattr(runner, "made", broken)
    status, told = go(REPORTS)
    assert status == 1 and "its pins cannot be installed: no such version" in told


def test_a_column_that_a_row_lacks_is_said(go: Go) -> None:
    status, told = go(REPORTS, column="floor")
    assert status == 0 and told.split() == ["skipped", "row", "because"]
