"""Keeps the plugin, and the callbacks, to what every adapter must uphold."""

from __future__ import annotations

import pytest
from adk_driver import AdkDriver, by_callbacks, by_plugin
from results import keep

from kiff_guard.conformance import run

pytestmark = pytest.mark.filterwarnings("ignore:.*EXPERIMENTAL.*:UserWarning")


@pytest.mark.parametrize("streamed", [False, True], ids=["run", "streamed"])
def test_the_plugin_keeps_the_contract(streamed: bool) -> None:
    keep(run(AdkDriver(by_plugin, streamed=streamed))).check()


def test_the_callbacks_keep_the_contract() -> None:
    run(AdkDriver(by_callbacks)).check()
