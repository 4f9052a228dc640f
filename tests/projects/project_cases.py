"""Projects as a user has them: a folder that `kiff new` made, processes of its own, files that a test reads itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import kiff
from kiff.cli import run

TEMPLATE = Path(kiff.__file__).parent / "templates" / "agentic-ops"
PATIENCE_SECONDS = 120
WITHHELD = ("AWS_", "BEDROCK_", "COLUMNS", "KIFF_", "MAKE", "MFLAGS", "MODEL", "NO_COLOR", "OPENAI_", "OUTSIDE_FILE")


class Done(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


def new(folder: Path, name: str = "shop-desk") -> Path:
    """A new project below a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run(["new", name]) == 0
    finally:
        os.chdir(before)
    return folder / name


def start(project: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """A Python that runs in a project's folder.

    Args:
        more: variables of its environment; those that could change what it does are withheld otherwise.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(WITHHELD)}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=project,
        env=kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return Done(process.returncode, out, err)


def demo(project: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Done:
    return finish(start(project, "demo.py", *arguments, **(environment or {})))


def altered(project: Path, file: str, before: str, after: str) -> Path:
    """The project with one change."""
    text = (project / file).read_text("utf-8")
    assert text.count(before) == 1, f"`{file}` no longer has `{before}` once"
    (project / file).write_text(text.replace(before, after), "utf-8")
    return project


def effects(project: Path, *, without_kiff: bool = False) -> list[tuple[str, str]]:
    """(ticket, action) of each effect outside, in order."""
    name = "outside-without-kiff.jsonl" if without_kiff else "outside.jsonl"
    return [(each["ticket"], each["action"]) for each in lines(project / ".run" / name)]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@contextmanager
def imported(*names: str) -> Iterator[list[ModuleType]]:
    """Modules of the template in this process. Their names are plain ones, so they are given back afterwards."""
    own = {path.stem for path in TEMPLATE.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in own if name in sys.modules}
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(TEMPLATE))
    try:
        yield [import_module(name) for name in names]
    finally:
        sys.path.remove(str(TEMPLATE))
        sys.dont_write_bytecode = writes
        for name in own:
            sys.modules.pop(name, None)
        sys.modules.update(before)
