"""A payment ledger outside KIFF: a separate process with its own file, where tests count effects.

Run as a program it serves HTTP. Every debit is one fsynced line before it is answered, and asking twice debits
twice: nothing here saves KIFF from a second effect. A `book` is one test's part of the file.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class Book(NamedTuple):
    """One test's part of the outside ledger, as a client sees it."""

    port: int
    name: str

    def debit(self, operation_id: str, order: str, amount: float) -> str:
        """Moves money, again at every call. Returns the debit's number."""
        line = {"operation_id": operation_id, "order": order, "amount": amount}
        return str(self._ask("POST", json.dumps(line))["debit"])

    def debits(self, order: str | None = None) -> list[dict[str, Any]]:
        """Every debit, oldest first; or those of one order."""
        lines: list[dict[str, Any]] = self._ask("GET")
        return [line for line in lines if order in (None, line["order"])]

    def _ask(self, method: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, f"/{self.name}", body)
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            return json.loads(answer.read())
        finally:
            connection.close()


@contextmanager
def running(file: Path) -> Iterator[int]:
    """The ledger's process, while it runs. Yields its port."""
    command = [sys.executable, __file__, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


class _Ledger:
    """The file: one JSON line a debit, on disk before anybody is told."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._count = len(self.lines())

    def debit(self, book: str, told: dict[str, Any]) -> int:
        with self._lock:
            self._count += 1
            line = json.dumps({"book": book, "debit": self._count, **told}) + "\n"
            os.write(self._handle, line.encode())
            os.fsync(self._handle)
            return self._count

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_text().splitlines()]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def _serve(file: Path) -> None:
    ledger = _Ledger(file)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer({"debit": ledger.debit(self.path[1:], told)})

        def do_GET(self) -> None:
            self._answer([line for line in ledger.lines() if line["book"] == self.path[1:]])

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing: the file is the log."""

        def _answer(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()  # until whoever started it closes the pipe, or dies


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
