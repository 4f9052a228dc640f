"""Keeps the wrapped tools to what every adapter must uphold."""

from __future__ import annotations

from openai_driver import OpenAIAgents
from results import keep

from kiff_guard.conformance import run


def test_openai_agents_keep_the_contract() -> None:
    keep(run(OpenAIAgents())).check()
