"""What an import brings: the core alone, without a framework and without what is heavy; adapters without theirs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kiff_guard

SOURCE = Path(kiff_guard.__file__).resolve().parents[1]
MODULES = sorted((SOURCE / "kiff_guard" / "adapters").glob("[!_]*.py"))
ADAPTERS = [path.stem for path in MODULES if "\ndef hook(" in path.read_text("utf-8")]
PARTS = ["kiff_guard.cli", "kiff_guard.conformance", "kiff_guard.hooks", "kiff_guard.ledgers", "kiff_guard.mcp"]
HEAVY = {"argparse", "asyncio", "concurrent.futures", "http.client", "socket", "ssl", "subprocess", "tempfile",
         "urllib.request"}  # fmt: skip


def alone(code: str) -> Any:
    """What the code prints as JSON, in a Python that sees its own library and the guard, and nothing installed."""
    start = f"import sys, json; sys.path.insert(0, {str(SOURCE)!r}); before = set(sys.modules)\n"
    told = subprocess.run([sys.executable, "-I", "-S", "-c", start + code], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def brought(module: str) -> set[str]:
    """The modules that an import adds."""
    return set(alone(f"import {module}; print(json.dumps(sorted(set(sys.modules) - before)))"))


def _foreign(modules: set[str]) -> set[str]:
    tops = {name.partition(".")[0] for name in modules}
    return tops - sys.stdlib_module_names - {"kiff_guard"}


def test_the_core_brings_nothing_heavy_and_nobody_else() -> None:
    modules = brought("kiff_guard")
    assert "kiff_guard.guard" in modules
    assert modules & HEAVY == set()
    assert _foreign(modules) == set()


def test_control_what_is_heavy_is_seen() -> None:
    assert brought("kiff_guard, asyncio") & HEAVY >= {"asyncio"}


@pytest.mark.parametrize("adapter", [path.stem for path in MODULES])
def test_an_adapter_is_imported_without_its_framework(adapter: str) -> None:
    assert _foreign(brought(f"kiff_guard.adapters.{adapter}")) == set()


NEED_NOTHING = {"dspy", "semantic_kernel", "smolagents"}
"""Adapters that only take the framework's own objects."""
FIRST_NEED = {
    "agno": "hook(Guard(ScriptedClient('approval_required'), mode='enforce'), pause=True)('refund', print, {})",
    "crewai": "attach(Guard(), None)",
    "haystack": "attach(Guard(), None)",
    "hermes": "attach(Guard())",
    "strands": "hook(Guard()).register_hooks(None)",
}
"""What cannot do without the framework, if it is not `hook(guard)`."""


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_without_its_framework_says_what_to_install(adapter: str) -> None:
    code = f"""
from kiff_guard import Guard
from kiff_guard.adapters import {adapter}
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import MissingFramework
try:
    {adapter}.{FIRST_NEED.get(adapter, "hook(Guard())")}
    told = "needs nothing of it"
except MissingFramework as error:
    told = str(error)
print(json.dumps(told))
"""
    told = alone(code)
    extras = [extra for extra in _extras() if f"pip install 'kiff-guard[{extra}]'" in told]
    assert (told == "needs nothing of it") is (adapter in NEED_NOTHING), told
    assert adapter in NEED_NOTHING or len(extras) == 1, told


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_imported_without_anything_installed(part: str) -> None:
    assert _foreign(brought(part)) == set()


def test_the_mode_cannot_be_changed() -> None:
    guard = kiff_guard.Guard(mode="observe")
    with pytest.raises(AttributeError):
        guard.mode = "enforce"  # type: ignore[misc]
    assert guard.mode == "observe"


def _extras() -> list[str]:
    import tomllib

    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    return list(project["optional-dependencies"])
