"""The contract every adapter keeps, on real agents of Strands."""

from __future__ import annotations

from results import keep
from strands_driver import Strands

from kiff_guard.conformance import run


def test_the_hook_keeps_the_contract() -> None:
    keep(run(Strands())).check()
