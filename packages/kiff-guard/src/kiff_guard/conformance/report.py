"""What came of a run of the suite: for each invariant passed, failed and why, or lacked and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PASSED, FAILED, LACKS = "passed", "failed", "lacks"


class Violated(AssertionError):
    """An invariant does not hold; the message says what was seen instead."""


class NotConformant(AssertionError):
    """An adapter failed the suite; the message names each invariant and what was seen."""


@dataclass(frozen=True)
class Result:
    """Attributes:
    id: of the invariant.
    verdict: passed, failed or lacks.
    why: of a failure or a lack.
    """

    id: str
    verdict: str
    why: str = ""


@dataclass(frozen=True)
class Report:
    """Attributes:
    adapter: its driver's name.
    version: the framework's, "" if the driver does not say.
    """

    adapter: str
    version: str
    results: tuple[Result, ...]

    @property
    def failures(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.verdict == FAILED)

    @property
    def conformant(self) -> bool:
        return bool(self.results) and not self.failures

    def check(self) -> Report:
        """Itself, if nothing failed.

        Raises:
            NotConformant: names every failure.
        """
        if not self.results:
            raise NotConformant(f"{self.adapter}: nothing was checked")
        if self.failures:
            lines = (f"  {result.id}: {result.why}" for result in self.failures)
            raise NotConformant(
                "\n".join((f"{self.adapter} fails {len(self.failures)} of {len(self.results)}:", *lines))
            )
        return self

    def verdict(self, invariant: str) -> str:
        return next(result.verdict for result in self.results if result.id == invariant)

    def as_dict(self) -> dict[str, Any]:
        """As JSON, for the table in the docs."""
        return {
            "adapter": self.adapter,
            "version": self.version,
            "results": {
                result.id: {"verdict": result.verdict, **({"why": result.why} if result.why else {})}
                for result in self.results
            },
        }
