"""Keeps the capability to what every adapter must uphold."""

from __future__ import annotations

import pytest
from pydantic_ai_driver import PydanticAI, PydanticAIStreamed
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("driver", [PydanticAI(), PydanticAIStreamed()], ids=["run", "streamed"])
def test_pydantic_ai_keeps_the_contract(driver: PydanticAI) -> None:
    keep(run(driver)).check()
