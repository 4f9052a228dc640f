"""Keeps the hooks to what every adapter must uphold."""

from __future__ import annotations

from claude_driver import ClaudeAgentSdk
from results import keep

from kiff_guard.conformance import run


def test_the_claude_agent_sdk_keeps_the_contract() -> None:
    report = run(ClaudeAgentSdk())
    keep(report)
    report.check()
