"""Requests to addresses that tenants named. Nothing else in KIFF sends to one.

A name is resolved once, every address behind it is judged by the policy, and the socket goes to an address that was
judged, while TLS still verifies the name. No redirect is followed; no proxy, cookie or environment takes part; one
deadline is over all of it. What happened is told in three ways, because they are answered differently:

    TargetRefused   the policy forbids it: nothing was sent, and nothing ever will be
    NotSent         not one byte of the request left: trying again repeats nothing
    NoAnswer        something was sent, and no whole answer came back: it may have worked
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpcore
import httpx
from msgspec import Struct

from kiff.errors import InvalidInput, KiffError
from kiff.server.addresses import Address, address_of
from kiff.server.egress_policy import EgressPolicy, Target, TargetRefused, policy_of, read_policy

__all__ = ["Answer", "Egress", "EgressPolicy", "NoAnswer", "NotSent", "TargetRefused", "policy_of", "read_policy"]

BODY_BYTES = 262_144
"""What is read of an answer, unless the caller says less."""
RESOLVING = 32
"""Names that may be looked up at once: a look-up cannot be called off, so a dead resolver holds a thread each."""
_TRIED = 4
"""Addresses of a name that are tried."""
_PIECE = 16_384
"""What is written at a time: less than a socket holds, so that a slow reader cannot stretch the deadline."""
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that a caller cannot set: they say how the request travels, or whose it is."""

Resolve = Callable[[str, int], Sequence[str]]
"""(name, port) -> its addresses as text. Raises OSError."""


class NotSent(KiffError):
    """Nothing was sent: the name does not resolve, nobody listens, the certificate is wrong, or time was up."""


class NoAnswer(KiffError):
    """Some of the request was sent, and no whole answer came back. The other side may have acted on it."""


