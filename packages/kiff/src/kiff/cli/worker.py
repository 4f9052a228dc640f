"""What `kiff serve --workers` starts: one process that serves on a socket it inherits. No command of its own."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import json

from kiff.cli import ending
from kiff.cli.executors_file import registry
from kiff.cli.failure import report
from kiff.cli.server_options import start_logging
from kiff.server.serving import Serving
from kiff.server.workers import KILL_SECONDS, Serves, Work


def main() -> None:
    """Reads its work, serves, and ends when its parent says so or has gone."""
    try:
        _serve()
    except Exception as error:  # noqa: BLE001  the edge: as in `kiff.cli.run`
        report(error, debug=False)
        sys.exit(ending(error))


def _serve() -> None:
    parent = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what executors print is nothing for the parent
    work = json.decode(_line(sys.stdin.fileno()), type=Work, dec_hook=_path)
    start_logging(work.settings.log_level)
    executors = {} if work.executors is None else dict(registry(work.executors))
    serving = Serving(work.settings, executors=executors, bound=socket.socket(fileno=work.socket))
    threading.Thread(target=_end_with_parent, args=[serving], name="kiff-parent", daemon=True).start()
    token = None if work.tenant is None else serving.tower.first_login(work.tenant)

    def serves() -> None:
        with suppress(BrokenPipeError):  # the parent has gone: the thread above ends this
            os.write(parent, json.encode(Serves(token)) + b"\n")
        os.close(parent)

    serving.run(serves)


def _end_with_parent(serving: Serving) -> None:
    """Waits for the end of stdin. Read by its number: a thread that holds `sys.stdin` would keep the process."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    serving.stop()
    time.sleep(KILL_SECONDS)
    os._exit(1)


def _line(number: int) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        part = os.read(number, 65_536)
        if not part:
            sys.exit(1)  # the parent has gone
        found += part
    return found


def _path(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value
