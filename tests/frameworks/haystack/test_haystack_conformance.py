"""The contract every adapter keeps, on real agents of Haystack."""

from __future__ import annotations

from haystack_driver import Haystack
from results import keep

from kiff_guard.conformance import run


def test_guarded_tools_keep_the_contract() -> None:
    keep(run(Haystack())).check()
