"""A server on a raw socket that answers what it is told to, and remembers what it was asked and on which connection."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

PATIENCE_SECONDS = 20.0
KEY = "kiff_live_acme_s3cret-of-the-tests"


class Asked(NamedTuple):
    """One request that arrived.

    Args:
        line: which connection it came on, counted from 1.
        headers: by their names in lower case.
    """

    line: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[socket.socket, Asked], None]
Answer = bytes | Behaviour
"""What is sent as it is, or what is done with the connection, for one request."""


class Hostile:
    """The server.

    Args:
        answers: one for each request in the order they come; the last one for all that follow.
        tls: answer over TLS.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.lines = 0
        self._tls = tls
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Hostile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            open_ones, self._open = self._open, []
        for line in open_ones:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def _listen(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.lines += 1
                number = self.lines
                self._open.append(line)
            thread = threading.Thread(target=self._serve, args=(line, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: socket.socket, number: int) -> None:
        try:
            line.settimeout(PATIENCE_SECONDS)
            if self._tls is not None:
                line = self._tls.wrap_socket(line, server_side=True)
                with self._lock:
                    self._open.append(line)  # the socket below has gone into it
            while (asked := _read(line, number)) is not None:
                with self._lock:
                    self.asked.append(asked)
                    answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if isinstance(answer, bytes):
                    line.sendall(answer)
                else:
                    answer(line, asked)
        except OSError:
            pass
        finally:
            line.close()


def _read(line: socket.socket, number: int) -> Asked | None:
    said = b""
    while b"\r\n\r\n" not in said:
        piece = line.recv(65536)
        if not piece:
            return None
        said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        body += line.recv(65536)
    method, path, _ = first.split(" ", 2)
    return Asked(number, method, path, headers, body)


def http(status: int, body: Any = None, *headers: str, version: str = "1.1", length: int | None = None) -> bytes:
    """An answer. A body that is not bytes becomes JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(raw) if length is None else length
    lines = [f"HTTP/{version} {status} Said", "Content-Type: application/json", f"Content-Length: {size}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def yes(asked: Asked) -> dict[str, Any]:
    """The body that allows what was asked."""
    id = asked.json["id"]
    return {"proposal_id": id, "outcome": "allowed", "reasons": [], "message": "cleared", "clearance_id": "clr_1"}


def allowed(line: socket.socket, asked: Asked) -> None:
    """Says yes as KIFF does."""
    line.sendall(http(200, yes(asked)))


def then_close(answer: Answer) -> Behaviour:
    """The same, and the connection ends."""

    def behave(line: socket.socket, asked: Asked) -> None:
        line.sendall(answer) if isinstance(answer, bytes) else answer(line, asked)
        line.shutdown(socket.SHUT_RDWR)

    return behave


def reset(line: socket.socket, asked: Asked) -> None:
    """Breaks the connection off, without a word."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def dripping(pause_seconds: float = 0.008) -> Behaviour:
    """Says yes, one byte after the other."""

    def behave(line: socket.socket, asked: Asked) -> None:
        for each in http(200, yes(asked)):
            line.sendall(bytes([each]))
            time.sleep(pause_seconds)

    return behave


def after(seconds: float, answer: Answer) -> Behaviour:
    """Says nothing for a while first."""

    def behave(line: socket.socket, asked: Asked) -> None:
        time.sleep(seconds)
        line.sendall(answer) if isinstance(answer, bytes) else answer(line, asked)

    return behave
