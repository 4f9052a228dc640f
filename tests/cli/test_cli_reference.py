"""docs/reference/cli.md is what the program does: its examples are run, its tables are the code's."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from remote_cases import SteadyTower

from kiff.cli import COMMANDS
from kiff.cli.exits import MEANING

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
TEXT = PAGE.read_text("utf-8")
BLOCK = re.compile(r"(```console\n)(.*?)(```)", re.DOTALL)
ENDS_WITH = re.compile(r"\s+# ends with (\d+)$")
EVERYWHERE = {"--as", "--db", "--help", "--json", "--output", "--principals", "--tenant", "--url"}
"""Options that the conventions at the top of the page explain once."""


class Example(NamedTuple):
    line: str
    shown: str

    @property
    def words(self) -> list[str]:
        return shlex.split(ENDS_WITH.sub("", self.line))

    @property
    def argv(self) -> list[str]:
        words = self.words
        assert words[0] == "kiff"
        return words[1 : words.index(">")] if ">" in words else words[1:]

    @property
    def into(self) -> str | None:
        return self.words[self.words.index(">") + 1] if ">" in self.words else None

    @property
    def code(self) -> int:
        ends = ENDS_WITH.search(self.line)
        return int(ends[1]) if ends else 0


def examples_of(block: str) -> list[Example]:
    """Each `$ kiff …` line with what is shown below it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [Example(line, shown) for line, _, shown in (part.partition("\n") for part in parts)]


EXAMPLES = [example for _, block, _ in BLOCK.findall(TEXT) for example in examples_of(block)]


def commands() -> Iterator[tuple[str, list[str], click.Command]]:
    """Every command and every verb: (section, words, command)."""
    for name, (module, _) in COMMANDS.items():
        command = import_module(module).command
        if isinstance(command, click.Group):
            yield from ((name, [name, verb], each) for verb, each in command.commands.items())
        else:
            yield name, [name], command


@pytest.fixture
def tower(steady: None, folder: Path) -> Iterator[SteadyTower]:
    """The server that the page speaks of."""
    tower = SteadyTower(folder / "tower")
    yield tower
    tower.close()


@pytest.mark.slow
def test_the_examples_do_what_the_page_shows(kiff: Any, folder: Path, tower: SteadyTower) -> None:
    """With KIFF_WRITE_DOCS=1 the page takes over what the program shows; read the difference before it is kept."""
    outputs = []
    for example in EXAMPLES:
        ran = kiff(*tower.real(example.argv))
        assert ran.code == example.code, (example.line, ran.code, ran.err)
        shown = tower.shown(ran.out + ran.err, folder)
        if example.into:
            (folder / example.into).write_text(ran.out)
            shown = tower.shown(ran.err, folder)
        outputs.append(shown.strip())
        if not os.environ.get("KIFF_WRITE_DOCS"):
            assert shown.strip() == example.shown.strip(), example.line
    if os.environ.get("KIFF_WRITE_DOCS"):
        PAGE.write_text(rewritten(iter(outputs)), "utf-8")


def rewritten(outputs: Iterator[str]) -> str:
    """The page with these outputs below its examples."""

    def block(found: re.Match[str]) -> str:
        shown = [
            f"$ {each.line}\n" + (f"{text}\n" if (text := next(outputs)) else "") for each in examples_of(found[2])
        ]
        return found[1] + "".join(shown) + found[3]

    return BLOCK.sub(block, TEXT)


def test_every_command_has_its_section() -> None:
    assert re.findall(r"^## kiff (\w+)$", TEXT, re.MULTILINE) == sorted(COMMANDS)


def test_every_command_and_every_verb_has_an_example() -> None:
    shown = {tuple(example.argv[: len(words)]) for example in EXAMPLES for _, words, _ in commands()}
    assert [words for _, words, _ in commands() if tuple(words) not in shown] == []


@pytest.mark.parametrize(("name", "words", "command"), list(commands()), ids=lambda value: str(value))
def test_every_option_is_on_the_page(name: str, words: list[str], command: click.Command) -> None:
    section = TEXT.split(f"## kiff {name}\n", 1)[1].split("\n## ", 1)[0]
    every = [flag for each in command.params if isinstance(each, click.Option) for flag in each.opts]
    options = {flag for flag in every if flag.startswith("--")}
    assert {option for option in options - EVERYWHERE if f"`{option}" not in section} == set()


def test_the_exit_codes_are_the_codes() -> None:
    table = re.findall(r"^\| (\d+) \| (.+?) \|$", TEXT, re.MULTILINE)
    assert [(int(code), meaning) for code, meaning in table] == [(int(code), text) for code, text in MEANING.items()]
