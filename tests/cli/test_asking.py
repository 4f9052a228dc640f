"""Prompts, on a real terminal: the facts first, then a reason, then what high risk asks for."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from shop_cases import Shop

PATIENCE_SECONDS = 60


class Terminal:
    """The program on a terminal of its own; `says` waits for words, `type` answers them."""

    def __init__(self, folder: Path, *argv: str) -> None:
        program = "import sys; from kiff.cli import main; main()"
        self._file, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *argv],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
        )
        os.close(theirs)
        self.shown = ""

    def says(self, words: str) -> None:
        while words not in self.shown:
            ready, _, _ = select.select([self._file], [], [], PATIENCE_SECONDS)
            assert ready, f"waited for {words!r} and saw {self.shown!r}"
            self.shown += os.read(self._file, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def ends(self) -> int:
        while more := self._read():
            self.shown += more.decode()
        os.close(self._file)
        return self._process.wait(PATIENCE_SECONDS)

    def interrupted(self) -> int:
        """Ctrl-C, again when nothing came of it: one that falls just before a read is only seen after it."""
        while self._process.poll() is None:
            self.type("\x03")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
        return self.ends()

    def _read(self) -> bytes:
        try:
            return os.read(self._file, 4096)
        except OSError:  # how a terminal says that its program is gone
            return b""


@pytest.fixture
def held(shop: Shop) -> tuple[Shop, str]:
    return shop, shop.paid("ord_1").refund("ord_1", 999).fields["approval_id"]


def test_a_person_sees_the_facts_and_names_the_entity(held: tuple[Shop, str]) -> None:
    shop, approval = held
    terminal = Terminal(shop.folder, "approvals", "grant", approval, "--as", "ops-human")
    terminal.says("reason to grant")
    assert '{"amount": 999' in terminal.shown or "'amount': 999" in terminal.shown
    terminal.type("verified\n")
    terminal.says("type order:ord_1 to grant")
    terminal.type("order:ord_1\n")
    assert terminal.ends() == 0
    assert shop("approvals", "show", approval).fields["status"] == "granted"


def test_another_entity_grants_nothing(held: tuple[Shop, str]) -> None:
    shop, approval = held
    terminal = Terminal(shop.folder, "approvals", "grant", approval, "--as", "ops-human", "--reason", "verified")
    terminal.says("to grant")
    terminal.type("order:ord_2\n")
    assert terminal.ends() == 2
    assert shop("approvals", "show", approval).fields["status"] == "pending"


def test_ctrl_c_at_a_prompt_ends_with_130_and_grants_nothing(held: tuple[Shop, str]) -> None:
    shop, approval = held
    terminal = Terminal(shop.folder, "approvals", "grant", approval, "--as", "ops-human")
    terminal.says("reason to grant")
    assert terminal.interrupted() == 130
    assert "Traceback" not in terminal.shown
    assert shop("approvals", "show", approval).fields["status"] == "pending"


def test_watching_ends_with_130_on_ctrl_c(held: tuple[Shop, str]) -> None:
    shop, approval = held
    terminal = Terminal(shop.folder, "approvals", "watch")
    terminal.says(approval)
    assert terminal.interrupted() == 130
    assert "Traceback" not in terminal.shown
