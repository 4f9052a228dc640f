"""History decided again under a draft: what would change, for whom, and what of it can be told."""

from __future__ import annotations

from kiff.analysis.simulate.answer import Simulated
from kiff.analysis.simulate.draft import Draft
from kiff.analysis.simulate.simulation import Question, simulate

__all__ = ["Draft", "Question", "Simulated", "simulate"]
