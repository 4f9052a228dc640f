"""Keeps the tool hook to what every adapter must uphold."""

from __future__ import annotations

import pytest
from agno_driver import Agno, AgnoStreamed
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("driver", [Agno(), AgnoStreamed()], ids=["run", "streamed"])
def test_agno_keeps_the_contract(driver: Agno) -> None:
    keep(run(driver)).check()
