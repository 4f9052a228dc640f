"""What a test file is about, read from disk: the domain and the policy, each with the lines of its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kiff import canonical
from kiff.domain import Domain, Issue, loader
from kiff.domain.document import Json, normal_form
from kiff.domain.domain import MAX_CONTENT_BYTES
from kiff.domain.issue import Finding, issues_of, shown
from kiff.domain.issue import Path as Place
from kiff.domain.loader import Document
from kiff.domain.policy import Policy
from kiff.domain.policy_document import normal_policy
from kiff.domain.policy_problems import policy_structure
from kiff.domain.policy_schema import POLICY
from kiff.domain.problems import problems
from kiff.errors import InvalidDomain, InvalidInput, InvalidJson, InvalidPolicy

USUAL = "kiff.yaml"


class FileIssue(NamedTuple):
    """A problem of one of the files that a test needs."""

    file: Path
    issue: Issue


class Unloadable(Exception):
    """A file cannot be used. `issues` has every problem, in the order of the file."""

    def __init__(self, *issues: FileIssue) -> None:
        super().__init__(*issues)
        self.issues = issues


class Source(NamedTuple):
    """A document as it stands in a file; `lines` are counted from 1."""

    file: Path
    document: Json
    lines: Mapping[Place, int]


class Subject(NamedTuple):
    """What is tested: a domain, and the policy that holds over it."""

    domain: Domain
    source: Source
    policy: Policy | None = None
    policy_source: Source | None = None


class Library:
    """The domains and policies that were read: each file once, whatever number of test files is about it."""

    def __init__(self) -> None:
        self._domains: dict[Path, tuple[Domain, Source]] = {}
        self._policies: dict[Path, tuple[Policy, Source]] = {}

    def domain(self, file: Path) -> tuple[Domain, Source]:
        """The domain of a kiff.yaml; a draft is one too.

        Raises:
            Unloadable: it cannot be read or loaded.
        """
        if file not in self._domains:
            document = read(file)
            _refuse(file, document, problems(document)[0])
            self._domains[file] = domain_of(document.value, file), Source(file, document.value, document.lines)
        return self._domains[file]

    def policy(self, file: Path) -> tuple[Policy, Source]:
        """The policy of a file. Raises as `domain` does."""
        if file not in self._policies:
            document = read(file)
            _refuse(file, document, problems(document, POLICY, policy_structure)[0])
            self._policies[file] = policy_of(document.value, file), Source(file, document.value, document.lines)
        return self._policies[file]

    def find_domain(self, named: str | None, test: Path) -> tuple[Domain, Source]:
        """The domain that a test file names.

        Args:
            named: a path from the test file's folder; a slug: of the kiff.yaml beside it or above; None: the nearest.

        Raises:
            Unloadable: there is none, or it cannot be used.
        """
        if named is not None and is_path(named):
            return self.domain(test.parent / named)
        for file in _above(test):
            domain, source = self.domain(file)
            if named in (None, domain.name):
                return domain, source
        wanted = f"a {USUAL} of the domain {shown(named)}" if named else f"a {USUAL}"
        message = f"expected {wanted} beside this file or in a folder above, found none"
        raise Unloadable(_about(test, "no_domain", message, "name it: `domain: path/to/kiff.yaml`", "domain"))


def is_path(named: str) -> bool:
    """Whether it names a file; otherwise it is a slug."""
    return "/" in named or named.endswith((".yaml", ".yml"))


def read(file: Path) -> Document:
    """The document in a file.

    Raises:
        Unloadable: there is no such file, or no document in it.
    """
    try:
        return loader.read(file.read_bytes())
    except FileNotFoundError:
        raise Unloadable(_about(file, "no_file", f"there is no file at {shown(str(file))}")) from None
    except OSError as error:
        raise Unloadable(_about(file, "unreadable", f"it cannot be read: {error.strerror}")) from error
    except InvalidDomain as error:
        raise Unloadable(*(FileIssue(file, issue) for issue in error.issues)) from error


def domain_of(document: Json, file: Path = Path(USUAL)) -> Domain:
    """The domain that a document without errors says.

    Raises:
        Unloadable: it has errors all the same.
    """
    try:
        return Domain.from_content(canonical.admit(normal_form(document), max_bytes=MAX_CONTENT_BYTES).data)
    except (InvalidDomain, InvalidJson) as error:
        raise Unloadable(*_of_error(file, error)) from error


def policy_of(document: Json, file: Path = Path("policy.yaml")) -> Policy:
    """The policy that a document without errors says. Raises as `domain_of` does."""
    try:
        return Policy.from_content(canonical.admit(normal_policy(document), max_bytes=MAX_CONTENT_BYTES).data)
    except (InvalidPolicy, InvalidJson) as error:
        raise Unloadable(*_of_error(file, error)) from error


def _refuse(file: Path, document: Document, findings: list[Finding]) -> None:
    issues = issues_of(findings, document.lines)
    if any(issue.level == "error" for issue in issues):
        raise Unloadable(*(FileIssue(file, issue) for issue in issues if issue.level == "error"))


def _of_error(file: Path, error: InvalidInput) -> Iterator[FileIssue]:
    issues: tuple[Issue, ...] = getattr(error, "issues", ())
    yield from (FileIssue(file, issue) for issue in issues or (Issue(error.code, "", 0, error.message),))


def _above(test: Path) -> Iterator[Path]:
    """Every kiff.yaml beside a file and above it, the nearest first."""
    for folder in test.absolute().parents:
        file = folder / USUAL
        if file.is_file():
            yield file


def _about(file: Path, code: str, message: str, fix: str = "", path: str = "") -> FileIssue:
    return FileIssue(file, Issue(code, path, 1 if path else 0, message, fix))
