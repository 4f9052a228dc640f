"""What re-runs the kernel over data: verify a whole store, replay its history. It reads; it never writes."""

from __future__ import annotations

from kiff.analysis.leaves import LeavesVerdict, verify_leaves
from kiff.analysis.replay import Replayed, replay_store
from kiff.analysis.verify import StoreVerdict, verify_store

__all__ = ["LeavesVerdict", "Replayed", "StoreVerdict", "replay_store", "verify_leaves", "verify_store"]
