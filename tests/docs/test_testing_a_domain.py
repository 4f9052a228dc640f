"""docs/guides/testing-a-domain.md: its files are written, its commands are run, and its tables name every key."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiff.analysis.cases.schema import CASES
from kiff.cli import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "testing-a-domain.md"
TEXT = PAGE.read_text("utf-8")
BLOCK = re.compile(r"^```(yaml title=(\S+)|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ENDS_WITH = re.compile(r"\s+# ends with (\d+)$")


def edited(line: str) -> None:
    """`sed -i "s/before/after/" file`, for fixed texts where `$` is the end of a line."""
    _, _, script, file = shlex.split(line)
    _, before, after, _ = script.split("/")
    text = Path(file).read_text("utf-8")
    ends = "\n" if before.endswith("$") else ""
    assert before.removesuffix("$") + ends in text, line
    Path(file).write_text(text.replace(before.removesuffix("$") + ends, after + ends), "utf-8")


def said(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints; it ends as the page says."""
    ends = ENDS_WITH.search(line)
    words = shlex.split(ENDS_WITH.sub("", line))
    if words[0] == "sed":
        edited(line)
        return ""
    code = run(words[1:])
    out, err = capsys.readouterr()
    assert code == (int(ends[1]) if ends else 0), (line, out, err)
    return f"{out}{err}"


def console(block: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The block as it comes out now."""
    lines = [line for line in block.splitlines() if line.startswith("$ ")]
    return "".join(f"{line}\n{said(line[2:], capsys)}" for line in lines)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("KIFF_COLOR", raising=False)
    yield


def test_the_page_does_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """With KIFF_WRITE_DOCS=1 the page takes over what the program shows; read the difference before it is kept."""
    text = TEXT
    for whole in BLOCK.finditer(TEXT):
        kind, file, block = whole.groups()
        if file:
            Path(file).write_text(block, "utf-8")
            continue
        shown = console(block, capsys)
        if not os.environ.get("KIFF_WRITE_DOCS"):
            assert shown == block, kind
        text = text.replace(whole[0], f"```console\n{shown}```")
    if os.environ.get("KIFF_WRITE_DOCS"):
        PAGE.write_text(text, "utf-8")


@pytest.mark.parametrize(
    "noun", ["call", "expectation", "step", "report", "event", "given", "actor", "entity", "review"]
)
def test_every_key_is_on_the_page(noun: str) -> None:
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    words = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", prose))))
    assert set(CASES["$defs"][noun]["properties"]) - words == set()
