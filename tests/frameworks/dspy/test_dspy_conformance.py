"""Keeps guarded tools to what every adapter must uphold."""

from __future__ import annotations

from dspy_driver import Dspy
from results import keep

from kiff_guard.conformance import run


def test_dspy_keeps_the_contract() -> None:
    report = run(Dspy())
    keep(report)
    report.check()
