"""The operator's executors: a Python file with EXECUTORS, a dict of name -> function.

`registry` imports the file, because something is to run. `stubs` only reads it: looking for what is missing must not
run anything.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any, NamedTuple

from kiff.errors import InvalidInput

NAME = "EXECUTORS"
CHANGES = frozenset(("clear", "pop", "popitem", "setdefault", "update"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Executor(NamedTuple):
    """One entry of EXECUTORS, as it is written.

    Args:
        line: of the function, when it is in the same file; of the entry otherwise.
        unfinished: the function raises `Unfinished`.
        function: its name, when it is in the same file.
    """

    name: str
    line: int
    unfinished: bool
    function: str = ""


class Stubs(NamedTuple):
    """What a file says without being run.

    Args:
        executors: the entries that can be read; where none can, the functions that are unfinished, by their names.
        is_literal: EXECUTORS is one dict that is written out, so these are all entries there are.
    """

    executors: tuple[Executor, ...]
    is_literal: bool


def registry(path: Path) -> Mapping[str, Callable[..., Any]]:
    """The executors of a file. It is run as `python FILE` would: it imports from its own folder.

    Raises:
        InvalidInput: it is not there, cannot be imported, or EXECUTORS is not a dict of functions.
    """
    tree = _parsed(path)
    file = path.resolve()
    module = ModuleType(_module_name(file))
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses and pickle look for it there
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    try:
        exec(compile(tree, str(file), "exec", dont_inherit=True), module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the operator's code: whatever it raises, it was not imported
        del sys.modules[module.__name__]
        hint = f"`python {path}` shows the whole traceback"
        raise _unusable(path, "cannot be imported", error, _line(error, str(file)), hint=hint) from error
    return _checked(path, module)


def stubs(path: Path) -> Stubs:
    """What a file's EXECUTORS names, and which of its functions nobody has written yet.

    Raises:
        InvalidInput: it is not there, is not Python, or has no EXECUTORS; `detail["line"]` says where it is not Python.
    """
    tree = _parsed(path)
    bound = [node for node in ast.walk(tree) if _binds(node)]
    if not bound:
        raise _without(path)
    functions = {node.name: node for node in tree.body if isinstance(node, Function)}
    written = _assigned(tree) if len(bound) == 1 else None
    if isinstance(written, ast.Dict):
        entries = tuple(_entries(written, functions))
        return Stubs(entries, len(entries) == len(written.keys))
    unfinished = (Executor(name, node.lineno, True, name) for name, node in functions.items() if _is_unfinished(node))
    return Stubs(tuple(unfinished), False)


def _binds(node: ast.AST) -> bool:
    """Whether this gives EXECUTORS a value, changes the one it has, or may do so."""
    match node:
        case ast.Name(id="EXECUTORS", ctx=ast.Store() | ast.Del()):
            return True
        case ast.Subscript(value=ast.Name(id="EXECUTORS"), ctx=ast.Store() | ast.Del()):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="EXECUTORS"), attr=method)):
            return method in CHANGES
        case ast.alias(name=name, asname=shorter):
            return (shorter or name) in (NAME, "*")
    return False


def _assigned(tree: ast.Module) -> ast.expr | None:
    """What a statement of the module assigns to EXECUTORS, and to nothing else."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="EXECUTORS")]) | ast.AnnAssign(target=ast.Name(id="EXECUTORS")):
                return node.value
    return None


def _entries(written: ast.Dict, functions: Mapping[str, Function]) -> Iterator[Executor]:
    for key, value in zip(written.keys, written.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            function = functions.get(value.id) if isinstance(value, ast.Name) else None
            if function is None:
                yield Executor(key.value, key.lineno, False)
            else:
                yield Executor(key.value, function.lineno, _is_unfinished(function), function.name)


def _is_unfinished(function: Function) -> bool:
    return any(isinstance(node, ast.Raise) and _raised(node.exc) == "Unfinished" for node in ast.walk(function))


def _raised(node: ast.expr | None) -> str:
    """`Unfinished` of `Unfinished`, `Unfinished(…)` and `kiff.Unfinished(…)`."""
    node = node.func if isinstance(node, ast.Call) else node
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _parsed(path: Path) -> ast.Module:
    if not path.is_file():
        hint = f"give it with --executors FILE; it holds {NAME} = {{name: function}}, and `kiff scaffold` writes one"
        raise InvalidInput(f"there is no executors file at `{path}`", field="--executors", hint=hint)
    try:
        return ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidInput(f"`{path}` cannot be read: {error.strerror}", field="--executors") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _unusable(path, "is not Python", error, getattr(error, "lineno", None)) from error


def _module_name(file: Path) -> str:
    """Its own name, as what is beside it imports it, unless another file has that already."""
    known = sys.modules.get(file.stem)
    is_free = known is None or getattr(known, "__file__", None) == str(file)
    return file.stem if is_free else f"executors_{file.stem}"


def _line(error: BaseException, file: str) -> int | None:
    """The line of the file that was running, or that does not compile."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return lines[-1] if lines else None


def _checked(path: Path, module: ModuleType) -> Mapping[str, Callable[..., Any]]:
    if not hasattr(module, NAME):
        raise _without(path)
    found = getattr(module, NAME)
    expected = f"`{path}`: expected {NAME} to be a dict of name -> function"
    if not isinstance(found, Mapping):
        raise InvalidInput(f"{expected}, found {type(found).__name__}", field="--executors")
    for name, function in found.items():
        if not isinstance(name, str):
            raise InvalidInput(f"{expected}, found the name `{name!r}`", field="--executors")
        if not callable(function):
            said = f"{expected}; `{name}` is {type(function).__name__}, which cannot be called"
            raise InvalidInput(said, field="--executors")
    return found


def _without(path: Path) -> InvalidInput:
    hint = f'add it: {NAME} = {{"refund.issue_refund": issue_refund}}'
    return InvalidInput(f"`{path}` has no {NAME}", field="--executors", hint=hint)


def _unusable(path: Path, what: str, error: BaseException, line: int | None, **detail: Any) -> InvalidInput:
    where = f"line {line}: " if line else ""
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    message = f"`{path}` {what}: {where}{': '.join(filter(None, (type(error).__name__, said)))}"
    return InvalidInput(message, field="--executors", line=line, **detail)
