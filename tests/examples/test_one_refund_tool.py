"""The example one-refund-tool, run as it is: three outcomes, and its controls."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "one-refund-tool"


def ran(project: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(project / "three_outcomes.py"), "--dir", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_small_ones_run_large_ones_wait_and_the_largest_never_happen(tmp_path: Path) -> None:
    for run in (1, 2):
        told = ran(EXAMPLE, tmp_path)
        assert (told.returncode, told.stderr) == (0, "")
        lines = [line.split() for line in told.stdout.splitlines()]
        assert [line[1] for line in lines] == [f"pur_{run}"] * 6
        assert [(line[2], line[3]) for line in lines[:3]] == [
            ("$49.00", "allowed"),
            ("$4,900.00", "approval_required"),
            ("$7,000.00", "blocked"),
        ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("parameters.amount > 50\n", "parameters.amount > 5000\n"),
        ("parameters.amount > 5000", "parameters.amount > 8000"),
    ],
)
def test_control_with_another_threshold_it_is_not_as_promised(tmp_path: Path, before: str, after: str) -> None:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project)
    text = (project / "kiff.yaml").read_text("utf-8")
    assert before in text
    (project / "kiff.yaml").write_text(text.replace(before, after), "utf-8")
    told = ran(project, tmp_path / "data")
    assert told.returncode == 1
    assert "not as promised" in told.stderr
