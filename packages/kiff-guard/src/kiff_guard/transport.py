"""One request to KIFF and its whole answer, within one deadline, or a typed error that says why there is none.

INVARIANT: the key is in one header of requests to one host, and nowhere else: no redirect is followed, a proxy gets
a tunnel and not the request, and what a server says is shown without it.

The libraries for HTTP and TLS are imported when they are first needed: a guard that only looks on never does.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from kiff_guard.address import Address, Proxy, is_loopback
from kiff_guard.errors import BadAnswer, ClientFailed, DeadlineExceeded, Unreachable

if TYPE_CHECKING:
    import socket
    import ssl
    from http.client import HTTPConnection, HTTPResponse

ANSWER_BYTES = 1024 * 1024
"""What an answer may have at most."""
TUNNEL_BYTES = 16 * 1024
"""What a proxy may say before its tunnel."""
IDLE_CONNECTIONS = 16
"""How many connections are kept for the next request."""
IDLE_SECONDS = 30.0
"""How long a connection is worth keeping: servers close theirs after a while."""
RETRIED = (502, 503, 504)
"""Statuses that say nothing about the request itself."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
_PIECE = 64 * 1024


class Reply(NamedTuple):
    """One whole answer.

    Args:
        sent_before: an earlier attempt of the same request may have reached the server.
    """

    status: int
    raw: bytes
    retry_after_seconds: int | None = None
    sent_before: bool = False


