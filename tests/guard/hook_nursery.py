"""Hooks in processes of their own, without the start of a Python for each.

A nursery is a process that has the hook imported, and forks one for every event: its own pid, streams, variables,
folder, and an end as any process has it. What depends on the start itself asks for a program: `Place.hook(program=…)`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

PATIENCE_SECONDS = 30.0
ENDED = "ended"
FILES = ("stdin", "stdout", "stderr")
IMPORTED = (
    "email.parser",
    "encodings.idna",
    "http.client",
    "ssl",
    "kiff_guard.client",
    "kiff_guard.hooks.commands",
    "kiff_guard.hooks.doctor",
    "kiff_guard.hooks.flow",
    "kiff_guard.hooks.install",
    "kiff_guard.ledgers.jsonl",
    "kiff_guard.tool_map",
)
"""What hooks import when they come to it, of which some takes longer than all the rest."""


class Nursery:
    """The process, as a test holds it. For one thread."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hooks")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-I", __file__], stdin=pipe, stdout=pipe)

    def run(
        self, words: list[str], event: bytes, environment: Mapping[str, str], cwd: Path
    ) -> tuple[int, bytes, bytes]:
        """One hook's life: (exit status, stdout, stderr)."""
        assert self._process.stdin is not None and self._process.stdout is not None
        files = [Path(self._folder.name) / name for name in FILES]
        for path in files:
            path.write_bytes(b"")
        files[0].write_bytes(event)
        plan = {
            "words": words,
            "environment": dict(environment),
            "cwd": str(cwd),
            "files": [str(each) for each in files],
        }
        self._process.stdin.write(json.dumps(plan).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], PATIENCE_SECONDS)[0]:
            self._process.kill()
            born.cache_clear()
        told = self._process.stdout.readline()
        assert told, f"the hook did not end: {words}"
        return json.loads(told)[ENDED], files[1].read_bytes(), files[2].read_bytes()

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE_SECONDS)
        self._folder.cleanup()


@cache
def born() -> Nursery:
    """The one nursery of all tests in a process."""
    nursery = Nursery()
    atexit.register(nursery.end)
    return nursery


def main() -> None:
    """The nursery itself."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()
    plans, told = os.fdopen(os.dup(0), "rb"), os.dup(1)
    while line := plans.readline():
        child = os.fork()
        if child == 0:
            os.close(plans.fileno())
            os.close(told)
            _live(json.loads(line))
        _, status = os.waitpid(child, 0)
        os.write(told, json.dumps({ENDED: os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def _live(plan: dict[str, object]) -> None:
    """The life of a hook, up to the end of its process."""
    from kiff_guard.hooks import main as hook

    words, environment, files = plan["words"], plan["environment"], plan["files"]
    assert isinstance(words, list) and isinstance(environment, dict) and isinstance(files, list)
    for number, path in enumerate(files):
        os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(plan["cwd"]))
    sys.argv[1:] = words
    sys.exit(hook())


if __name__ == "__main__":
    main()
