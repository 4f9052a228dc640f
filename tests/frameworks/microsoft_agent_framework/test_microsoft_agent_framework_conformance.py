"""The contract every adapter keeps, on real agents of Microsoft Agent Framework."""

from __future__ import annotations

from maf_driver import AgentFramework
from results import keep

from kiff_guard.conformance import run


def test_the_middleware_keeps_the_contract() -> None:
    keep(run(AgentFramework())).check()
