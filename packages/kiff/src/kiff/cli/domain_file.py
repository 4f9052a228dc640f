"""The kiff.yaml a command reads: an argument that may be left out, and the domain in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kiff.cli.settings import settings
from kiff.domain import Domain, Issue, check, load
from kiff.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])


def domain_argument(command: F) -> F:
    """Adds FILE, the settings' domain when it is left out."""
    return click.argument("file", type=click.Path(path_type=Path), default=lambda: settings().domain)(command)


def read_text(file: Path) -> bytes:
    """The bytes of a kiff.yaml; of the one in it when a folder is given.

    Raises:
        InvalidInput: there is none, or it cannot be read.
    """
    file = file / "kiff.yaml" if file.is_dir() else file
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        hint = "give its path; `kiff new` makes a project that has one"
        raise InvalidInput(f"there is no file at `{file}`", field="FILE", hint=hint) from error
    except OSError as error:
        raise InvalidInput(f"`{file}` cannot be read: {error.strerror}", field="FILE") from error


def domain_issues(file: Path) -> tuple[Domain | None, tuple[Issue, ...]]:
    """What `kiff.domain.check` says about a kiff.yaml."""
    return check(read_text(file))


def read_domain(file: Path) -> Domain:
    """The domain of a kiff.yaml; a draft is one too.

    Raises:
        InvalidInput: it cannot be read. InvalidDomain: it cannot be loaded.
    """
    return load(read_text(file), str(file))
