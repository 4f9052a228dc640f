"""What a proof has to say to an author: something is wrong, or something could not be decided."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from kiff.domain.issue import Path

Level = Literal["error", "warning", "info", "unknown"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info", "unknown")
"""An `error` is not what the author said it is; a `warning` works, and probably not as meant; an `info` may well be
meant; `unknown` is a question without an answer."""


class Remark(Struct, frozen=True):
    """
    Args:
        code: stable, snake_case.
        path: in the document, e.g. `("actions", 1, "rules", 0, "when")`.
        reason: what follows from what.
        fix: what to do, when that is known.
        example: what shows it, to be pasted into a test file; it was tried.
    """

    code: str
    level: Level
    path: Path
    reason: str
    fix: str = ""
    example: dict[str, Any] | None = None


class Report(Struct, frozen=True):
    """Args: asked: how many questions; proved: to how many of them the answer is sure."""

    remarks: tuple[Remark, ...]
    asked: int
    proved: int
