"""The guard's house, checked by reading it: Python 3.10's own library, no KIFF, and no framework until it is used.

The same manner as test_layers.py: every rule is run over the real package, and over small bad houses.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from test_layers import House, house

SOURCE = Path(__file__).resolve().parents[1] / "packages" / "kiff-guard" / "src"
OURS = "kiff_guard"
OLDEST = (3, 10)

EDGES = frozenset({"adapters", "cli", "conformance", "hooks", "mcp"})
"""Parts that stand on the core. The core knows none of them, and none of them another."""
MAY_BRING_A_FRAMEWORK = ("kiff_guard.adapters",)

# Imports that cost more than the whole core does: only whoever needs them pays for them.
HEAVY = frozenset(
    "argparse asyncio concurrent email http multiprocessing socket ssl subprocess tempfile urllib".split()  # noqa: SIM905
)
NEWER_THAN_OLDEST = {
    "asyncio": {"Runner", "TaskGroup", "timeout", "timeout_at", "Barrier"},
    "builtins": {"BaseExceptionGroup", "ExceptionGroup"},
    "contextlib": {"chdir"},
    "datetime": {"UTC"},
    "enum": {"EnumCheck", "ReprEnum", "StrEnum", "member", "nonmember", "verify"},
    "hashlib": {"file_digest"},
    "inspect": {"getmembers_static"},
    "itertools": {"batched"},
    "typing": {"LiteralString", "Never", "NotRequired", "Required", "Self", "TypeVarTuple", "Unpack", "assert_never",
               "assert_type", "override", "reveal_type"},
}  # fmt: skip
NEW_MODULES = frozenset({"tomllib", "wsgiref.types"})


@dataclass(frozen=True)
class Found:
    """One import: what, where, and whether it waits for a call or is for type checkers only."""

    target: str
    line: int
    waits: bool


def found(tree: ast.Module) -> list[Found]:
    return list(_found(tree, False))


def _found(node: ast.AST, waits: bool) -> Iterator[Found]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Found(alias.name, child.lineno, waits) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Found(f"{child.module}.{alias.name}", child.lineno, waits) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from (each for part in child.orelse for each in _found(part, waits))
        else:
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _found(child, waits or inner)


def knows_kiff(house: House) -> list[str]:
    """The guard never imports KIFF: it runs in the agent's process, and KIFF elsewhere."""
    return [
        f"{name}:{each.line} imports {each.target}"
        for name, tree in house.trees.items()
        for each in found(tree)
        if each.target.partition(".")[0] == "kiff"
    ]


def brings_others(house: House) -> list[str]:
    """Standard library only; an adapter brings its framework when it is used, and not before."""
    return [
        f"{name}:{each.line} imports {each.target}"
        for name, tree in house.trees.items()
        for each in found(tree)
        if not _is_ours_or_standard(each.target) and not (each.waits and _may_bring(name))
    ]


def _is_ours_or_standard(target: str) -> bool:
    top = target.partition(".")[0]
    return top == OURS or top in sys.stdlib_module_names


def _may_bring(name: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in MAY_BRING_A_FRAMEWORK)


def knows_edges(house: House) -> list[str]:
    """The core knows no adapter, command, hook, gateway or suite; and these know the core, not each other."""
    return [
        f"{name}:{each.line} imports {each.target}"
        for name, tree in house.trees.items()
        for each in found(tree)
        if (edge := _edge(each.target)) and edge != _edge(name) and (name, edge) not in ALLOWED
    ]


ALLOWED: dict[tuple[str, str], str] = {}
"""(module, part it knows) -> why."""


