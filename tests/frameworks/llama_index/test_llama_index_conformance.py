"""Keeps the guarded step to what every adapter must uphold, in a workflow and in an agent that runs alone."""

from __future__ import annotations

import pytest
from llama_driver import LlamaDriver, alone, workflow
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("streamed", [False, True], ids=["run", "streamed"])
def test_a_guarded_workflow_keeps_the_contract(streamed: bool) -> None:
    keep(run(LlamaDriver(workflow, streamed=streamed))).check()


def test_a_guarded_agent_alone_keeps_the_contract() -> None:
    run(LlamaDriver(alone)).check()
