"""What a server says of its tools. It is text of somebody else: kept small, shown to people, followed by nobody."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

from kiff_guard.mcp.headers import Mirrored, mirrored

TOOLS_LIMIT = 500
TEXT_LIMIT = 2_000
SCHEMA_LIMIT = 16 * 1024


@dataclass(frozen=True)
class Listed:
    """One tool as its server lists it.

    Attributes:
        mirrored: the arguments that stand in a header too, where it is called over HTTP.
    """

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    has_output_schema: bool = False
    mirrored: tuple[Mirrored, ...] = ()


class Shelf:
    """The tools listed so far."""

    def __init__(self) -> None:
        self._tools: OrderedDict[str, Listed] = OrderedDict()
        self._lock = Lock()

    def learn(self, result: Any) -> None:
        """Reads one page of a `tools/list`. What is not as the protocol says is passed over."""
        tools = result.get("tools") if isinstance(result, dict) else None
        for tool in tools if isinstance(tools, list) else []:
            listed = _listed(tool)
            with self._lock:
                if listed is not None and (listed.name in self._tools or len(self._tools) < TOOLS_LIMIT):
                    self._tools[listed.name] = listed

    def get(self, name: str) -> Listed | None:
        with self._lock:
            return self._tools.get(name)

    def all(self) -> list[Listed]:
        with self._lock:
            return list(self._tools.values())


def _listed(tool: Any) -> Listed | None:
    name = tool.get("name") if isinstance(tool, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= 128:
        return None
    description = tool.get("description")
    schema = tool.get("inputSchema")
    return Listed(
        name,
        _line(description) if isinstance(description, str) else "",
        schema if isinstance(schema, dict) and len(json.dumps(schema)) <= SCHEMA_LIMIT else None,
        tool.get("outputSchema") is not None,
        mirrored(schema),
    )


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:TEXT_LIMIT]).strip()
