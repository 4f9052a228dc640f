"""The contract every adapter keeps, on real agents of Strands."""

from __future__ import annotations

import pytest
from results import keep
from strands_driver import Strands, StrandsStreamed

from kiff_guard.conformance import run


@pytest.mark.parametrize("driver", [Strands(), StrandsStreamed()], ids=["run", "streamed"])
def test_the_hook_keeps_the_contract(driver: Strands) -> None:
    keep(run(driver)).check()