class Deadline:
    """The one end of everything that belongs to a request."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than none.

        Raises:
            DeadlineExceeded: there are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def allows(self, seconds: float) -> bool:
        """Is there more time than that?"""
        return self._end - time.monotonic() > seconds

    def exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no whole answer of KIFF within {self._seconds:g} s")


class _Lost(Exception):
    """The connection gave out.

    Args:
        sent: the server may have read the request.
        stale: it was kept from an earlier request, and the server had closed it.
    """

    def __init__(self, why: str, *, sent: bool, stale: bool = False) -> None:
        super().__init__(why)
        self.sent = sent
        self.stale = stale


class Transport:
    """Connections to one server, with one key. Threads may share it, and a process that was forked makes its own.

    Args:
        key: sent as a Bearer token.
        proxy: makes the tunnel to the server; None: straight there.
        tls: a context other than the default one of the standard library.
    """

    def __init__(
        self, address: Address, key: str, *, proxy: Proxy | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address = address
        self._key = key
        self._proxy = proxy
        self._tls = tls
        self._pool = _Pool()

    def __repr__(self) -> str:
        return f"<Transport {self.address.url}>"

    def __reduce__(self) -> Any:
        raise TypeError("a connection to KIFF holds a key and is not written down; make it where it is needed")

    def without_key(self, text: str) -> str:
        """A text that others wrote, as it may be shown."""
        return text.replace(self._key, "…")

    def ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline, retries: int
    ) -> Reply:
        """The whole answer to one request, whatever its status.

        Args:
            path: below the server's address.
            retries: how often it is sent again at most, when the connection gave out or the server is not itself.

        Raises:
            Unreachable, DeadlineExceeded, BadAnswer: there is none.
        """
        sent_before, attempt = False, 0
        while True:
            wait = None
            try:
                reply = self._once(method, path, body, headers, deadline)
            except _Lost as lost:
                sent_before |= lost.sent
                if lost.stale and deadline.allows(0):
                    continue  # nothing is wrong with the server; and a pool runs out of stale ones
                failure: ClientFailed | None = self._unreachable(str(lost), sent_before)
            else:
                reply = reply._replace(sent_before=sent_before)
                if reply.status not in RETRIED:
                    return reply
                failure, wait, sent_before = None, reply.retry_after_seconds, True
            pause = _pause_seconds(attempt, wait)
            if attempt >= retries or not deadline.allows(pause):
                if failure is not None:
                    raise failure
                return reply
            time.sleep(pause)
            attempt += 1

    def close(self) -> None:
        """Closes the connections that wait for a next request."""
        self._own_pool().close()

    def _own_pool(self) -> _Pool:
        """That of this process: two processes on one connection would read each other's answers."""
        if self._pool.process != os.getpid():
            self._pool = _Pool()
        return self._pool

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> Reply:
        pool = self._own_pool()
        kept = pool.take()
        line = kept or _Line(_open(self.address, self._proxy, self._context, deadline), deadline)
        line.deadline = deadline
        try:
            reply, is_reusable = self._exchange(line, method, path, body, headers)
        except BaseException as error:
            line.shut()
            if isinstance(error, _Lost):
                error.stale = kept is not None and not line.heard
            raise
        if is_reusable:
            pool.keep(line)
        else:
            line.shut()
        return reply

    def _exchange(
        self, line: _Line, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Reply, bool]:
        """One request and its answer on a connection, and whether the connection is good for another."""
        from http.client import HTTPException, IncompleteRead

        own = {"Host": self.address.authority, "Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        try:
            line.http.request(method, self.address.path + path, body, {**headers, **own, "User-Agent": "kiff-guard"})
            response = line.http.getresponse()
            reply = self._read(response)
            # What comes after an interim answer belongs to this request, and must not be taken for the next one's.
            return reply, not (response.will_close or response.status < 200 or line.said_more)
        except ClientFailed:
            raise
        except TimeoutError:
            raise line.deadline.exceeded() from None
        except IncompleteRead:
            raise _Lost("the answer broke off", sent=True) from None
        except OSError as error:
            raise _Lost(f"the connection broke off: {_why(error)}", sent=line.has_sent) from error
        except (HTTPException, ValueError) as error:
            raise BadAnswer(f"what {self.address.url} answered is no HTTP: {type(error).__name__}") from None

    def _read(self, response: HTTPResponse) -> Reply:
        lengths = response.headers.get_all("content-length", [])
        if len(lengths) > 1 or not all(each.isascii() and each.isdigit() for each in lengths):
            raise BadAnswer(f"the answer of {self.address.url} does not say how long it is")
        pieces, size = [], 0
        while piece := response.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > ANSWER_BYTES:
                raise BadAnswer(f"the answer of {self.address.url} has more than {ANSWER_BYTES} bytes")
        if response.length:
            raise _Lost("the answer broke off", sent=True)
        wait = response.headers.get("retry-after", "").strip()
        seconds = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 7 else None
        return Reply(response.status, b"".join(pieces), seconds)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            import ssl

            self._tls = ssl.create_default_context()
        return self._tls

    def _unreachable(self, why: str, sent: bool) -> Unreachable:
        unsure = "; it may have read the request all the same" if sent else ""
        return Unreachable(self.without_key(f"KIFF cannot be reached at {self.address.url}: {why}{unsure}"))


class _Line:
    """A connection, of which every wait ends with the deadline of the request that is on it. It is what
    `http.client` takes for a socket.

    Attributes:
        heard: something came back on the request that is on it; has_sent: something of it was sent.
        said_more: there was more than the answer, which nobody asked for.
    """

    def __init__(self, wire: socket.socket, deadline: Deadline) -> None:
        from http.client import HTTPConnection

        self.deadline = deadline
        self.heard = self.has_sent = self.said_more = False
        self.idle_since = 0.0
        self._wire = wire
        self.http: HTTPConnection = HTTPConnection("kiff")  # the name is for nobody: the header Host has the server's
        self.http.sock = self
        self.http.auto_open = 0
        self.http.set_debuglevel(0)  # a program that debugs its own requests prints headers, and the key is in one

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        self.has_sent = True
        while rest:
            self._wire.settimeout(self.deadline.left())
            rest = rest[self._wire.send(rest) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return _Reader(_Incoming(self))

    def receive_into(self, buffer: memoryview) -> int:
        self._wire.settimeout(self.deadline.left())
        size = self._wire.recv_into(buffer)
        self.heard |= size > 0
        return size

    def close(self) -> None:
        """`http.client` closes before it has read; `shut` closes."""

    def shut(self) -> None:
        with suppress(OSError):
            self._wire.close()

    def is_fresh(self) -> bool:
        """Is it still open, with nothing on it that nobody asked for?"""
        return time.monotonic() - self.idle_since < IDLE_SECONDS and not _is_readable(self._wire)


class _Incoming(io.RawIOBase):
    """What comes in on a line."""

    def __init__(self, line: _Line) -> None:
        self.line = line
        self.is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return 0 if self.is_over else self.line.receive_into(memoryview(buffer))


class _Reader(io.BufferedReader):
    """Reads ahead; at the end of an answer it says whether there was more."""

    def close(self) -> None:
        incoming = None if self.closed else self.raw
        if isinstance(incoming, _Incoming):
            incoming.is_over = True  # what is looked at now is what was read ahead, and nothing else is waited for
            incoming.line.said_more = bool(self.peek(1))
        super().close()


class _Pool:
    """Connections that wait for a next request, the last used on top."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._lines: list[_Line] = []
        self._lock = threading.Lock()

    def __del__(self) -> None:
        for line in self._lines:  # without the lock: nobody else has the pool, and a fork may have left it taken
            line.shut()

    def take(self) -> _Line | None:
        """One that is good still, if there is one."""
        while True:
            with self._lock:
                line = self._lines.pop() if self._lines else None
            if line is None or line.is_fresh():
                return line
            line.shut()

    def keep(self, line: _Line) -> None:
        line.idle_since, line.heard, line.has_sent = time.monotonic(), False, False
        with self._lock:
            self._lines.append(line)
            oldest = self._lines.pop(0) if len(self._lines) > IDLE_CONNECTIONS else None
        if oldest is not None:
            oldest.shut()

    def close(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            line.shut()


def _open(
    address: Address, proxy: Proxy | None, context: Callable[[], ssl.SSLContext], deadline: Deadline
) -> socket.socket:
    """A connection to the server, through the proxy if there is one, and TLS on it.

    Raises:
        Unreachable: its certificate is not good, or the proxy makes no tunnel. _Lost: it may be different next time.
    """
    host, port = (address.host, address.port) if proxy is None else (proxy.host, proxy.port)
    wire = _connected(host, port, deadline, is_here=proxy is None and not address.tls and address.is_loopback)
    try:
        if proxy is not None:
            _tunnel(wire, proxy, address, deadline)
        return _secured(wire, address, context(), deadline) if address.tls else wire
    except TimeoutError:
        wire.close()
        raise deadline.exceeded() from None
    except ClientFailed:
        wire.close()
        raise
    except OSError as error:
        wire.close()
        raise _Lost(f"no connection: {_why(error)}", sent=False) from error
    except BaseException:
        wire.close()
        raise


def _connected(host: str, port: int, deadline: Deadline, *, is_here: bool) -> socket.socket:
    """A connection.

    Args:
        is_here: to this machine only, whatever a resolver says of the name: the line is open.
    """
    import socket

    failure: OSError | None = None
    found = _resolved(host, port, deadline)
    if is_here and not all(is_loopback(str(where[0])) for *_, where in found):
        raise Unreachable(f"`{host}` is another machine here, and plain HTTP to it shows the key: use 127.0.0.1 or ::1")
    for family, kind, protocol, _, where in found:
        wire = None
        try:
            wire = socket.socket(family, kind, protocol)
            wire.settimeout(deadline.left())
            wire.connect(where)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            failure = error
            if wire is not None:
                wire.close()
            deadline.left()  # a timeout of one address is the end of the time for all
        else:
            return wire
    raise _Lost(f"no connection: {'the host has no address' if failure is None else _why(failure)}", sent=False)


def _resolved(host: str, port: int, deadline: Deadline) -> list[Any]:
    """The addresses of a host. A resolver takes no deadline, so it is asked in a thread that can be left behind."""
    import socket

    answers: list[Any] = []

    def resolve() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(error)

    if host.replace(".", "").isdigit() or ":" in host:
        resolve()
    else:
        asking = threading.Thread(target=resolve, name="kiff-guard-resolver", daemon=True)
        asking.start()
        asking.join(deadline.left())
    if not answers:
        raise deadline.exceeded()
    if isinstance(answers[0], Exception):
        raise _Lost(f"no address: {_why(answers[0])}", sent=False)
    return list(answers[0])


def _tunnel(wire: socket.socket, proxy: Proxy, address: Address, deadline: Deadline) -> None:
    """Has the proxy connect to the server (RFC 9110, section 9.3.6)."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    target = f"{host}:{address.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    wire.settimeout(deadline.left())
    wire.sendall("\r\n".join([*lines, "", ""]).encode())
    said = b""
    while b"\r\n\r\n" not in said:
        wire.settimeout(deadline.left())
        piece = wire.recv(4096)
        if not piece or len(said) > TUNNEL_BYTES:
            raise Unreachable(f"the proxy {proxy.host}:{proxy.port} makes no tunnel to {target}: it broke off")
        said += piece
    head, _, rest = said.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or words[0] not in (b"HTTP/1.1", b"HTTP/1.0") or not words[1].startswith(b"2") or rest:
        status = words[1][:3].decode("ascii", "replace") if len(words) > 1 else "no HTTP"
        raise Unreachable(f"the proxy {proxy.host}:{proxy.port} makes no tunnel to {target}: {status}")


def _secured(wire: socket.socket, address: Address, context: ssl.SSLContext, deadline: Deadline) -> socket.socket:
    from ssl import SSLCertVerificationError

    secured = context.wrap_socket(wire, server_hostname=address.host, do_handshake_on_connect=False)
    try:
        secured.settimeout(deadline.left())
        secured.do_handshake()
    except BaseException as error:
        secured.close()
        if not isinstance(error, SSLCertVerificationError):
            raise
        raise Unreachable(f"the certificate of {address.host} is not good: {error.verify_message}") from error
    return secured


def _is_readable(wire: socket.socket) -> bool:
    import select

    try:
        pending = getattr(wire, "pending", None)
        if pending is not None and pending():  # inside of TLS: read from the socket, and from nowhere else
            return True
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(wire, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([wire], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _pause_seconds(attempt: int, asked_seconds: int | None) -> float:
    """Longer after every attempt, never all clients at once, and not before the server wants to be asked again."""
    from random import uniform

    longest = min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)
    return (asked_seconds or 0) + uniform(longest / 2, longest)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)[:200] or type(error).__name__
