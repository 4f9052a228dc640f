"""The examples as a user runs them: processes of their own, and an outside file that the tests read by themselves."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_SECONDS = 120
WITHHELD = ("COLUMNS", "BANK_FILE", "MAILROOM_FILE")


class Done(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


def start(project: Path, *arguments: str, more: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A Python that runs in a project's folder, and leaves nothing there."""
    environment = {name: value for name, value in os.environ.items() if name not in WITHHELD}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=project,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "ascii"} | (more or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return Done(process.returncode, out, err)


def demo(project: Path, data: Path, *more: str) -> Done:
    return finish(start(project, "demo.py", "--dir", str(data), *more))


def kiff_command(project: Path, line: str) -> Done:
    """A command line as it is typed in the project's folder."""
    return finish(start(project, "-c", "from kiff.cli import main; main()", *line.split()))


def executors(project: Path) -> set[str]:
    """The names that its actions.py registers."""
    done = finish(start(project, "-c", "import actions; print(*actions.EXECUTORS, sep='\\n')"))
    assert done.code == 0, done.err
    return set(done.out.split())


def lines(file: Path) -> list[dict[str, Any]]:
    """An outside file: one object a line."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def copy(project: Path, folder: Path) -> Path:
    """The project as its author wrote it, without what runs left."""
    target = folder / project.name
    shutil.copytree(project, target, ignore=shutil.ignore_patterns("__pycache__", "kiff.db*", "*.jsonl"))
    return target


def altered(project: Path, folder: Path, file: str, before: str, after: str) -> Path:
    """A copy of the project with one change."""
    target = copy(project, folder)
    text = (target / file).read_text("utf-8")
    assert text.count(before) == 1, f"`{file}` no longer has `{before}` once"
    (target / file).write_text(text.replace(before, after), "utf-8")
    return target


@contextmanager
def hanging(project: Path, folder: Path, effect: str) -> Iterator[subprocess.Popen[str]]:
    """A demo that hangs in its first effect, after the effect happened.

    Args:
        effect: the line of actions.py that makes it.
    """
    told = folder / "told"
    os.mkfifo(told)
    hang = f'{effect}\n    open({str(told)!r}, "wb").write(b"!")\n    __import__("threading").Event().wait()'
    pipe = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
    process = start(altered(project, folder, "actions.py", effect, hang), "demo.py", "--dir", str(folder / "data"))
    try:
        assert _readable(pipe, process), "the demo never came to its first effect"
        yield process
    finally:
        os.close(pipe)
        process.kill()
        process.communicate()


def _readable(pipe: int, process: subprocess.Popen[str]) -> bool:
    """Whether something comes through the pipe while the process lives."""
    ready: list[int] = []
    for _ in range(PATIENCE_SECONDS):
        if ready or process.poll() is not None:
            break
        ready, _, _ = select.select([pipe], [], [], 1)
    return bool(ready)
