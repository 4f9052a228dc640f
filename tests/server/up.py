"""`kiff up` in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from served import PATIENCE_SECONDS, Client


class Up(Client):
    """A running `kiff up`, its keys, and a plain client.

    Args:
        arguments: beside the folder, the port and the output.
        environment: beside that of the test.
    """

    command = "up"

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        kiff = Path(sys.executable).with_name("kiff")
        self._log = folder / "log.jsonl"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [kiff, self.command, "--data", folder / "data", "--port", "0", "-o", "json", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=os.environ | environment,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log
        self.told = json.loads(line)
        self.host = self.told["url"].removeprefix("http://")
        self.keys = self.told.get("keys", {})

    def __enter__(self) -> Up:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def log(self) -> bytes:
        """What it wrote on stderr so far."""
        return self._log.read_bytes()

    def close(self) -> int:
        """Stops it as an operator does; what it ended with."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()


class Serve(Up):
    """A running `kiff serve`; its only credential is the login token it printed."""

    command = "serve"
