"""A connection that a test writes byte by byte, where an HTTP client would be too polite."""

from __future__ import annotations

import json
import select
import socket
from types import TracebackType

from served import PATIENCE_SECONDS, Client, Told


class Line:
    """One TCP connection to a server."""

    def __init__(self, shop: Client, receive_buffer: int | None = None) -> None:
        host, port = shop.host.rsplit(":", 1)
        self._socket = socket.socket()
        self._socket.settimeout(PATIENCE_SECONDS)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect((host, int(port)))
        self._read = self._socket.makefile("rb")

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read.close()
        self._socket.close()

    def send(self, *parts: bytes) -> Line:
        for part in parts:
            self._socket.sendall(part)
        return self

    def send_until_refused(self, part: bytes, most: int = 64 << 20) -> None:
        """Sends the same again and again until the server has enough of it."""
        sent = 0
        while not self.has_something():
            assert sent < most, f"the server took {sent} bytes"
            try:
                self._socket.sendall(part)
            except ConnectionError:
                return
            sent += len(part)

    def has_something(self, seconds: float = 0.0) -> bool:
        """Whether there is something to read, an end included."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def half_close(self) -> None:
        """Says that nothing more will come."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self) -> Told:
        """The next response."""
        status = int(self._read.readline().split(b" ", 2)[1])
        headers: dict[str, str] = {}
        while (line := self._read.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        raw = self._read.read(int(headers["content-length"]))
        is_json = "json" in headers.get("content-type", "")
        return Told(status, json.loads(raw) if is_json and raw else raw, headers, raw)

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        parts = []
        try:
            while part := self._read.read1(1 << 16):
                parts.append(part)
        except ConnectionError:
            pass  # an end as well
        return b"".join(parts)


def head(shop: Client, method: str, path: str, *headers: str, key: str | None = "agent", version: str = "1.1") -> bytes:
    """A request's head, with the empty line that ends it."""
    lines = [f"{method} {path} HTTP/{version}", "Host: kiff.test", *headers]
    if key is not None:
        lines.append(f"Authorization: Bearer {shop.keys.get(key, key)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(shop: Client, path: str, body: bytes, *headers: str, key: str | None = "agent") -> bytes:
    """A whole request with a body of JSON."""
    length = f"Content-Length: {len(body)}"
    return head(shop, "POST", path, "Content-Type: application/json", length, *headers, key=key) + body
