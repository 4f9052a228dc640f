"""Keeps the wrapped tools to what every adapter must uphold."""

from __future__ import annotations

import pytest
from openai_driver import OpenAIAgents, OpenAIAgentsStreamed
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("driver", [OpenAIAgents(), OpenAIAgentsStreamed()], ids=["run", "streamed"])
def test_openai_agents_keep_the_contract(driver: OpenAIAgents) -> None:
    keep(run(driver)).check()
