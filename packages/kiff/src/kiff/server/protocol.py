"""HTTP/1.1 as uvicorn reads it, with an end to what a client may send, and to how long it may take.

uvicorn waits for ever for the rest of a request and for a client that does not read, keeps every header it is sent,
and counts what follows a body among the headers. What is refused here is answered as everywhere (PROTOCOL "Errors").

INVARIANT: no answer stands where that of another request on the connection is expected.
"""

from __future__ import annotations

import secrets
from asyncio import TimerHandle
from http import HTTPStatus
from typing import Any, Literal

import httptools
from msgspec import json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kiff.server.problems import HttpError, error_body
from kiff.server.settings import Limits

FRAMES = 2
"""How many times its own size a body may take on the wire, with the sizes of its chunks and what follows it."""
OFFERS = 8
"""How often a connection may offer another protocol. A client that means it offers once."""
HOP_BY_HOP = frozenset({b"connection", b"upgrade", b"http2-settings"})


class BoundedProtocol(HttpToolsProtocol):
    """A connection that ends when a request is too large, too long in coming, or none at all."""

    limits = Limits()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._part: Literal["idle", "head", "body"] = "idle"
        self._fed = 0
        self._declined = 0
        self._timed: str | None = None
        self._deadline: TimerHandle | None = None
        self._unread: TimerHandle | None = None
        self._refusal: HttpError | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._keep_time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._fed += len(data)
        try:
            self.parser.feed_data(data)
            if self._fed > self._most():
                raise self._too_large()
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or HttpError("invalid", "this is no HTTP/1.1 request"))
        except HttpError as refusal:
            self._refuse(refusal)
        else:
            self._keep_time()

    def on_message_begin(self) -> None:
        self._stop_waiting()
        self._part = "head"
        self._fed = 0
        super().on_message_begin()
        self.scope["state"]["cut"] = self.transport.abort  # for answers without an end, once the server stops

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._part == "head":  # what follows a body is no header, whatever it is called
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.url) > self.limits.url_bytes or self._head_bytes() > self.limits.header_bytes:
            self._refusal = self._too_large()
            raise self._refusal
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this server is no proxy")
            return  # read again without the offer, see `_decline`
        self._part = "body"
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._part == "head":
            return  # as above
        self._stop_waiting()
        self._part = "idle"
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read. It has as long as for a body of its own."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _decline(self, rest: bytes) -> None:
        """Serves a request that offers another protocol as if it had not (RFC 9110, 7.8): the parser would drop its
        body, and take it for the next request if it came later."""
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name not in HOP_BY_HOP:
                head += [name, b": ", value, b"\r\n"]
            elif name == b"connection" and b"close" in value.lower():
                head.append(b"connection: close\r\n")
        self._declined += 1
        if self._declined > OFFERS:
            self._refuse(HttpError("invalid", "this connection keeps offering another protocol"))
            return
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _head_bytes(self) -> int:
        return sum(len(name) + len(value) for name, value in self.headers)

    def _most(self) -> int:
        limits = self.limits
        head = limits.header_bytes + limits.url_bytes
        return head if self._part == "head" else head + FRAMES * limits.body_bytes

    def _too_large(self) -> HttpError:
        limits = self.limits
        if self._part == "body":
            return HttpError("too_large", f"expected a body of at most {limits.body_bytes} bytes")
        if len(self.url) > limits.url_bytes:
            return HttpError("uri_too_long", f"expected a URL of at most {limits.url_bytes} bytes")
        return HttpError("header_too_large", f"expected headers of at most {limits.header_bytes} bytes together")

    def _refuse(self, refusal: HttpError) -> None:
        """Answers and ends the connection; requests that were complete before are answered, and nothing after them."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        self.logger.info("a request cannot be read", extra={"code": refusal.code})
        in_work = self.cycle is not None and not self.cycle.response_complete
        if in_work and self._part != "body":
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if not (self._part == "body" and (self.pipeline or self.cycle.response_started)):
            self.transport.write(_answer(refusal))
        self.transport.close()

    def _keep_time(self) -> None:
        """Starts the clock of what the client owes us: the rest of a head, the rest of a body, a first byte."""
        if self._part == "idle" and self.cycle is not None and not self.cycle.response_complete:
            return  # it waits for us
        if self._timed != self._part:
            self._stop_waiting()
            self._timed = self._part
            seconds = self.limits.body_seconds if self._part == "body" else self.limits.header_seconds
            self._deadline = self.loop.call_later(seconds, self._late)

    def _stop_waiting(self) -> None:
        self._timed = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        if self._part == "idle":
            self.transport.close()
        else:
            self._refuse(HttpError("request_timeout", f"the {self._part} of the request was too long in coming"))


def _answer(refusal: HttpError) -> bytes:
    """A whole response, after which the connection ends."""
    trace = f"trace_{secrets.token_hex(16)}"
    status, body, _ = error_body(refusal, trace)
    content = json.encode(body)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(content)}",
        f"trace-id: {trace}",
        "cache-control: no-store",
        "connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + content
