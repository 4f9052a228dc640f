"""`kiff-guard watch` on a file that grows, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from receipt_cases import lines_of, raw_receipt, write

from kiff_guard.ledgers import JSONLLedger

COMMAND = [sys.executable, "-m", "kiff_guard.cli", "watch"]


@contextmanager
def watching(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command, beside the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, str(path), *options], text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n").split("\t")


def said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().rstrip("\n")


def test_it_waits_for_a_file_and_shows_receipts_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "receipts.jsonl"
    with watching(path) as process:
        assert said(process) == f"kiff-guard: waiting for `{path}`"
        ledger = JSONLLedger(path)
        ledger.append(raw_receipt("rcpt_1", outcome="observed", tool="refund"))
        assert line(process)[0] == "time"
        assert line(process)[1:3] == ["observed", "refund"]
        ledger.append(raw_receipt("rcpt_2", outcome="blocked", tool="close"))
        assert line(process)[1:3] == ["blocked", "close"]


def test_a_line_is_shown_when_it_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "receipts.jsonl", calls=2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with watching(path) as process:
        assert (line(process)[0], line(process)[2]) == ("time", "refund")
        with path.open("ab") as file:
            file.write(whole[-40:])
        assert line(process)[0] == lines_of(path)[-1]["at"]


def test_a_file_that_takes_its_place_is_followed_from_its_beginning(tmp_path: Path) -> None:
    path = write(tmp_path / "receipts.jsonl", calls=1)
    with watching(path, "--json") as process:
        line(process)
        write(tmp_path / "other.jsonl", calls=1).rename(path)
        assert said(process) == f"kiff-guard: `{path}` was replaced or cut: following what is there now"
        assert lines_of(path)[-1]["receipt"]["receipt_id"] in line(process)[0]


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    path = write(tmp_path / "receipts.jsonl", calls=1)
    with watching(path) as process:
        line(process)
        line(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(("settings", "coloured"), [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_whose_owner_wants_them(
    tmp_path: Path, settings: dict[str, str], coloured: bool
) -> None:
    pty = pytest.importorskip("pty", reason="needs a terminal, which only POSIX makes for tests")
    path = write(tmp_path / "receipts.jsonl", calls=1)
    ours, theirs = pty.openpty()
    environment = {**{name: value for name, value in os.environ.items() if name != "NO_COLOR"}, **settings}
    subprocess.run([*COMMAND, str(path), "--once"], stdout=theirs, env=environment, check=True)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # Linux says so when the other end is closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert (b"\x1b[2mobserved" in shown, b"refund" in shown) == (coloured, True)
