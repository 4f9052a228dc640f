"""The solver, as far as the questions need it: z3, which the extra `kiff[prove]` brings. No decision waits for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from kiff.errors import InvalidInput

Term = Any
"""An expression of z3, which brings no types."""

SECONDS = 2.0
"""What one question may take."""


class Found(NamedTuple):
    """What the solver says to a question: a model is a world in which all of it holds.

    Args:
        why: of `unknown`.
    """

    answer: Literal["yes", "no", "unknown"]
    model: Term = None
    why: str = ""


def library() -> Any:
    """z3.

    Raises:
        InvalidInput: it is not installed.
    """
    try:
        import z3  # type: ignore[import-untyped]
    except ImportError as error:
        message = "proofs take the solver z3, which is not installed: `pip install 'kiff[prove]'`"
        raise InvalidInput(message, field="prove") from error
    return z3


def solve(formulas: Iterable[Term], seconds: float = SECONDS) -> Found:
    """Is there a world in which all of these hold? It is the same answer every time, unless time runs out."""
    z3 = library()
    solver = z3.Solver()
    solver.set("timeout", max(1, round(seconds * 1000)))
    solver.add(*formulas)
    try:
        answer = solver.check()
    except z3.Z3Exception as error:
        return Found("unknown", why=f"the solver failed: {error}")
    if answer == z3.sat:
        return Found("yes", solver.model())
    if answer == z3.unsat:
        return Found("no")
    reason = solver.reason_unknown()
    return Found("unknown", why=f"not decided in {seconds:g} s" if reason in _TIME else f"the solver says: {reason}")


_TIME = ("timeout", "canceled", "interrupted from keyboard", "max. resource limit exceeded")
