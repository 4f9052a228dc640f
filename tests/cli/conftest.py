from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cli_cases import edited_copy, make_database

from kiff.cli import run


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Kiff = Callable[..., Ran]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `kiff.db`, its key set, `head.txt`, and `edited.db`, in which somebody wrote."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "head.txt").write_bytes(make_database(folder / "kiff.db"))
    edited_copy(folder / "kiff.db", "edited.db", "UPDATE entities SET state = 'PAID' WHERE entity = 'order:ord_001'")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of what was made."""
    here = tmp_path / "here"
    shutil.copytree(made, here)
    monkeypatch.chdir(here)
    for name in ("KIFF_DB", "KIFF_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
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
