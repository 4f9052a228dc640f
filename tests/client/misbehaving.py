"""A real HTTP server that answers whatever a test tells it to, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

PATIENCE_SECONDS = 20.0
Behaviour = bytes | Callable[[socket.socket], None]


class Asked(NamedTuple):
    """One request that came in whole."""

    line: str
    headers: dict[str, str]
    body: bytes


def answer(status: int, body: Any, media: str | None = "application/json", *, more: str = "", length: int = 0) -> bytes:
    """A whole answer.

    Args:
        body: a value that becomes JSON; bytes are sent as they are.
        length: how much longer the head says the body is than it is.
    """
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "" if media is None else f"Content-Type: {media}\r\n"
    head = f"HTTP/1.1 {status} Word\r\n{kind}{more}Content-Length: {len(raw) + length}\r\nConnection: close\r\n\r\n"
    return head.encode() + raw


def cut(connection: socket.socket) -> None:
    """Says nothing and hangs up."""


class Misbehaving:
    """Listens on a free port of this machine.

    Attributes:
        behaviours: one for each request, in their order; the last one again and again.
        asked: every request that was read.
    """

    def __init__(self) -> None:
        self.behaviours: list[Behaviour] = []
        self.asked: list[Asked] = []
        self.let_go = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Misbehaving:
        self._serve(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "the server did not stop"

    def answers(self, *behaviours: Behaviour) -> None:
        """What comes next."""
        self.behaviours = list(behaviours)

    def hang(self, connection: socket.socket) -> None:
        """Says nothing, and stays on the line until the test is over."""
        self.let_go.wait(PATIENCE_SECONDS)

    def dribble(self, whole: bytes, pause_seconds: float) -> Behaviour:
        """The answer, a byte at a time."""

        def behave(connection: socket.socket) -> None:
            for at in range(len(whole)):
                connection.sendall(whole[at : at + 1])
                if self.let_go.wait(pause_seconds):
                    return

        return behave

    def _serve(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="misbehaving", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE_SECONDS)
            self._serve(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            asked = _read(connection)
            if asked is None:
                return
            self.asked.append(asked)
            behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
            try:
                if callable(behaviour):
                    behaviour(connection)
                else:
                    connection.sendall(behaviour)
            except OSError:
                return  # the client did not wait


def _read(connection: socket.socket) -> Asked | None:
    raw = b""
    while b"\r\n\r\n" not in raw:
        part = connection.recv(65_536)
        if not part:
            return None
        raw += part
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65_536)
    return Asked(line, headers, body)
