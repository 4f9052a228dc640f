"""Keeps the tool hook to what every adapter must uphold."""

from __future__ import annotations

from agno_driver import Agno
from results import keep

from kiff_guard.conformance import run


def test_agno_keeps_the_contract() -> None:
    report = run(Agno())
    keep(report)
    report.check()
