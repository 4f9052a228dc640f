"""Keeps the middleware to what every adapter must uphold, on a server and on a proxy in front of another one."""

from __future__ import annotations

import pytest
from fastmcp_driver import Fast
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("proxied", [False, True], ids=["server", "proxy"])
def test_fastmcp_keeps_the_contract(proxied: bool) -> None:
    keep(run(Fast(proxied=proxied))).check()