def _edge(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == OURS and len(parts) > 1 and parts[1] in EDGES else ""


def heavy(house: House) -> list[str]:
    """`import kiff_guard` costs under 30 ms: no module that it brings imports anything heavy before it is needed."""
    return [
        f"{name}:{each.line} imports {each.target}"
        for name in brought_by(OURS, house)
        for each in found(house.trees[name])
        if not each.waits and each.target.partition(".")[0] in HEAVY
    ]


def brought_by(module: str, house: House) -> list[str]:
    """The modules of ours that importing one brings, itself and all packages around them among them."""
    brought, left = set[str](), [module]
    while left:
        name = left.pop()
        if name in house.trees and name not in brought:
            brought.add(name)
            left += [_known(each.target, house) for each in found(house.trees[name]) if not each.waits]
            left.append(name.rpartition(".")[0])
    return sorted(brought)


def too_new(house: House) -> list[str]:
    """Nothing that Python 3.10 does not have: no module, no name, no syntax."""
    return [f"{name}:{line} uses {what}" for name, tree in house.trees.items() for line, what in _too_new(tree)]


def _too_new(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for each in found(tree):
        module, _, name = each.target.rpartition(".")
        if {each.target, module} & NEW_MODULES or name in NEWER_THAN_OLDEST.get(module, ()):
            yield each.line, each.target
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if name in NEWER_THAN_OLDEST.get(module, ()):
                yield node.lineno, f"{module}.{name}"
            case ast.Name(id=name) if name in NEWER_THAN_OLDEST["builtins"]:
                yield node.lineno, name
            case ast.TryStar():
                yield node.lineno, "except*"


def circular(house: House) -> list[str]:
    """No module imports itself by way of others, at least not while it is being imported."""
    graph = {
        name: {known for each in found(tree) if not each.waits and (known := _known(each.target, house))}
        for name, tree in house.trees.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def _known(target: str, house: House) -> str:
    """The module that an import of this name loads."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in house.trees), "")


RULES = (knows_kiff, brings_others, knows_edges, heavy, too_new, circular)

CONTROLS = (
    (knows_kiff, {"kiff_guard/client.py": "from kiff.errors import KiffError"}),
    (knows_kiff, {"kiff_guard/client.py": "def ask():\n    import kiff"}),
    (brings_others, {"kiff_guard/guard.py": "import httpx"}),
    (brings_others, {"kiff_guard/guard.py": "def ask():\n    import httpx"}),
    (brings_others, {"kiff_guard/adapters/agno.py": "from agno.agent import Agent"}),
    (brings_others, {"kiff_guard/mcp/stdio.py": "def serve():\n    import mcp"}),
    (brings_others, {"kiff_guard/adapters/agno.py": "try:\n    import agno\nexcept ImportError:\n    agno = None"}),
    (knows_edges, {"kiff_guard/guard.py": "from kiff_guard.adapters import agno"}),
    (knows_edges, {"kiff_guard/guard.py": "def wrap():\n    from kiff_guard.conformance import run"}),
    (knows_edges, {"kiff_guard/hooks/reply.py": "from kiff_guard.mcp.reply import text"}),
    (heavy, {"kiff_guard/__init__.py": "import asyncio"}),
    (
        heavy,
        {
            "kiff_guard/__init__.py": "from kiff_guard.guard import Guard",
            "kiff_guard/guard.py": "from kiff_guard.core import Core",
            "kiff_guard/core.py": "from urllib.request import urlopen",
        },
    ),
    (too_new, {"kiff_guard/cli/watch.py": "def read():\n    import tomllib"}),
    (too_new, {"kiff_guard/cli/watch.py": "from datetime import UTC"}),
    (too_new, {"kiff_guard/cli/watch.py": "import datetime\nnow = datetime.UTC"}),
    (too_new, {"kiff_guard/cli/watch.py": "import asyncio\nasync def f():\n    async with asyncio.timeout(1): ..."}),
    (too_new, {"kiff_guard/cli/watch.py": "try: ...\nexcept* ValueError: ..."}),
    (circular, {"kiff_guard/a.py": "from kiff_guard import b", "kiff_guard/b.py": "from kiff_guard.a import x"}),
)

GOOD = {
    "kiff_guard/__init__.py": "from kiff_guard.guard import Guard",
    "kiff_guard/guard.py": "import json\ndef ask():\n    import asyncio",
    "kiff_guard/adapters/agno.py": (
        "from typing import TYPE_CHECKING\nfrom kiff_guard.guard import Guard\n"
        "if TYPE_CHECKING:\n    from agno import Agent\ndef hook():\n    from agno import Agent"
    ),
    "kiff_guard/transport.py": "import socket",
}


@pytest.fixture(scope="module")
def guard() -> House:
    return house({str(path.relative_to(SOURCE)): path.read_text("utf-8") for path in SOURCE.rglob("*.py")})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_guard_keeps_the_rule(rule: object, guard: House) -> None:
    assert guard.trees, f"no sources below {SOURCE}"
    assert callable(rule)
    assert rule(guard) == []


@pytest.mark.parametrize(("rule", "files"), CONTROLS)
def test_control_the_rule_finds_a_bad_guard(rule: object, files: Mapping[str, str]) -> None:
    assert callable(rule)
    assert rule(house(files))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_control_the_rule_leaves_a_good_guard_alone(rule: object) -> None:
    assert callable(rule)
    assert rule(house(GOOD)) == []


def test_the_syntax_is_that_of_the_oldest_python() -> None:
    for path in SOURCE.rglob("*.py"):
        ast.parse(path.read_text("utf-8"), str(path), feature_version=OLDEST)


def test_every_exception_is_needed(guard: House) -> None:
    found_there: set[tuple[str, str]] = {
        (name, _edge(each.target)) for name, tree in guard.trees.items() for each in found(tree)
    }
    assert set(ALLOWED) - found_there == set()
