"""Keeps the capability to what every adapter must uphold."""

from __future__ import annotations

from pydantic_ai_driver import PydanticAI
from results import keep

from kiff_guard.conformance import run


def test_pydantic_ai_keeps_the_contract() -> None:
    report = run(PydanticAI())
    keep(report)
    report.check()
