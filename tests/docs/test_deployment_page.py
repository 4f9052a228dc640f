"""docs/guides/deployment.md: its commands are KIFF's, its files are there, and what it says of numbers is so."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

from kiff.cli import COMMANDS
from kiff.cli.doctor_postgres import OF_THE_ROWS, OF_THE_SERVER
from kiff.server.serving import ANSWER_SECONDS
from kiff.server.settings import DRAIN_SECONDS, ServerSettings
from kiff.server.workers import KILL_SECONDS, MOST_REST_SECONDS, SETTLED_SECONDS
from kiff.stores.postgres.store import CONNECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "deployment.md"
TEXT = PAGE.read_text("utf-8")


def lines() -> list[list[str]]:
    """Every `kiff …` line of its shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    return [
        shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines() if line[:5] == "kiff "
    ]


@pytest.mark.parametrize("line", lines(), ids=" ".join)
def test_every_command_is_one_that_kiff_understands(line: list[str]) -> None:
    command: click.Command = import_module(COMMANDS[line[0]][0]).command
    with click.Context(click.Group("kiff")):
        assert command.make_context(line[0], line[1:])


def test_every_command_that_is_named_is_there() -> None:
    named = set(re.findall(r"`kiff ([a-z]+)", TEXT))
    assert len(named) > 5
    assert named <= set(COMMANDS)


def test_every_file_that_is_named_is_there() -> None:
    root = PAGE.parents[2]
    named = set(re.findall(r"deploy/[\w./-]*\w", TEXT))
    assert len(named) >= 4
    assert all((root / each).exists() for each in named)
    assert all((PAGE.parent / link).resolve().exists() for link in re.findall(r"\]\(([^)#]+)\)", TEXT))


def test_its_numbers_are_those_of_the_program() -> None:
    assert f"each has {ANSWER_SECONDS} s for answers and {DRAIN_SECONDS} s in all" in TEXT
    assert f"after {KILL_SECONDS:.0f} s it is killed" in TEXT
    assert f"within {SETTLED_SECONDS:.0f} s of its start waits up to {MOST_REST_SECONDS:.0f} s" in TEXT
    assert f"at most {CONNECTIONS} connections for its work" in TEXT
    assert f"stays at the slots ({ServerSettings(Path()).slots})" in TEXT


def test_every_metric_is_one_that_the_server_tells() -> None:
    sources = Path(import_module("kiff.server").__file__ or "").parent
    told = "".join(path.read_text("utf-8") for path in (sources / "counts.py", sources / "routes" / "health.py"))
    named = set(re.findall(r"\bkiff_\w+?(?=_total\b|\b)", TEXT)) - {"kiff_owner", "kiff_app"}
    assert len(named) >= 5
    assert [name for name in named if f'"{name}"' not in told] == []


def test_every_question_of_the_doctor_that_is_named_is_asked() -> None:
    lines = re.findall(r"^\| doctor (.*?) \|", TEXT, re.MULTILINE)
    named = {name for line in lines for name in re.findall(r"`(\w+)`", line)}
    assert len(named) == 5
    assert named <= OF_THE_SERVER.keys() | OF_THE_ROWS.keys()
