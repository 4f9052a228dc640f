"""The server behind a URL: one request to it, and its answer as it comes."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from kiff_guard.address import read_address
from kiff_guard.errors import ConfigurationError

CONNECT_SECONDS = 10.0
CHUNK = 64 * 1024

Headers = list[tuple[str, str]]

OF_THE_LINE = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer")
) | {"transfer-encoding", "upgrade", "content-length"}
"""Headers that are about one connection, and not about what is sent over it."""
_OURS = OF_THE_LINE | {"host", "accept-encoding", "expect", "origin"}


class Unsent(ConnectionError):
    """No connection to the server was made: it has seen nothing."""


class Broken(ConnectionError):
    """The connection broke after something was sent: nobody knows what the server did."""


class Exchange:
    """One request that was sent, and its answer."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._line = connection.sock
        self._response: http.client.HTTPResponse | None = None

    def answer(self) -> Answer:
        """The head of the answer, when it comes.

        Raises:
            Broken: none comes.
        """
        try:
            response = self._response = self._connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Broken(f"the server did not answer: {type(error).__name__}") from error
        told = [(name, value) for name, value in response.getheaders() if name.lower() not in OF_THE_LINE]
        kind = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        return Answer(response.status, kind, told, self._chunks(response))

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while chunk := response.read1(CHUNK):
                yield chunk
            if response.length:  # http.client takes an early end for the end
                raise http.client.IncompleteRead(b"", response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Broken(f"the server's answer ended early: {type(error).__name__}") from error

    def stop(self) -> None:
        """Ends it from another thread: whoever reads sees the end."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()


@dataclass(frozen=True)
class Answer:
    """What the server answers.

    Attributes:
        kind: its media type.
        chunks: its body as it comes; raises `Broken` if it ends too early.
    """

    status: int
    kind: str
    headers: Headers
    chunks: Iterator[bytes]


class Upstream:
    """Where the server is.

    Args:
        url: `https://…`; plain HTTP to this machine only.

    Raises:
        ConfigurationError: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self._address = read_address(url)
        except ConfigurationError:
            wanted = "https://…, or http:// to this machine, without user, query or fragment"
            raise ConfigurationError(f"`--upstream {url}` must be {wanted}") from None
        self.path = urlsplit(url).path or "/"

    def send(
        self,
        method: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | None,
        *,
        patience_seconds: float | None = None,
    ) -> Exchange:
        """Sends one request.

        Args:
            patience_seconds: how long the server may say nothing; None: tools may take their time.

        Raises:
            Unsent: the server has not seen it.
            Broken: it may have.
        """
        kind = http.client.HTTPSConnection if self._address.tls else http.client.HTTPConnection
        connection = kind(self._address.host, self._address.port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise Unsent(f"the server cannot be reached: {type(error).__name__}") from error
        connection.sock.settimeout(patience_seconds)
        try:
            self._send(connection, method, headers, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise Broken(f"the request was not taken whole: {type(error).__name__}") from error
        return Exchange(connection)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | None,
    ) -> None:
        given = list(headers)
        named = {
            each.strip().lower() for name, value in given if name.lower() == "connection" for each in value.split(",")
        }
        connection.putrequest(method, self.path, skip_accept_encoding=True)
        for name, value in given:
            if name.lower() not in _OURS | named:
                connection.putheader(name, value)
        connection.putheader("Accept-Encoding", "identity")  # what is packed cannot be looked at
        connection.putheader("Connection", "close")
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
