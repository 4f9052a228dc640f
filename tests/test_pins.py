"""What a clone carries: pins with hashes, and nowhere the address of a package registry."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PIN_FILES = sorted((ROOT / "requirements").rglob("*.txt"))
HOSTS = tuple(f"{name}.{top}" for name, top in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org")))
NOT_TRACKED = frozenset({"__pycache__", "build", "dist", "node_modules"})
TRACKED_DOTS = frozenset({".ci", ".gitignore"})
PIN = re.compile(r"^\w.*(?:\n {4}--hash.*)*", re.MULTILINE)


def _tracked(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in NOT_TRACKED or (path.name.startswith(".") and path.name not in TRACKED_DOTS):
            continue
        if path.is_dir():
            yield from _tracked(path)
        elif path.is_file():
            yield path


def _hosts(text: str) -> list[str]:
    return [host for host in HOSTS if host in text]


def _loose(text: str) -> list[str]:
    """The pins of a requirements file that another file could satisfy."""
    return [pin for pin in PIN.findall(text) if "==" not in pin or "--hash=sha256:" not in pin]


def test_no_file_names_a_package_registry() -> None:
    named = {path: _hosts(path.read_text("utf-8", "replace")) for path in _tracked(ROOT)}
    assert {str(path.relative_to(ROOT)): hosts for path, hosts in named.items() if hosts} == {}


def test_control_a_registry_is_found() -> None:
    assert _hosts("index-url = https://files." + HOSTS[1] + "/simple")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT / "requirements"))


@pytest.mark.parametrize("path", PIN_FILES, ids=_name)
def test_pins_are_exact_and_have_hashes_and_no_addresses(path: Path) -> None:
    text = path.read_text("utf-8")
    assert PIN.findall(text)
    assert _loose(text) == []
    assert "://" not in text


def test_control_a_loose_pin_is_found() -> None:
    assert _loose("click>=8 \\\n    --hash=sha256:00\n") == ["click>=8 \\\n    --hash=sha256:00"]
    assert _loose("click==8.1\n") == ["click==8.1"]


def test_every_runtime_dependency_has_its_line_of_reason() -> None:
    project = tomllib.loads((ROOT / "packages/kiff/pyproject.toml").read_text("utf-8"))["project"]
    reasons = (ROOT / "docs/adr/0001-dependencies.md").read_text("utf-8")
    names = [re.split(r"[<>=~! ]", dependency)[0] for dependency in project["dependencies"]]
    assert [name for name in names if f"| {name} |" not in reasons] == []
