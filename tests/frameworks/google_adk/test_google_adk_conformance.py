"""Keeps the plugin, and the callbacks, to what every adapter must uphold."""

from __future__ import annotations

from adk_driver import AdkDriver, by_callbacks, by_plugin
from results import keep

from kiff_guard.conformance import run


def test_the_plugin_keeps_the_contract() -> None:
    report = run(AdkDriver(by_plugin))
    keep(report)
    report.check()


def test_the_callbacks_keep_the_contract() -> None:
    run(AdkDriver(by_callbacks)).check()
