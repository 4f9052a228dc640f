"""The peers' environment: made on the first run out of requirements/bench.txt, ignored by git, never KIFF's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "requirements" / "bench.txt"
FOLDER = ROOT / ".venv" / "peers"
PYTHON = FOLDER / "bin" / "python"
_STAMP = FOLDER / ".pins"


class NotThere(Exception):
    """The environment could not be made; the message says why."""


def peers_python() -> Path:
    """The Python that has the peers.

    Raises:
        NotThere: it cannot be made here.
    """
    if not (PYTHON.is_file() and _STAMP.is_file() and _STAMP.read_text() == PINS.read_text()):
        _make()
        _STAMP.write_text(PINS.read_text())
    return PYTHON


def _make() -> None:
    _run(sys.executable, "-m", "venv", "--clear", str(FOLDER))
    try:
        sync = ("pip", "sync", "--require-hashes", "--python", str(PYTHON), str(PINS))
        _run(sys.executable, "-m", "uv", "--quiet", *sync)
    except NotThere:  # pip may know a nearer index
        install = ("install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
        _run(str(PYTHON), "-m", "pip", *install, "-r", str(PINS))


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        raise NotThere(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines() or ["it said nothing"]
        raise NotThere(f"{' '.join(command[1:3])}: {said[-1][:200]}") from error
