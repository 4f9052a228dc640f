"""What the program is like from outside: quick to start, quiet in a pipe, coloured only for eyes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shop_cases import Shop

from kiff.cli import COMMANDS
from kiff.cli.safe_text import visible, width

pytestmark = pytest.mark.slow

HEAVY = ("cryptography", "msgspec", "orjson", "re2", "rich", "rfc8785", "ruamel", "sqlite3", "jsonschema_rs")


def python(program: str, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "KIFF_COLOR", "KIFF_DB")}
    return subprocess.run(
        [sys.executable, "-c", program, *argv],
        env=kept | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


PROGRAM = "import sys; from kiff.cli import main; main()"


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; from kiff.cli import run; run(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    loaded = python(program).stderr.split()
    assert "click" in loaded
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []


def test_control_a_command_does_import_them() -> None:
    program = "import sys; from kiff.cli import run; run(['replay', 'x']); print(*sorted(sys.modules), file=sys.stderr)"
    assert {"msgspec", "orjson", "sqlite3"} <= set(python(program).stderr.split())


def test_help_lists_every_command_with_its_own_first_line() -> None:
    told = python(PROGRAM, "--help").stdout
    for name, (_, line) in COMMANDS.items():
        assert f"  {name}" in told
        assert line in told


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    ran = python(PROGRAM, name, "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"Usage: kiff {name} ")


def test_exit_codes_reach_the_shell(folder: Path) -> None:
    assert python(PROGRAM, "verify", "edited.db").returncode == 20
    assert python(PROGRAM, "verify", "kiff.db").returncode == 0
    assert python(PROGRAM, "bogus").returncode == 2


def test_an_interrupt_ends_with_130() -> None:
    program = (
        "import sys, kiff.cli as cli, click\n"
        "def broken(*a, **k): raise KeyboardInterrupt\n"
        "cli.cli.main = broken\n"
        "sys.exit(cli.run(['version']))"
    )
    assert python(program).returncode == 130


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    program = f"{sys.executable} -c '{PROGRAM}' timeline order:ord_002 | head -1"
    ran = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("seq")
    assert "Traceback" not in ran.stderr


def test_output_that_cannot_encode_is_escaped(folder: Path) -> None:
    ran = python(PROGRAM, "timeline", "order:ord_001", PYTHONIOENCODING="ascii")
    assert ran.returncode == 0
    assert "CREATED \\u2192 PAID" in ran.stdout


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


def test_a_terminal_gets_an_aligned_table(kiff: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    lines = kiff("timeline", "order:ord_001").out.splitlines()
    assert "\t" not in lines[0]
    assert {line.index(word) for line, word in zip(lines[:2], ("kind", "event_ingested"), strict=True)} == {
        lines[0].index("kind")
    }


def test_a_pipe_gets_tabs_and_no_colour(kiff: Any) -> None:
    assert "\x1b" not in kiff("timeline", "order:ord_001").out
    assert kiff("timeline", "order:ord_001").out.startswith("seq\ttime\t")


def test_colour_is_for_terminals_unless_told(kiff: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in kiff("verify", "kiff.db", "-o", "text").out
    monkeypatch.setenv("KIFF_COLOR", "always")
    assert "\x1b[32m" in kiff("verify", "kiff.db", "-o", "text").out
    monkeypatch.delenv("KIFF_COLOR")
    on_terminal(monkeypatch)
    assert "\x1b[32m" in kiff("verify", "kiff.db").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in kiff("verify", "kiff.db").out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain → text é 你", "plain → text é 你"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\tb\nc\x7f", "a\\x09b\\x0ac\\x7f"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("\u202eabc\u2066\u200b\ufeff", "\\u202eabc\\u2066\\u200b\\ufeff"),
        ("\u2028\U000e0041", "\\u2028\\U000e0041"),
        (None, ""),
    ],
)
def test_text_is_made_visible(text: object, shown: str) -> None:
    assert visible(text) == shown


def test_wide_and_combining_characters_are_counted_as_a_terminal_does() -> None:
    assert (width("abc"), width("你好"), width("e\u0301")) == (3, 4, 1)


def test_a_peer_that_hangs_up_on_an_executor_leaves_its_outcome_unknown(shop: Shop) -> None:
    """Were a broken pipe to end the program, the effect would be cut off in the middle, without a word."""
    hangs_up = (
        "import socket\n"
        "def issue_refund(operation):\n"
        "    ours, theirs = socket.socketpair()\n"
        "    theirs.close()\n"
        "    ours.send(b'pay')\n"
        "EXECUTORS = {'refund.issue_refund': issue_refund}\n"
    )
    shop.paid("ord_1")
    (shop.folder / "actions.py").write_text(hangs_up)
    said = ("-p", "amount=49", "-p", "reason=asked", "--as", "ops-agent")
    ran = python(PROGRAM, "execute", "AUTO_REFUND", "order:ord_1", *said)
    assert (ran.returncode, "BrokenPipeError" in ran.stdout) == (14, True)


@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-"])
def test_a_closed_stream_is_no_defect(folder: Path, redirection: str) -> None:
    program = f"{sys.executable} -c '{PROGRAM}' timeline order:ord_002 {redirection}"
    ran = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, "internal" in ran.stderr) == (0, False)


def test_an_answer_that_cannot_be_written_is_said(shop: Shop) -> None:
    shop.paid("ord_1")
    said = "-p amount=49 -p reason=asked --as ops-agent"
    program = f"{sys.executable} -c '{PROGRAM}' propose AUTO_REFUND order:ord_1 {said} > /dev/full"
    ran = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, "[io_error]" in ran.stderr, "Traceback" in ran.stderr) == (1, True, False)
