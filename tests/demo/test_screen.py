"""How the demo looks on streams of different kinds."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import pytest

import kiff

PROJECT = Path(kiff.__file__).parent / "templates" / "refund-ops"


class Stream(io.TextIOWrapper):
    """A stream that keeps what it is given.

    Args:
        terminal: what it says it is.
    """

    def __init__(self, encoding: str = "utf-8", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding, write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture(scope="module")
def screens() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refund_ops_screen", PROJECT / "screen.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)


def test_a_pipe_gets_no_colour(screens: ModuleType) -> None:
    stream = Stream()
    screens.Screen(stream).end("blocked")
    assert stream.text == "✕  blocked\n"


def test_a_terminal_gets_colour(screens: ModuleType) -> None:
    stream = Stream(terminal=True)
    screens.Screen(stream).end("blocked")
    assert stream.text == "\x1b[31m✕  blocked\x1b[0m\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colour_gets_none(
    screens: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    stream = Stream(terminal=True)
    screens.Screen(stream).end("held")
    assert stream.text == "❚❚ held\n"


def test_a_stream_without_unicode_gets_ascii(screens: ModuleType) -> None:
    stream = Stream("ascii")
    screen = screens.Screen(stream)
    screen.end("held")
    screen.fact("database", "größe/kiff.db")
    screen.trail(1, 3, [["placed", "decision_recorded"], ["9 × action_blocked"]])
    assert stream.text.splitlines() == [
        "|| held",
        "database  gr??e/kiff.db",
        "   #1-3     placed > decision_recorded",
        "            9 x action_blocked",
    ]


def test_a_receipt_that_does_not_fit_beside_its_note_stands_below_it(screens: ModuleType) -> None:
    stream = Stream()
    screens.Screen(stream).note("x" * 70, "rcpt_1")
    assert stream.text.splitlines() == ["   " + "x" * 70, " " * 74 + "rcpt_1"]


@pytest.mark.parametrize(("columns", "width"), [("40", 80), ("93", 93), ("200", 100)])
def test_the_width_follows_the_terminal_within_bounds(
    screens: ModuleType, monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Stream(terminal=True)
    screens.Screen(stream).title("KIFF", "run 1")
    assert len(stream.text) == width + len("\n")
