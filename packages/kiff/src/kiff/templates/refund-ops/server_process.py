"""Starts `kiff serve` with two workers beside the demo, and makes sure that it never outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

WORKERS = 2
STOP_SECONDS = 60
KIFF = (sys.executable, "-P", "-c", "from kiff.cli import main; main()")
# A shell that reads our end of a pipe: whatever happens to us, the server is told to end when we do.
WITH_PARENT = '"$@" & exec >&-; read -r _; kill "$!"; wait "$!"'


class ServerProcess:
    """A running `kiff serve`, and its workers.

    Args:
        folder: its data.
        store: the database's URL; it is told where no other user sees it.
        ledger: `host:port` of the payment ledger that its executors ask.

    Raises:
        OSError: it did not start; its own words are on stderr.
    """

    def __init__(self, folder: Path, store: str, tenant: str, ledger: str) -> None:
        executors = str(Path(__file__).with_name("server_executors.py"))
        options = ["--data", str(folder), "--port", "0", "--workers", str(WORKERS), "--tenant", tenant]
        command = [*KIFF, "serve", *options, "--executors", executors, "-o", "json"]
        self._process = subprocess.Popen(
            ["sh", "-c", WITH_PARENT, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"KIFF_STORE": store, "REFUND_LEDGER": ledger},
            text=True,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends what is in flight first
        )
        assert self._process.stdout is not None, "it was started with a pipe"
        said = self._process.stdout.readline()
        if not said:
            self.stop()
            raise OSError("the server did not start")
        self.url: str = json.loads(said)["url"]

    def stop(self) -> None:
        """Ends it, when it has answered what it has. Calling it twice is fine."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
