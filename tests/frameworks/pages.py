"""Runs the Python of a guide, block after block in one namespace, as a reader would type it."""

from __future__ import annotations

import asyncio
import inspect
import re
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "guides"
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run_page(path: str | Path, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The namespace after the last block. A line that fails is shown with its place in the page.

    Args:
        path: of the page; a name alone is one of docs/guides/frameworks.
        given: what the page takes for granted, such as `model`.
    """
    page = Path(path) if Path(path).is_absolute() else GUIDES / "frameworks" / path
    text = page.read_text("utf-8")
    namespace: dict[str, Any] = {"__name__": "page", **(given or {})}
    blocks = list(BLOCK.finditer(text))
    assert blocks, f"{page.name} shows no python"
    with asyncio.Runner() as runner:  # one loop for the whole page, as in a notebook
        for block in blocks:
            lines_before = "\n" * text[: block.start(1)].count("\n")
            code = compile(lines_before + block[1], str(page), "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(_awaited(code, namespace))
            else:
                exec(code, namespace)
    return namespace


async def _awaited(code: Any, namespace: dict[str, Any]) -> None:
    await eval(code, namespace)
