"""The shim, built once, and the program that works under it.

One process is started with the shim preloaded, and forks itself for every plan: that is a hundred times cheaper than
a start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WHY_NOT = (
    "needs a C compiler and Linux: the shim is built when the tests run"
    " (apt-get install gcc libc6-dev, or let .ci/run do so)"
)
ROOM_BYTES = 256 << 20
_SOURCE = Path(__file__).with_name("shim.c")
_PROGRAM = Path(__file__).with_name("work.py")


def can_preload() -> bool:
    return sys.platform == "linux" and compiler() is not None


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """Compiles the shim. Returns the library."""
    library = folder / "shim.so"
    given = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", str(library), str(_SOURCE)]
    compiled = subprocess.run([*given, "-lpthread"], check=False, capture_output=True, text=True)
    assert compiled.returncode == 0, f"{_SOURCE.name} does not compile ({WHY_NOT}): {compiled.stderr}"
    return library


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder in memory where there is one: what is durable, and what fails, is said by the shim."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_BYTES
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as folder:
        yield Path(folder).resolve()


class Program:
    """The program of `work.py`, which waits for plans."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Runs one plan to its end.

        Returns:
            {"status": how it ended, as os.waitpid says, "calls": how many calls of each kind it made}.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(plan), file=self._process.stdin, flush=True)
        said = self._process.stdout.readline()
        assert said, "the program under the shim is gone"
        answer: dict[str, Any] = json.loads(said)
        return answer


@contextmanager
def program(library: Path) -> Iterator[Program]:
    """The program, while it runs."""
    path = os.pathsep.join([str(_PROGRAM.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": path}
    command = [sys.executable, str(_PROGRAM)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Program(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