class Answer(Struct, frozen=True):
    """An answer, whatever its status: a redirect is one too.

    Args:
        headers: by lower-case name; of several with one name, the first.
        body: at most what was asked for.
        complete: the body ended there.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool = True


class Egress:
    """The one way out. Usable from any thread.

    Args:
        context: how TLS verifies; by default against certifi's authorities, or those of SSL_CERT_FILE.
        resolve: looks a name up.
    """

    def __init__(
        self,
        policy: EgressPolicy = EgressPolicy(),  # noqa: B008  frozen
        *,
        context: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self.policy = policy
        self._context = context
        self._resolve = resolve or _looked_up
        self._resolving = threading.BoundedSemaphore(RESOLVING)

    def require(self, url: str) -> None:
        """Refuses a URL that could never be asked, as far as it can be seen without looking its name up.

        Raises:
            TargetRefused: says what is wrong with it.
        """
        self.policy.target(url)

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float, *, max_bytes: int = BODY_BYTES
    ) -> Answer:
        """Sends one request and reads its answer.

        Args:
            timeout: seconds, from the look-up of the name to the last byte of the answer.
            max_bytes: how much of the answer's body is read; `complete` says whether that was all.

        Raises:
            InvalidInput: a header that cannot be sent.
            TargetRefused, NotSent, NoAnswer: see above.
        """
        deadline = time.monotonic() + timeout
        target = self.policy.target(url)
        request = _request(target, headers, body)
        addresses = self._judged(target, deadline)
        way = _Way(addresses, deadline)
        origin = request.url.origin
        context = self._verifying() if target.scheme == "https" else None
        connection = httpcore.HTTPConnection(origin, context, network_backend=way)
        try:
            return _answer(connection.handle_request(request), max_bytes)
        except (
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            ssl.SSLError,
            OSError,
        ) as error:
            kind = NoAnswer if way.sent else NotSent
            raise kind(f"`{target.authority}`: {_told(error, way)}", host=target.host) from error
        finally:
            connection.close()
            way.close()

    def _verifying(self) -> ssl.SSLContext:
        """How TLS verifies; read when it is first needed, since it takes a while."""
        if self._context is None:
            self._context = httpx.create_ssl_context()
        return self._context

    def _judged(self, target: Target, deadline: float) -> list[str]:
        """The addresses of a target, all of them allowed."""
        if target.address is not None:
            return [str(target.address)]
        found = [address_of(text) for text in self._found(target, deadline)]
        addresses = [address for address in found if address is not None]
        if not addresses or len(addresses) < len(found):
            raise NotSent(f"`{target.host}` has no address", host=target.host)
        self.policy.require_reachable(target, addresses)
        return [str(address) for address in _once(addresses)][:_TRIED]

    def _found(self, target: Target, deadline: float) -> Sequence[str]:
        """Looks a name up, in a thread of its own: the system's look-up takes no deadline.

        Raises:
            NotSent: it is not known, or not by the deadline.
        """
        told: list[Sequence[str] | BaseException] = []
        done = threading.Event()

        def look_up() -> None:
            try:
                told.append(self._resolve(target.host, target.port))
            except (OSError, UnicodeError) as error:
                told.append(error)
            finally:
                self._resolving.release()
                done.set()

        if not self._resolving.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise NotSent(f"`{target.host}` was not looked up: too many look-ups hang", host=target.host)
        threading.Thread(target=look_up, name="kiff-look-up", daemon=True).start()
        done.wait(max(0.0, deadline - time.monotonic()))
        if not told:
            raise NotSent(f"`{target.host}` was not looked up in time", host=target.host)
        if isinstance(told[0], BaseException):
            raise NotSent(f"`{target.host}` cannot be looked up", host=target.host) from told[0]
        return told[0]


class _Way(httpcore.NetworkBackend):
    """Connects to the judged addresses, whatever host it is asked for, and knows whether something was sent."""

    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._stream: _Stream | None = None
        self.sent = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception = httpcore.ConnectError("no address")
        for count, address in enumerate(self._addresses):
            share = self.remaining(httpcore.ConnectTimeout) / (len(self._addresses) - count)
            try:
                stream = httpcore.SyncBackend().connect_tcp(address, port, share, None, ())
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                self._stream = _Stream(stream, self)
                return self._stream
        raise failed

    def remaining(self, late: type[httpcore.TimeoutException]) -> float:
        """Seconds until the deadline.

        Raises:
            `late`: it is over.
        """
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise late("time was up")
        return seconds

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


class _Stream(httpcore.NetworkStream):
    """A connection whose every step has what is left of the one deadline."""

    def __init__(self, stream: httpcore.NetworkStream, way: _Way) -> None:
        self._stream = stream
        self._way = way

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._way.remaining(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        while view:
            remaining = self._way.remaining(httpcore.WriteTimeout)
            self._way.sent = True
            self._stream.write(bytes(view[:_PIECE]), remaining)
            view = view[_PIECE:]

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        remaining = self._way.remaining(httpcore.ConnectTimeout)
        self._stream = self._stream.start_tls(ssl_context, server_hostname, remaining)
        return self

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> httpcore.Request:
    sent = {"host": target.authority, "accept-encoding": "identity", "connection": "close"}
    sent["content-length"] = str(len(body))
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _OURS or not _VALUE.fullmatch(value):
            raise InvalidInput(f"the header `{ascii(name)[1:-1]:.60}` cannot be sent", field="headers")
        sent[name.lower()] = value
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    return httpcore.Request("POST", url, headers=list(sent.items()), content=body)


def _answer(response: httpcore.Response, max_bytes: int) -> Answer:
    headers: dict[str, str] = {}
    for name, value in response.headers:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    body = bytearray()
    complete = True
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > max_bytes:
            complete = False
            break
    return Answer(response.status, headers, bytes(body[:max_bytes]), complete)


def _told(error: Exception, way: _Way) -> str:
    """Why, without what the other side said: that may hold anything."""
    if isinstance(error, httpcore.TimeoutException):
        return "no whole answer by the deadline" if way.sent else "no connection by the deadline"
    if isinstance(error.__cause__ or error.__context__, ssl.SSLCertVerificationError):
        return "its certificate is not valid for that name"
    if isinstance(error, httpcore.ProtocolError):
        return "what came back is no HTTP answer"
    return "the connection was lost" if way.sent else "nobody takes the connection"


def _once(addresses: Iterable[Address]) -> list[Address]:
    return list(dict.fromkeys(addresses))


def _looked_up(name: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
