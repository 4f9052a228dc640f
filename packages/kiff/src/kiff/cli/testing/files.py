"""Which files are test files, and how a file is called on the screen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from kiff.errors import InvalidInput

ENDINGS = ("_test.yaml", "_test.yml")
_NOT_OURS = frozenset(("__pycache__", "node_modules"))


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files that are named, and all below the folders that are; below the current one, when nothing is named.

    Raises:
        InvalidInput: there is nothing at a path.
    """
    found: dict[Path, None] = {}
    for path in paths or (Path(),):
        if path.is_dir():
            found |= dict.fromkeys(_below(path))
        elif path.exists():
            found[path] = None
        else:
            raise InvalidInput(f"there is no file at `{path}`", field="PATHS", hint="name a test file, or a folder")
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    """In order of their names. Hidden folders, and Python environments, hold other people's files."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if each not in _NOT_OURS and not each.startswith("."))
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        yield from (Path(root, file) for file in sorted(files) if file.endswith(ENDINGS))


def shown_path(file: Path) -> str:
    """From the current folder, when it is in it."""
    whole = Path(os.path.normpath(file.absolute()))
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else file)
