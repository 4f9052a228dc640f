"""What a guard has seen: which tools are called, with which parameters, by whom, how often. Values are never kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

TOOLS_LIMIT = 500
"""How many tools are kept: as many as KIFF takes in one report. Calls of others are counted in `beyond`."""
NAMES_LIMIT = 128
"""How many parameters of a tool, and how many agents, are kept."""
LETTERS_LIMIT = 128

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}


@dataclass
class Catalog:
    """The tools seen so far. Safe to use from many threads: counts are exact.

    Attributes:
        tools: the names of each tool's parameters.
        agents: who called.
        counts: how often each tool was called.
        types: the JSON types each parameter was seen with.
        beyond: calls of tools that came after the catalog was full.
    """

    tools: dict[str, set[str]] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    types: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    beyond: int = 0
    _lock: Any = field(default_factory=Lock, repr=False, compare=False)

    def after_fork(self) -> None:
        """A thread of the parent's may have held the lock, and is not here to open it."""
        self._lock = Lock()

    def record(self, agent: str, tool: str, args: Mapping[str, Any]) -> None:
        """Learns from one call."""
        tool = tool[:LETTERS_LIMIT]
        with self._lock:
            if tool in self.counts:
                self.counts[tool] += 1
            elif len(self.counts) < TOOLS_LIMIT:
                self.counts[tool] = 1
            else:
                self.beyond += 1
                return
            if agent and agent not in self.agents and len(self.agents) < NAMES_LIMIT:
                self.agents.add(agent[:LETTERS_LIMIT])
            names, types = self.tools.setdefault(tool, set()), self.types.setdefault(tool, {})
            for name, value in args.items():
                if name not in names and len(names) < NAMES_LIMIT and len(name) <= LETTERS_LIMIT:
                    names.add(name)
                if name in names and value is not None:
                    types.setdefault(name, set()).add(_TYPES.get(type(value), "string"))

    def seen(self) -> list[tuple[str, int, dict[str, list[str]]]]:
        """Each tool by name: how often, and the types of its parameters; one consistent picture."""
        with self._lock:
            return [
                (tool, self.counts.get(tool, 0), {name: sorted(self._types(tool, name)) for name in sorted(names)})
                for tool, names in sorted(self.tools.items())
            ]

    def _types(self, tool: str, name: str) -> set[str]:
        """None are known where somebody filled the catalog by hand."""
        return self.types.get(tool, {}).get(name, set())
