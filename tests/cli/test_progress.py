"""A sign of life: on a terminal, after a moment, and gone afterwards."""

from __future__ import annotations

import io
import sys
import time

import pytest

from kiff.cli.progress import progress


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def wait_for(stream: Stream, words: str) -> None:
    while words not in stream.getvalue():
        time.sleep(0.01)  # what is waited for is written by another thread


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=False)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("verifying"):
        pass
    assert stream.getvalue() == ""


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("verifying"):
        pass
    assert stream.getvalue() == ""


def test_what_takes_long_is_shown_and_cleared_also_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(ZeroDivisionError), progress("verifying"):
        wait_for(stream, "verifying … ")
        raise ZeroDivisionError
    assert stream.getvalue().endswith("\r\x1b[K")
