"""Keeps the filter to what every adapter must uphold."""

from __future__ import annotations

from results import keep
from sk_driver import SemanticKernel

from kiff_guard.conformance import run


def test_semantic_kernel_keeps_the_contract() -> None:
    report = run(SemanticKernel())
    keep(report)
    report.check()
