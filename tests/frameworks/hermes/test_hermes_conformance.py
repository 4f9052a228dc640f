"""Keeps the plugin to what every adapter must uphold."""

from __future__ import annotations

from hermes_driver import Hermes
from results import keep

from kiff_guard.conformance import run


def test_hermes_keeps_the_contract() -> None:
    report = run(Hermes())
    keep(report)
    report.check()
