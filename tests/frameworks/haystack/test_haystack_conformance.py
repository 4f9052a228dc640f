"""The contract every adapter keeps, on real agents of Haystack."""

from __future__ import annotations

import pytest
from haystack_driver import Haystack, HaystackStreamed
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("driver", [Haystack(), HaystackStreamed()], ids=["run", "streamed"])
def test_guarded_tools_keep_the_contract(driver: Haystack) -> None:
    keep(run(driver)).check()
