"""The core by itself, without KIFF and without a framework, on the oldest Python it runs on and on the newest."""

from __future__ import annotations

import subprocess
import sys

import pytest
from results import keep

from kiff_guard.conformance import run, run_apart
from kiff_guard.conformance.plain import Loop, Middleware, Vote


@pytest.mark.parametrize("loop", [Middleware, Vote], ids=lambda loop: loop.__name__)
def test_the_core_is_conformant(loop: type[Loop]) -> None:
    keep(run(loop())).check()


def test_client_drafts_imports_and_hooks_are_conformant() -> None:
    keep(run_apart()).check()


def test_it_runs_alone() -> None:
    """What a user has who installed kiff-guard and nothing else: pytest is ours, and nothing of it is used."""
    code = (
        "import sys; sys.path[:] = [path for path in sys.path if 'site-packages' not in path];"
        f"sys.path.insert(0, {_source()!r});"
        "from kiff_guard.conformance import run; from kiff_guard.conformance.plain import Middleware;"
        "run(Middleware()).check(); assert 'kiff' not in sys.modules and 'pytest' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def _source() -> str:
    import kiff_guard

    return str(kiff_guard.__path__[0]).removesuffix("/kiff_guard")
