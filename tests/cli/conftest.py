from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cli_cases import CountedIds, SteadyClock, edited_copy, make_database, make_project
from shop_cases import Shop

from kiff.cli import run

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "server"), str(TESTS / "client")]  # `served`, and `misbehaving`: servers for all tests


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Kiff = Callable[..., Ran]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with `kiff.db`, its key set and `head.txt`, `shop.db`, and `edited.db`, in which somebody wrote."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "head.txt").write_bytes(make_database(folder / "kiff.db"))
    edited_copy(folder / "kiff.db", "edited.db", "UPDATE entities SET state = 'PAID' WHERE entity = 'order:ord_001'")
    make_project(folder)
    return folder


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still and ids are counted, also in the runtimes that commands open by themselves."""
    clock, ids = SteadyClock(), CountedIds(1000)
    clock.at += 600_000
    monkeypatch.setattr("kiff.runtime.clock.SystemClock.now", lambda _: clock.now())
    monkeypatch.setattr("kiff.runtime.clock.Ulids.draw", lambda _: ids.draw())


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of what was made."""
    here = tmp_path / "here"
    shutil.copytree(made, here)
    monkeypatch.chdir(here)
    for name in ("KIFF_DB", "KIFF_COLOR", "KIFF_KEY", "KIFF_URL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here / "config"))
    monkeypatch.setenv("COLUMNS", "100")
    return here


@pytest.fixture
def kiff(folder: Path, capsys: pytest.CaptureFixture[str]) -> Kiff:
    """Runs a command line in the current folder, as if its output went into a pipe."""

    def ran(*argv: str) -> Ran:
        capsys.readouterr()
        code = run(argv)
        out, err = capsys.readouterr()
        return Ran(int(code), out, err)

    return ran


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    """A project folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("db", "domain", "principals", "executors", "tenant", "as", "color"):
        monkeypatch.delenv(f"KIFF_{name.upper()}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "100")
    return Shop(tmp_path, capsys)
