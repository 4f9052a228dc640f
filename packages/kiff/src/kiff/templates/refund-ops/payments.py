"""The outside world: a payment ledger in a process of its own, with a file of its own. KIFF never reads the file.

It is deliberately not idempotent: the same request twice is money twice. Every debit is one line of JSON, on disk
before it is answered; the totals are read from that file each time they are asked for. One process at a time has it.

    python payments.py payments.jsonl [--port 8480] [--with-parent]

The port is printed on start. With --with-parent it ends when its standard input does, so it outlives nobody.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import socketserver
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
MAX_BODY_BYTES = 4096
PATIENCE_SECONDS = 5.0


class Ledger(ThreadingHTTPServer):
    """POST /debits, GET /debits, GET /total."""

    daemon_threads = True

    def __init__(self, path: Path, port: int = 0) -> None:
        self.path = path
        self._writing = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        _only_writer(self._file, path)
        super().__init__((HOST, port), Answer)

    def server_bind(self) -> None:
        # HTTPServer would look this host's name up, which can take seconds; nobody needs the name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def debits(self) -> list[dict[str, Any]]:
        with self._writing:
            return [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]

    def debit(self, entry: dict[str, Any]) -> None:
        with self._writing:
            os.write(self._file, json.dumps(entry).encode() + b"\n")
            os.fsync(self._file)


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Ledger

    def do_GET(self) -> None:
        if self.path == "/debits":
            self._send(200, self.server.debits())
        elif self.path == "/total":
            debits = self.server.debits()
            self._send(200, {"debits": len(debits), "total_minor": sum(d["amount_minor"] for d in debits)})
        else:
            self._send(404, {"error": "there is /debits and /total"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = _read(self.rfile.read(length)) if 0 < length <= MAX_BODY_BYTES else None
        if self.path != "/debits" or asked is None:
            self._send(400, {"error": "POST /debits takes {order: text, amount_minor: a positive integer}"})
            return
        entry = {"at": datetime.now(UTC).isoformat(), "key": self.headers.get("Idempotency-Key"), **asked}
        self.server.debit(entry)
        self._send(201, entry)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _only_writer(file: int, path: Path) -> None:
    """Waits a little for a ledger that is just ending; a second one beside a running one is refused."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > give_up:
                sys.exit(f"payments: another process keeps `{path}`")
            time.sleep(0.02)


def _read(body: bytes) -> dict[str, Any] | None:
    """The order and the amount; None for anything else."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.keys() != {"order", "amount_minor"}:
        return None
    amount = value["amount_minor"]
    positive = isinstance(amount, int) and not isinstance(amount, bool) and amount > 0
    return value if positive and isinstance(value["order"], str) else None


def main() -> None:
    options = argparse.ArgumentParser(description="An outside payment ledger that pays whatever it is asked to.")
    options.add_argument("file", type=Path)
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    given = options.parse_args()
    ledger = Ledger(given.file, given.port)
    print(ledger.server_port, flush=True)
    if given.with_parent:
        threading.Thread(target=ledger.serve_forever, daemon=True).start()
        sys.stdin.buffer.read()
    else:
        ledger.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
