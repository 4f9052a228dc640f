"""`kiff check --prove`: what the rules of a domain can never do, and what its author says must always hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from kiff.domain import Domain, loader
from kiff.domain.issue import Finding, issues_of
from kiff.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])


def prove_options(command: F) -> F:
    """Adds `--prove`, `--invariant`, `--invariants` and `--timeout`."""
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(0.001, 3600),
        default=2.0,
        show_default=True,
        help="How many seconds the solver may take for one question.",
    )
    file = click.option(
        "--invariants",
        type=click.Path(path_type=Path),
        help="A file of invariants, one a line; # begins a comment. Proves, too.",
    )
    invariant = click.option(
        "--invariant",
        "invariant",
        multiple=True,
        metavar="TEXT",
        help="What must hold: `parameters.amount > 50 => withheld`, `REFUNDED needs approval`. Proves, too.",
    )
    said = "Prove what rules can never do; takes `pip install 'kiff[prove]'`."
    prove = click.option("--prove", is_flag=True, help=said)
    return prove(invariant(file(timeout(command))))


def wanted(prove: bool, invariant: Sequence[str], invariants: Path | None) -> list[str] | None:
    """The invariants that were given; None when nobody asked for proofs.

    Raises:
        InvalidInput: the file cannot be read.
    """
    if not (prove or invariant or invariants):
        return None
    return [*invariant, *(_lines(invariants) if invariants else ())]


def proved(domain: Domain | None, text: bytes, invariants: Sequence[str], seconds: float) -> list[dict[str, Any]]:
    """What there is to say, in the fields of a finding; nothing of a domain that cannot be loaded.

    Raises:
        InvalidInput: an invariant is none or does not fit the domain, or the solver is not installed.
    """
    from kiff.analysis import prove as proofs  # brings the gate and the step, which a plain check has no use for

    parsed = [proofs.parse(each) for each in invariants]
    if domain is None:
        return []
    document = loader.read(text)
    found = []
    for remark in proofs.prove(domain, document.value, parsed, seconds).remarks:
        [issue] = issues_of([Finding(remark.path, remark.code, remark.reason, remark.fix)], document.lines)
        told: dict[str, Any] = {"line": issue.line, "level": remark.level, "code": issue.code, "path": issue.path}
        found.append(told | {"message": issue.message, "fix": issue.fix, "example": remark.example})
    return found


def _lines(file: Path) -> Iterator[str]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read as text", field="invariants") from error
    yield from (line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
