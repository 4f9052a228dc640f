"""The figures of the fault tests add up over runs and processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from reliability import log_file, note_run, totals


@pytest.fixture(autouse=True)
def own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIFF_RELIABILITY_LOG", str(tmp_path / "made" / "runs.jsonl"))


def test_runs_of_one_kind_add_up_and_kinds_stay_apart() -> None:
    note_run("kill", 7, {"kills": 3, "lost": 0})
    note_run("kill", 8, {"kills": 4, "lost": 1})
    note_run("cut", 9, {"cuts": 5})
    assert totals(log_file()) == {"kill": {"kills": 7, "lost": 1}, "cut": {"cuts": 5}}


def test_a_line_holds_the_seed_that_replays_it() -> None:
    note_run("kill", 1 << 40, {"kills": 1})
    assert f'"seed": {1 << 40}' in log_file().read_text()
