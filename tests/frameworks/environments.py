"""An environment for each row and column: its pins, with their hashes, and the guard as it stands here."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from matrix import ROOT, Column, Row

FOLDER = ROOT / ".frameworks"
GUARD = ROOT / "packages" / "kiff-guard"
CLEAN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONWARNINGS", "UV_PYTHON", "PIP_TARGET")


class NoPython(Exception):
    """The Python of a column is not on this machine."""


def made(row: Row, column: str) -> Path:
    """The folder of the environment, with what its pins say and nothing else. Made once; then only what changed.

    Raises:
        NoPython: this machine has none of that version.
        CalledProcessError: the pins could not be installed; its output says why.
    """
    wanted, folder = row.columns[column], FOLDER / f"{row.name}-{column}"
    stamp, mark = folder / ".kiff-stamp", _mark(wanted)
    if stamp.is_file() and stamp.read_text("utf-8") == mark and python_of(folder).exists():
        return folder
    if not python_of(folder).exists():
        uv("venv", "--quiet", "--no-project", "--clear", "--python", found(wanted.python), str(folder))
    _install(folder, wanted.pins)
    uv("pip", "install", "--quiet", "--no-deps", "--reinstall", "--python", python_of(folder), editable_guard())
    stamp.write_text(mark, "utf-8")
    return folder


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def uv(*arguments: str | Path) -> None:
    """The project's own uv."""
    subprocess.run(
        [sys.executable, "-m", "uv", *arguments],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=clean(),
    )


def clean() -> dict[str, str]:
    """The environment without what would change which Python and which packages are used."""
    return {name: value for name, value in os.environ.items() if name not in CLEAN}


def _install(folder: Path, pins: Path) -> None:
    try:
        uv("pip", "sync", "--quiet", "--require-hashes", "--python", python_of(folder), pins)
    except subprocess.CalledProcessError:
        # As .ci/setup does: pip may know an index that uv does not.
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python_of(folder)]
        subprocess.run(
            [*command, "install", "--no-deps", "--require-hashes", "-r", pins],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean(),
        )


def editable_guard() -> Path:
    """A wheel that leads to packages/kiff-guard, made by the hatchling of the project: nothing is fetched for it."""
    wheels = FOLDER / "wheels" / _digest(GUARD / "pyproject.toml")[:16]
    if not list(wheels.glob("*.whl")):
        fresh = wheels.with_name(f"{wheels.name}.{os.getpid()}")
        fresh.mkdir(parents=True, exist_ok=True)
        code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, fresh], check=True, cwd=GUARD, stdout=subprocess.DEVNULL)
        if wheels.exists():
            shutil.rmtree(wheels)
        fresh.rename(wheels)
    return next(wheels.glob("*.whl"))


def found(version: str) -> str:
    """A Python of that version: one on the path that runs, or one that pyenv or uv keeps."""
    for candidate in _candidates(version):
        told = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            env=clean(),
        )
        if told.stdout.strip() == version:
            return candidate
    raise NoPython(f"Python {version} is not here: install it, or put python{version} on the path")


def _candidates(version: str) -> list[str]:
    on_path = [path for name in (f"python{version}", "python3") if (path := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    kept = sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
    return [sys.executable, *on_path, *(str(path) for path in kept)]


def _mark(column: Column) -> str:
    """Changes with what would be installed, and where."""
    made_of = (column.pins, GUARD / "pyproject.toml", Path(__file__))
    return "\n".join((str(ROOT), column.python, *(_digest(path) for path in made_of)))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
