"""`kiff test --boundaries`: cases at every threshold, printed, or added to a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kiff.analysis.cases import Library
from kiff.analysis.cases.boundary import boundaries
from kiff.analysis.cases.document import Json
from kiff.analysis.cases.source import Subject
from kiff.analysis.cases.writing import appended, new_file
from kiff.cli.settings import settings
from kiff.cli.testing.run import Run
from kiff.errors import InvalidInput


def subject_of(run: Run, domain: Path | None, policy: Path | None) -> Subject:
    """What the thresholds are of: what the test files are about; without any, the domain of the settings.

    Raises:
        InvalidInput: they are about several domains.
        Unloadable: the domain cannot be loaded.
    """
    if len(run.subjects) > 1:
        named = ", ".join(subject.domain.version for subject in run.subjects)
        message = f"expected test files of one domain, found those of {named}"
        raise InvalidInput(message, field="PATHS", hint="name the files of one domain, or --domain")
    if run.subjects:
        return run.subjects[0]
    library = Library()
    policies = (None, None) if policy is None else library.policy(policy)
    return Subject(*library.domain(domain or settings().domain), *policies)


def found(subject: Subject) -> list[Json]:
    """A case on both sides of every threshold, as test files have them."""
    return [each.written for each in boundaries(subject)]


def text_of(subject: Subject, cases: Sequence[Json], folder: Path) -> str:
    """A test file with these cases.

    Args:
        folder: where it is to stand: its paths are from there.
    """
    source = subject.policy_source
    policy = None if source is None else _from(source.file, folder)
    return new_file(_from(subject.source.file, folder), policy, cases)


def write(subject: Subject, cases: Sequence[Json], file: Path) -> int:
    """Adds the cases that a file does not have yet, or makes the file. Returns how many.

    Raises:
        InvalidInput: they cannot be added.
    """
    if not file.exists():
        file.write_text(text_of(subject, cases, file.parent), "utf-8")
        return len(cases)
    text, added = appended(file.read_text("utf-8"), cases)
    file.write_text(text, "utf-8")
    return added


def _from(file: Path, folder: Path) -> str:
    return os.path.relpath(file.absolute(), folder.absolute())
