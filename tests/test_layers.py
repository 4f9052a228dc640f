"""The house, checked by reading it: imports run downwards and the kernel touches nothing outside.

Rules are functions from a House to the list of its violations. Each one is run over the real package, which
must be clean, and over small bad houses, which must not be: a rule that cannot fail proves nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "packages" / "kiff" / "src"

# Module or package -> level. A module may import a lower level, or its own package. A new module starts here.
LEVELS = {
    "kiff.errors": 0,
    "kiff.canonical": 0,
    "kiff.protocol": 1,
    "kiff.ledger": 2,
    "kiff.domain": 2,
    "kiff.kya": 2,
    "kiff.gate": 3,
    "kiff.runtime": 4,
    "kiff.stores": 5,
    "kiff.embedded": 6,
    "kiff.analysis": 6,
    "kiff.server": 7,
    "kiff.client": 7,
    "kiff.cli": 8,
}
TEMPLATES = "kiff/templates/"  # data that `kiff new` copies: users' projects, which stand outside of the house
FACADE = "kiff"  # `from kiff import …` for users: may import any level, and nothing inside imports it
KERNEL_TOP = 3
PURE_ABOVE_KERNEL = "kiff.runtime.step"  # step.py, or the package of its steps
EAGER_TOP = 5

# Two modules of one level where one stands on the other. (importer, imported) -> why.
SIDEWAYS = {
    ("kiff.canonical", "kiff.errors"): "bad JSON is refused with the one error tree, which imports nothing",
}

# Imports inside functions below L6. (importer, imported module or package) -> why it waits.
LAZY = {
    ("kiff.domain.expr.syntax", "lark"): "brings its parser and grammar: time only a domain with conditions needs",
    ("kiff.domain.loader", "kiff.domain.yaml_events"): "brings ruamel.yaml: 52 ms only a kiff.yaml needs",
    ("kiff.domain.parameters", "re2"): "27 ms that only a domain with patterns needs",
    ("kiff.runtime.executors", "asyncio"): "37 ms that only an executor written with async needs",
    ("kiff.runtime.pending", "asyncio"): "whoever awaits an answer has it already",
    ("kiff.stores.opening", "kiff.stores.postgres"): "90 ms of driver that only a PostgreSQL needs",
}

# What the kernel may read of the outside when a domain is loaded. (importer, imported) -> why no decision reads it.
AT_LOAD = {
    ("kiff.domain.calendar", "zoneinfo"): "zone data is read once per name, when a domain is loaded, and kept",
}

# Clock, randomness, network, threads, files, databases, processes: what the kernel gets as arguments.
OUTSIDE = frozenset(
    """
    _thread asyncio asyncpg concurrent ctypes dbm fcntl fileinput ftplib getpass glob http httpx importlib io
    locale logging mmap multiprocessing os pathlib pickle platform queue random resource sched secrets select
    selectors shelve shutil signal smtplib socket socketserver sqlite3 ssl starlette subprocess sys tempfile
    threading time urllib.request uuid uvicorn zoneinfo
    """.split()  # noqa: SIM905 (fifty names read better as a paragraph)
)
OUTSIDE_CALLS = frozenset({"__import__", "breakpoint", "eval", "exec", "input", "open", "print"})
OUTSIDE_METHODS = frozenset({"generate", "now", "today", "utcnow"})  # a fresh key is randomness
VAGUE_NAME = re.compile(r"_?(utils?|helpers?|managers?|base|common|misc|shared)")


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    in_function: bool


@dataclass(frozen=True)
class House:
    """Modules by dotted name, with the imports of each resolved to dotted names."""

    trees: Mapping[str, ast.Module]
    imports: Mapping[str, tuple[Import, ...]]


def house(files: Mapping[str, str]) -> House:
    """`files` maps a path below the source root (`kiff/gate/checks.py`) to its text."""
    names = {path: ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__") for path in files}
    trees = {names[path]: ast.parse(text, path) for path, text in files.items()}
    packages = {names[path] for path in files if path.endswith("__init__.py")}
    known = frozenset(trees)
    imports = {name: tuple(_imports(name, tree, name in packages, known)) for name, tree in trees.items()}
    return House(trees, imports)


def _imports(name: str, tree: ast.Module, is_package: bool, known: frozenset[str]) -> Iterator[Import]:
    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, in_function) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                source = _absolute(name, child, is_package)
                for alias in child.names:
                    target = f"{source}.{alias.name}"
                    is_name = _is_ours(source) and target not in known
                    yield Import(source if is_name else target, child.lineno, in_function)
            else:
                is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, in_function or is_function)

    return visit(tree, False)


def _absolute(name: str, node: ast.ImportFrom, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    package = name.split(".") if is_package else name.split(".")[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def _is_ours(name: str) -> bool:
    return _is_in(name, FACADE)


def _is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _row(name: str) -> str:
    """The row of LEVELS a module stands in: `kiff.gate` for `kiff.gate.checks`."""
    return ".".join(name.split(".")[:2])


def unplaced(house: House) -> list[str]:
    """Every module has a level."""
    lost = [name for name in house.trees if name != FACADE and _row(name) not in LEVELS]
    return [f"{name} has no row in LEVELS" for name in lost]


def upward(house: House) -> list[str]:
    """Imports run downwards; sideways only inside one package."""
    return [
        f"{name}:{found.line} imports {found.target}"
        for name, imports in house.imports.items()
        for found in imports
        if name != FACADE and _is_ours(found.target) and not _may_import(_row(name), _row(found.target))
    ]


def _may_import(importer: str, imported: str) -> bool:
    if imported not in LEVELS:
        return False
    runs_down = LEVELS[imported] < LEVELS.get(importer, 0)
    return importer == imported or runs_down or (importer, imported) in SIDEWAYS


def cyclic(house: House) -> list[str]:
    """No module imports itself by way of others."""
    graph = {
        name: {found.target for found in imports if found.target in house.trees}
        for name, imports in house.imports.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def impure(house: House) -> list[str]:
    """L0 to L3 and runtime/step.py get the outside world as arguments."""
    return [problem for name in house.trees if _is_pure(name) for problem in _touches(house, name)]


def _is_pure(name: str) -> bool:
    return LEVELS.get(_row(name), KERNEL_TOP + 1) <= KERNEL_TOP or _is_in(name, PURE_ABOVE_KERNEL)


def _touches(house: House, name: str) -> Iterator[str]:
    for found in house.imports[name]:
        parts = found.target.split(".")
        names = {".".join(parts[:size]) for size in range(1, len(parts) + 1)} & OUTSIDE
        if any((name, outside) not in AT_LOAD for outside in names):
            yield f"{name}:{found.line} imports {found.target}"
    for node in ast.walk(house.trees[name]):
        match node:
            case ast.Call(func=ast.Name(id=called)) if called in OUTSIDE_CALLS:
                yield f"{name}:{node.lineno} calls {called}()"
            case ast.Call(func=ast.Attribute(attr=called)) if called in OUTSIDE_METHODS:
                yield f"{name}:{node.lineno} asks the outside with .{called}()"


def deferred(house: House) -> list[str]:
    """Below L6, imports stand at the top of the file, or in LAZY with a reason."""
    return [
        f"{name}:{found.line} imports {found.target} inside a function"
        for name, imports in house.imports.items()
        for found in imports
        if found.in_function and LEVELS.get(_row(name), 0) <= EAGER_TOP and not _may_wait(name, found.target)
    ]


def _may_wait(importer: str, target: str) -> bool:
    return any(importer == allowed and _is_in(target, waiting) for allowed, waiting in LAZY)


def vague(house: House) -> list[str]:
    """A file is named after the noun or verb it holds."""
    return [name for name in house.trees if any(VAGUE_NAME.fullmatch(part) for part in name.split("."))]


Rule = Callable[[House], list[str]]
RULES: tuple[Rule, ...] = (unplaced, upward, cyclic, impure, deferred, vague)

CONTROLS: tuple[tuple[Rule, dict[str, str]], ...] = (
    (unplaced, {"kiff/oracle.py": ""}),
    (upward, {"kiff/gate/checks.py": "from kiff.runtime import engine"}),
    (upward, {"kiff/gate/checks.py": "from ..runtime.engine import Engine"}),
    (upward, {"kiff/gate/checks.py": "import kiff.stores.sqlite"}),
    (upward, {"kiff/gate/checks.py": "if TYPE_CHECKING:\n    from kiff.stores import memory"}),
    (upward, {"kiff/ledger/tree.py": "from kiff.domain import Domain"}),
    (upward, {"kiff/protocol/event.py": "from kiff import Runtime"}),
    (cyclic, {"kiff/gate/a.py": "from kiff.gate import b", "kiff/gate/b.py": "from kiff.gate.a import x"}),
    (cyclic, {"kiff/gate/__init__.py": "from kiff.gate import a", "kiff/gate/a.py": "from . import decide"}),
    (impure, {"kiff/protocol/event.py": "import time"}),
    (impure, {"kiff/ledger/tree.py": "from os.path import join"}),
    (impure, {"kiff/ledger/tree.py": "def read():\n    return open('x')"}),
    (impure, {"kiff/ledger/keys.py": "key = Ed25519PrivateKey.generate()"}),
    (impure, {"kiff/gate/decide.py": "from datetime import datetime\nnow = datetime.now()"}),
    (impure, {"kiff/runtime/step.py": "from uuid import uuid4"}),
    (impure, {"kiff/domain/schedule.py": "from zoneinfo import ZoneInfo"}),
    (impure, {"kiff/domain/calendar.py": "import time"}),
    (impure, {"kiff/runtime/step/settle.py": "import threading"}),
    (deferred, {"kiff/stores/sqlite.py": "def load():\n    import sqlite3"}),
    (deferred, {"kiff/runtime/engine.py": "async def run():\n    from kiff.gate import decide"}),
    (vague, {"kiff/gate/utils.py": ""}),
    (vague, {"kiff/common/event.py": ""}),
)

GOOD = {
    "kiff/__init__.py": "from kiff.stores.sqlite import Store",
    "kiff/canonical.py": "import hashlib\nfrom kiff.errors import InvalidJson",
    "kiff/errors.py": "",
    "kiff/gate/checks.py": "from kiff.domain import Domain\nfrom kiff.gate import reasons\nat = facts.now",
    "kiff/gate/reasons.py": "from datetime import datetime",
    "kiff/runtime/engine.py": "import threading\nimport time",
    "kiff/stores/sqlite.py": "import sqlite3\nopen('x')",
    "kiff/cli/replay.py": "def replay():\n    from kiff.analysis import replay",
}


def _name(value: object) -> str | None:
    return getattr(value, "__name__", None)


@pytest.fixture(scope="module")
def kiff() -> House:
    files = {str(path.relative_to(SOURCE)): path for path in SOURCE.rglob("*.py")}
    return house({name: path.read_text("utf-8") for name, path in files.items() if not name.startswith(TEMPLATES)})


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_the_house_keeps_the_rule(rule: Rule, kiff: House) -> None:
    assert kiff.trees, f"no sources below {SOURCE}"
    assert rule(kiff) == []


@pytest.mark.parametrize(("rule", "files"), CONTROLS, ids=_name)
def test_control_the_rule_finds_a_bad_house(rule: Rule, files: dict[str, str]) -> None:
    assert rule(house(files))


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_control_the_rule_leaves_a_good_house_alone(rule: Rule) -> None:
    assert rule(house(GOOD)) == []


def test_every_exception_is_still_needed(kiff: House) -> None:
    found = [(name, each) for name, imports in kiff.imports.items() for each in imports]
    assert set(AT_LOAD) <= {(name, each.target.partition(".")[0]) for name, each in found}
    assert set(SIDEWAYS) <= {(_row(name), _row(each.target)) for name, each in found}
    waiting = [(name, each.target) for name, each in found if each.in_function]
    assert [
        (importer, imported)
        for importer, imported in LAZY
        if not any(name == importer and _is_in(target, imported) for name, target in waiting)
    ] == []
