"""Tells KIFF that a gateway runs, and which tools its server has. Whatever goes wrong with that stops nothing."""

from __future__ import annotations

from threading import Lock, Thread
from typing import Any

from kiff_guard.guard import Guard
from kiff_guard.mcp.shelf import Shelf
from kiff_guard.observation import GuardToolObservation, observations


class Reporter:
    """Reports in the background, and once more at the end.

    Args:
        guard: has a client that can.
        shelf: what the server says of its tools, for people to read.
        tell: told what went wrong, in one line.
    """

    def __init__(self, guard: Guard, adapter: str, shelf: Shelf, tell: Any) -> None:
        self._guard = guard
        self._adapter = adapter
        self._shelf = shelf
        self._tell = tell
        self._connected = False
        self._lock = Lock()

    def soon(self) -> None:
        """There is something new."""
        Thread(target=self.now, name="report", daemon=True).start()

    def now(self) -> None:
        with self._lock:
            try:
                if not self._connected:
                    self._guard.connect(self._adapter)
                    self._connected = True
                self._guard.client.observe_guard(
                    agent_id=self._guard.agent, adapter=self._adapter, mode=self._guard.mode, tools=self.tools()
                )
            except Exception as error:  # noqa: BLE001  # a report is a help, and no reason to stop a tool
                self._tell(f"KIFF could not be told of the tools: {type(error).__name__}: {error}")

    def tools(self) -> list[GuardToolObservation]:
        """What was called, and what could be."""
        tool_map = getattr(self._guard.client, "tool_map", None)
        called = {each.name: each for each in observations(self._guard.catalog, tool_map)}
        for listed in self._shelf.all():
            seen = called.setdefault(listed.name, GuardToolObservation(listed.name, observed_call_count=0))
            seen.description = listed.description or None
            seen.parameter_schema = listed.schema or seen.parameter_schema
        return list(called.values())[:500]
