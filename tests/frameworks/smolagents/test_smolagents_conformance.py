"""Keeps both kinds of agents to what every adapter must uphold."""

from __future__ import annotations

from results import keep
from smolagents_driver import Smolagents, SmolagentsCode

from kiff_guard.conformance import run


def test_smolagents_keeps_the_contract() -> None:
    report = run(Smolagents())
    keep(report)
    report.check()


def test_smolagents_that_write_code_keep_the_contract() -> None:
    report = run(SmolagentsCode())
    keep(report)
    report.check()
