"""Adapters that are wrong in one way each, and the invariants that find them.

`FLAWS` maps each class to the ids that must fail, no more and no fewer: a flaw that fails everything would hide what
an invariant is good for.
"""

import flawed_calls  # noqa: F401  # each adds its own
import flawed_runs  # noqa: F401
from flawed_loops import FLAWS, OnlySyncVote

__all__ = ["FLAWS", "OnlySyncVote"]
