"""A newcomer's machine: an empty environment, this wheel and what it depends on, make. Nothing of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from project_cases import TEMPLATE

ROOT = Path(__file__).parents[2]
UV = (sys.executable, "-m", "uv", "--quiet")
KEPT = ("HOME", "LANG", "LC_ALL", "PIP_", "SSL_CERT_", "TMPDIR", "UV_", "http_proxy", "https_proxy", "no_proxy")
"""What the machine needs to reach its package index; nothing else of this environment gets there."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="needs make: install it with your system's packages"),
]


class Machine(NamedTuple):
    """Args: bin: of the environment that has the wheel. folder: where a user stands."""

    wheel: Path
    bin: Path
    folder: Path

    def run(self, *command: str, at: Path | None = None, path: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command as the user types it, with the environment's bin first in PATH."""
        environment = environment_of(f"{self.bin}:/usr/bin:/bin" if path is None else path)
        return subprocess.run(
            command, cwd=at or self.folder, env=environment, capture_output=True, text=True, timeout=300
        )


def environment_of(path: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    return kept | {"PATH": path, "PYTHONIOENCODING": "utf-8"}


def must(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    must(*UV, "build", "--wheel", "--no-build-isolation", "-o", str(folder), str(ROOT / "packages" / "kiff"))
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    pins = str(ROOT / "requirements" / "runtime.txt")
    wanted = ("--constraint", pins, str(wheel))
    try:
        must(*UV, "pip", "install", "--python", str(python), *wanted)
    except AssertionError:  # uv could not fetch them; pip may know a nearer index, as in .ci/setup
        must(sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install", *wanted)
    user = folder / "user"
    user.mkdir()
    return Machine(wheel, python.parent, user)


@pytest.fixture(scope="module")
def project(machine: Machine) -> Path:
    done = machine.run("kiff", "new", "-template=agentic-ops", "github.com/your/project")
    assert done.returncode == 0, done.stderr
    return machine.folder / "project"


def test_the_wheel_has_the_templates_and_nothing_that_a_run_left(machine: Machine) -> None:
    with zipfile.ZipFile(machine.wheel) as wheel:
        names = wheel.namelist()
    templates = TEMPLATE.parent
    ours = [path for name in ("agentic-ops", "project") for path in (templates / name).iterdir() if path.is_file()]
    expected = {f"kiff/templates/{path.relative_to(templates)}" for path in ours}
    assert {"kiff/templates/project/.gitignore", "kiff/templates/project/Makefile"} <= expected
    assert expected == {name for name in names if name.startswith(("kiff/templates/agentic", "kiff/templates/project"))}
    left = ("__pycache__", ".run", "kiff.db", ".jsonl", ".pem")
    assert [name for name in names if any(each in name for each in left)] == []


def test_only_the_wheel_and_what_it_depends_on_is_there(machine: Machine) -> None:
    listed = machine.run("python", "-c", "import importlib.metadata as m; print(*[d.name for d in m.distributions()])")
    assert {"pytest", "pip", "hatchling", "joserfc"}.isdisjoint(listed.stdout.split())


def test_make_demo_passes_and_passes_again(machine: Machine, project: Path) -> None:
    for _ in range(2):
        done = machine.run("make", "demo", at=project)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert "everything as promised" in done.stdout
    assert not (project / ".venv").exists()


def test_make_test_passes(machine: Machine, project: Path) -> None:
    done = machine.run("make", "test", at=project)
    assert done.returncode == 0, done.stderr
    assert "\nOK\n" in done.stderr


@pytest.mark.parametrize("command", [("kiff", "check"), ("make", "check")])
def test_there_is_nothing_to_find_in_a_new_project(machine: Machine, project: Path, command: tuple[str, ...]) -> None:
    done = machine.run(*command, at=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no findings" in done.stderr


def test_a_state_that_is_renamed_is_explained_and_the_demo_says_so_too(machine: Machine, project: Path) -> None:
    file = project / "kiff.yaml"
    before = file.read_text("utf-8")
    file.write_text(before.replace("to: CREDITED}", "to: CREDITD}"), "utf-8")
    try:
        found = machine.run("kiff", "check", at=project)
        run = machine.run("make", "demo", at=project)
    finally:
        file.write_text(before, "utf-8")
    assert (found.returncode, run.returncode) == (1, 2)
    assert "did you mean `CREDITED`?" in found.stdout
    assert "did you mean `CREDITED`?" in run.stderr
    assert machine.run("make", "test", at=project).returncode == 0


def test_make_takes_the_python_it_is_given(machine: Machine, project: Path) -> None:
    python = f"PYTHON={machine.bin / 'python'}"
    assert machine.run("make", "test", python, at=project, path="/usr/bin:/bin").returncode == 0


def test_a_python_without_this_kiff_is_one_sentence(machine: Machine, project: Path) -> None:
    venv.create(machine.folder / "bare", with_pip=False)
    bare = machine.folder / "bare" / "bin" / "python"
    done = machine.run("make", "test", f"PYTHON={bare}", at=project)
    assert done.returncode == 2
    assert f"{bare} does not have kiff" in done.stderr


def test_a_pin_that_is_another_kiff_is_not_taken_for_this_one(machine: Machine, project: Path) -> None:
    other = machine.folder / "other"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns(".run"))
    pins = other / "requirements.txt"
    pins.write_text("kiff==0.0.0.dev0\n", "utf-8")
    done = machine.run("make", "test", f"PYTHON={machine.bin / 'python'}", at=other)
    assert done.returncode == 2
    assert "does not have kiff 0.0.0.dev0" in done.stderr


def test_when_the_pin_cannot_be_installed_make_says_what_to_do_and_leaves_nothing(
    machine: Machine, project: Path
) -> None:
    """A `pip` that finds nothing stands for an index that does not have it, or is not there."""
    fresh = machine.folder / "fresh"
    shutil.copytree(project, fresh, ignore=shutil.ignore_patterns(".run"))
    tools = machine.folder / "tools"
    tools.mkdir()
    fake = tools / "python3"
    fake.write_text(FAKE_PYTHON, "utf-8")
    fake.chmod(0o755)
    done = machine.run("make", "test", at=fresh, path=f"{tools}:/usr/bin:/bin")
    assert done.returncode == 2
    assert "could not be installed into .venv: activate the environment that has it" in done.stderr
    assert not (fresh / ".venv").exists()


FAKE_PYTHON = r"""#!/bin/sh
# `-m venv --clear .venv` makes an environment whose python installs nothing; -c is asked twice:
# whether this has the pinned kiff (no), and whether it is new enough (yes).
case "$1 $2" in
"-m venv") mkdir -p .venv/bin && printf '#!/bin/sh\nexit 1\n' >.venv/bin/python && chmod +x .venv/bin/python ;;
*version_info*) exit 0 ;;
*) exit 1 ;;
esac
"""
