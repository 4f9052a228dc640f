from __future__ import annotations

from pathlib import Path

import pytest
from analysis_cases import STRIPE, everything_else, five_endings, open_shop


@pytest.fixture(scope="session")
def endings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database with the five endings."""
    path = tmp_path_factory.mktemp("endings") / "refunds.db"
    with open_shop(path) as runtime:
        five_endings(runtime)
    return path


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database in which everything happened once, over more than one tile and one commit."""
    path = tmp_path_factory.mktemp("busy") / "refunds.db"
    with open_shop(path) as runtime:
        five_endings(runtime)
        runtime.checkpoint().result()
        everything_else(runtime)
        runtime.checkpoint().result()
        for number in range(100):
            runtime.ingest(STRIPE, type="ORDER_PLACED", entity=f"order:bulk_{number}").result()
    return path
