"""Starts the outside payment ledger beside the demo, and makes sure that it never outlives it."""

from __future__ import annotations

import json
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("payments.py")
STOP_SECONDS = 5


class LedgerProcess:
    """A running `payments.py`. It reads our end of a pipe: whatever happens to us, it ends when we do.

    Args:
        file: where it keeps its debits.

    Raises:
        OSError: it did not start; its own words are on stderr.
    """

    def __init__(self, file: Path) -> None:
        command = [sys.executable, str(PROGRAM), str(file), "--with-parent"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends what is in flight first
        )
        self.pid = self._process.pid
        self._port: int | None = None

    @property
    def address(self) -> str:
        """`host:port`; waits until it listens."""
        if self._port is None:
            assert self._process.stdout is not None, "it was started with a pipe"
            said = self._process.stdout.readline()
            if not said.strip().isdigit():
                raise OSError("the outside payment ledger did not start")
            self._port = int(said)
        return f"127.0.0.1:{self._port}"

    def debits(self) -> list[dict[str, Any]]:
        """Every debit it ever made, oldest first."""
        connection = HTTPConnection(self.address, timeout=STOP_SECONDS)
        try:
            connection.request("GET", "/debits")
            debits: list[dict[str, Any]] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return debits

    def stop(self) -> None:
        """Ends it. Calling it twice is fine."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
