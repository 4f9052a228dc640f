"""Keeps the middleware and the wrappers of a tool node to what every adapter must uphold."""

from __future__ import annotations

import pytest
from langgraph_driver import Agent, Graph
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("driver", [Agent(), Graph()], ids=["agent", "tool node"])
def test_langgraph_keeps_the_contract(driver: Agent | Graph) -> None:
    keep(run(driver)).check()
