"""A host outside that answers as a script says: any bytes, slowly, half, never, or with a reset. It counts."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType

PATIENCE_SECONDS = 20.0
Script = Callable[[socket.socket], None]


class OutsideLine:
    """A listening socket on loopback.

    Attributes:
        connections: how many came.
        requests: the bytes of each request that came whole.
    """

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> OutsideLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nobody listens any more. Again, it does nothing."""
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(line,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: socket.socket) -> None:
        line.settimeout(PATIENCE_SECONDS)
        with line:
            try:
                secured = line if self._context is None else self._context.wrap_socket(line, server_side=True)
            except OSError:
                return
            with secured:
                request = _request(secured)
                if request is not None:
                    self.requests.append(request)
                try:
                    self._script(secured)
                except OSError:
                    return  # the other side went away


def answer(status: str = "200 OK", body: bytes = b"{}", headers: str = "") -> Script:
    """Answers as a good host does."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
    return lambda line: line.sendall(head + body)


def say(data: bytes) -> Script:
    """Says these bytes, and closes."""
    return lambda line: line.sendall(data)


def reset(line: socket.socket) -> None:
    """Ends the connection with RST."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang(line: socket.socket) -> None:
    """Says nothing until the other side goes away."""
    while line.recv(1_024):
        pass


def drip(line: socket.socket) -> None:
    """Says a byte at a time, for as long as anybody listens: no single wait is long."""
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    line.settimeout(0.01)
    while True:
        line.sendall(b"x")
        try:
            if not line.recv(1):
                return
        except TimeoutError:
            continue


def flood(line: socket.socket) -> None:
    """Says more than anybody wants to hear."""
    line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        line.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


def _request(line: socket.socket) -> bytes | None:
    """The request, or None when its end never came."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            piece = line.recv(65_536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(row[15:]) for row in head.lower().split(b"\r\n") if row.startswith(b"content-length:"))
        while len(body) < length:
            piece = line.recv(65_536)
            if not piece:
                return None
            body += piece
    except OSError:
        return None
    return head + b"\r\n\r\n" + body
