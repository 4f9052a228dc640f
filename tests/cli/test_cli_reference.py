"""docs/reference/cli.md is what the program does: its examples are run, its tables are the code's."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kiff.cli import COMMANDS
from kiff.cli.exits import MEANING

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
TEXT = PAGE.read_text("utf-8")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
ENDS_WITH = re.compile(r"\s+# ends with (\d+)$")


class Example(NamedTuple):
    argv: list[str]
    into: str | None
    code: int
    shown: str


def examples() -> list[Example]:
    """Each `$ kiff …` line with what is shown below it, in the order of the page."""
    found = []
    for block in BLOCK.findall(TEXT):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            ends = ENDS_WITH.search(line)
            words = shlex.split(ENDS_WITH.sub("", line))
            assert words[0] == "kiff"
            into = words[words.index(">") + 1] if ">" in words else None
            argv = words[1 : words.index(">")] if into else words[1:]
            found.append(Example(argv, into, int(ends[1]) if ends else 0, shown))
    return found


def test_the_examples_do_what_the_page_shows(kiff: Any, folder: Path) -> None:
    """With KIFF_WRITE_DOCS=1 the page takes over what the program shows; read the difference before it is kept."""
    page = TEXT
    for example in examples():
        ran = kiff(*example.argv)
        assert ran.code == example.code, example.argv
        if example.into:
            (folder / example.into).write_text(ran.out)
            ran = ran._replace(out="")
        if os.environ.get("KIFF_WRITE_DOCS"):
            page = page.replace(example.shown.strip(), (ran.out + ran.err).strip()) if example.shown.strip() else page
        else:
            assert (ran.out + ran.err).strip() == example.shown.strip(), example.argv
    if page != TEXT:
        PAGE.write_text(page, "utf-8")


def test_every_command_has_its_section_and_an_example() -> None:
    sections = re.findall(r"^## kiff (\w+)$", TEXT, re.MULTILINE)
    assert sections == sorted(COMMANDS)
    assert {example.argv[0] for example in examples()} >= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_on_the_page(name: str, kiff: Any) -> None:
    section = TEXT.split(f"## kiff {name}\n", 1)[1].split("\n## ", 1)[0]
    argv = (name, "show", "--help") if name == "receipts" else (name, "--help")
    options = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", kiff(*argv).out, re.MULTILINE))
    everywhere = {"--help", "--json", "--output", "--tenant"}
    assert {option for option in options - everywhere if f"`{option}" not in section} == set()


def test_the_exit_codes_are_the_codes() -> None:
    table = re.findall(r"^\| (\d+) \| (.+?) \|$", TEXT, re.MULTILINE)
    assert [(int(code), meaning) for code, meaning in table] == [(int(code), text) for code, text in MEANING.items()]
