"""Keeps the extension to what every adapter must uphold, in both eras of the protocol."""

from __future__ import annotations

import pytest
from mcp_driver import MCP
from results import keep

from kiff_guard.conformance import run


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("attaches", [False, True], ids=["extension", "attach"])
def test_mcp_keeps_the_contract(mode: str, attaches: bool) -> None:
    keep(run(MCP(mode, attaches=attaches))).check()
