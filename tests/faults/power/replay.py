"""The seed of a run: printed, and taken from the environment when a run is to be repeated."""

from __future__ import annotations

import os


def seed_of(variable: str, usual: int) -> int:
    """What this run draws from: the variable, or the usual seed."""
    seed = int(os.environ.get(variable) or usual)
    print(f"{variable}={seed}")
    return seed
