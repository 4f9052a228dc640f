"""One decision explained: what was considered, and what would have to change for another outcome."""

from __future__ import annotations

from kiff.analysis.explain.answer import Explanation
from kiff.analysis.explain.explanation import explain
from kiff.analysis.explain.found import last_receipt, receipt_of

__all__ = ["Explanation", "explain", "last_receipt", "receipt_of"]
