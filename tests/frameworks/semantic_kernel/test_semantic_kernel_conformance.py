"""Keeps the filter to what every adapter must uphold."""

from __future__ import annotations

import pytest
from results import keep
from sk_driver import SemanticKernel, SemanticKernelService, SemanticKernelStreamed

from kiff_guard.conformance import run

WAYS = [SemanticKernel(), SemanticKernelStreamed(), SemanticKernelService()]


@pytest.mark.parametrize("driver", WAYS, ids=["agent", "streamed", "service"])
def test_semantic_kernel_keeps_the_contract(driver: SemanticKernel) -> None:
    keep(run(driver)).check()
