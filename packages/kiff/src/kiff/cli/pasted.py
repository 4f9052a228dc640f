"""A test file with one case, as a person pastes it: YAML, a line for each part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def pasted(test: dict[str, Any]) -> Iterator[str]:
    """The lines of a test file."""
    for name, value in test.items():
        if name != "cases":
            yield f"{name}: {_flow(value)}"
    yield "cases:"
    for case in test["cases"]:
        for number, (name, value) in enumerate(case.items()):
            yield f"  {' ' if number else '-'} {name}: {_flow(value)}"


def _flow(value: Any) -> str:
    """JSON, which YAML reads too. Everything outside of ASCII is escaped, so it is safe on a terminal."""
    return json.dumps(value).replace("\x7f", "\\u007f")
