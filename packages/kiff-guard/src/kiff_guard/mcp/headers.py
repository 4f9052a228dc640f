"""What of a message stands in HTTP headers too, and how: since 2026-07-28 servers compare it with the body."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

SESSION = "Mcp-Session-Id"
VERSION = "MCP-Protocol-Version"

Mirrored = tuple[tuple[str, ...], str]
"""Where an argument is, and the name that its header ends with."""

_NAMES = {
    "tools/call": "name", "prompts/get": "name", "resources/read": "uri",
    "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
}  # fmt: skip
"""Which parameter of a request stands in Mcp-Name."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_PLAIN = re.compile(r"[\x20-\x7e]*")
_MIRRORED_LIMIT = 64


def of_request(message: Mapping[str, Any], mirrored: tuple[Mirrored, ...]) -> list[tuple[str, str]]:
    """The headers of a request of 2026-07-28, beside its version."""
    method, params = message.get("method"), _object(message.get("params"))
    headers = [("Mcp-Method", encoded(str(method)))]
    name = params.get(_NAMES.get(str(method), ""))
    if isinstance(name, str):
        headers.append(("Mcp-Name", encoded(name)))
    for path, end in mirrored:
        text = _text(_at(params.get("arguments"), path))
        if text is not None:
            headers.append((f"Mcp-Param-{end}", encoded(text)))
    return headers


def mirrored(schema: Any) -> tuple[Mirrored, ...]:
    """Which arguments a tool's schema wants in headers. What the specification does not allow is passed over."""
    found = list(_annotated(schema, ()))
    names = [end.casefold() for _, end in found]
    return tuple(each for each, name in zip(found, names, strict=True) if names.count(name) == 1)[:_MIRRORED_LIMIT]


def encoded(text: str) -> str:
    """A text as a header has it. What is no plain ASCII stands in it as `=?base64?…?=`."""
    is_plain = _PLAIN.fullmatch(text) and text == text.strip() and not _is_packed(text)
    return text if is_plain else f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="


def decoded(header: str) -> str | None:
    """A header's text; None if it is packed and cannot be unpacked."""
    if not _is_packed(header):
        return header
    try:
        return base64.b64decode(header[9:-2], validate=True).decode("utf-8")
    except ValueError:
        return None


def _is_packed(header: str) -> bool:
    return header.startswith("=?base64?") and header.endswith("?=")


def _annotated(schema: Any, path: tuple[str, ...]) -> Iterator[Mirrored]:
    for name, each in _object(_object(schema).get("properties")).items():
        end = _object(each).get("x-mcp-header")
        if isinstance(end, str) and _TOKEN.fullmatch(end):
            yield (*path, name), end
        if len(path) < _MIRRORED_LIMIT:
            yield from _annotated(each, (*path, name))


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = _object(value).get(name)
    return value


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return str(value) if isinstance(value, (str, int, float)) else None
    except ValueError:  # a number of more digits than Python writes
        return None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
