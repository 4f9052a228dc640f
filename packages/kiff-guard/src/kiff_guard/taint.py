"""What a run has touched: text that somebody outside may have written, and data that must not leave."""

from __future__ import annotations

from typing import Any


class Taint:
    """One run's account. Once tainted a run stays so; a new run begins clean.

    Args:
        run_id: names the run.
        untrusted_tools: tools whose results taint it with somebody else's words.
        sensitive_tools: tools whose results must not leave.
    """

    def __init__(self, run_id: str, untrusted_tools: frozenset[str], sensitive_tools: frozenset[str]) -> None:
        self.run_id = run_id
        self.untrusted = self.sensitive = False
        self._untrusted_tools = untrusted_tools
        self._sensitive_tools = sensitive_tools

    def start(self, run_id: str) -> None:
        self.run_id = run_id
        self.untrusted = self.sensitive = False

    def ran(self, tool: str) -> None:
        """A tool was let run: whatever comes after it comes after what it read."""
        self.untrusted = self.untrusted or tool in self._untrusted_tools
        self.sensitive = self.sensitive or tool in self._sensitive_tools

    def context(self) -> dict[str, Any] | None:
        """As PROTOCOL.md's `run_context`; None when nothing was said of the run at all: absent is not false."""
        watches = self._untrusted_tools or self._sensitive_tools or self.untrusted or self.sensitive
        if not (watches or self.run_id):
            return None
        known: dict[str, Any] = {"untrusted_input": self.untrusted, "sensitive_read": self.sensitive}
        return known | {"run_id": self.run_id} if self.run_id else known
