"""The runtime: pure steps, served in batches by lanes; executors outside; everything durable before it is told."""

from __future__ import annotations

from kiff.runtime.answers import Activated, Decided, Erased, Executed, Ingested, Reviewed, Settled
from kiff.runtime.executors import Operation
from kiff.runtime.pending import Pending
from kiff.runtime.reading import Rebuilt
from kiff.runtime.runtime import Runtime

__all__ = [
    "Activated",
    "Decided",
    "Erased",
    "Executed",
    "Ingested",
    "Operation",
    "Pending",
    "Rebuilt",
    "Reviewed",
    "Runtime",
    "Settled",
]
