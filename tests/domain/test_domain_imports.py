"""Importing the domain layer is cheap: the YAML parser and RE2 are loaded when they are first needed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from kiff.domain import compile_parameters, load
heavy = {"ruamel.yaml", "re2"}
print(sorted(heavy & sys.modules.keys()))
compile_parameters(["a"], {"a": {"type": "string", "maxLength": 5}})
print(sorted(heavy & sys.modules.keys()))
load("domain: a")
print(sorted(heavy & sys.modules.keys()))
compile_parameters(["a"], {"a": {"type": "string", "pattern": "^a"}})
print(sorted(heavy & sys.modules.keys()))
"""


def test_heavy_imports_wait() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:-1] == ["[]", "[]", "['ruamel.yaml']", "['re2', 'ruamel.yaml']"]
