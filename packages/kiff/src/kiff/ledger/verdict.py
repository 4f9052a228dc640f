"""What a verifier answers. A proof that does not hold is a value here, never an exception."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Status = Literal["valid", "invalid", "undecidable"]
"""`undecidable`: something the answer needs (a key, a proof) is not there; it is not a kind of valid."""


class Problem(Struct, frozen=True):
    """One thing that does not hold, as exactly as it can be named.

    Args:
        where: the part it is in: `receipt`, `record 17`, `checkpoint`.
        field: the member in it, empty when no single one can be named.
        message: what was expected and what was found.
        undecidable: it could not be checked, rather than being wrong.
    """

    where: str
    field: str
    message: str
    undecidable: bool = False


class Rung(Struct, frozen=True):
    """One step of the ladder.

    Args:
        ok: True it holds, False it does not, None it was not checked.
        detail: what that means, and what it leaves unchecked.
    """

    name: str
    ok: bool | None
    detail: str


class Verdict(Struct, frozen=True):
    """The whole answer: `status` is that of the worst problem; the rungs come lowest first."""

    status: Status
    rungs: tuple[Rung, ...]
    problems: tuple[Problem, ...]

    @property
    def reached(self) -> str:
        """The highest rung below which every rung holds; empty when the first does not."""
        name = ""
        for rung in self.rungs:
            if not rung.ok:
                break
            name = rung.name
        return name


def status_of(problems: tuple[Problem, ...]) -> Status:
    """`invalid` if anything is wrong, else `undecidable` if anything could not be checked, else `valid`."""
    if not problems:
        return "valid"
    return "undecidable" if all(problem.undecidable for problem in problems) else "invalid"
