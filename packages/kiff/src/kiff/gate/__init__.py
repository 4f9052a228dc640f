"""The gate: decides whether a proposal may run. Pure; refusal is a value."""

from __future__ import annotations

from kiff.gate.decide import CHECKS, decide
from kiff.gate.reasons import MESSAGES, explain

__all__ = ["CHECKS", "MESSAGES", "decide", "explain"]
