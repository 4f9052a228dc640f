"""The contract every adapter keeps, on real agents of Microsoft Agent Framework."""

from __future__ import annotations

import pytest
from maf_driver import AgentFramework, AgentFrameworkStreamed
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("driver", [AgentFramework(), AgentFrameworkStreamed()], ids=["run", "streamed"])
def test_the_middleware_keeps_the_contract(driver: AgentFramework) -> None:
    keep(run(driver)).check()
