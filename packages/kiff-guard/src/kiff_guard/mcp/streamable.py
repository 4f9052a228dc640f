"""The gateway in front of a server behind a URL (MCP's streamable HTTP).

Bodies go to the server as they came, and its answers come back as they come, event by event. Each tool call is decided
before its request is forwarded; a request that does not reach the server is answered here.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_hex
from socketserver import TCPServer
from threading import BoundedSemaphore, Event, Thread, current_thread, main_thread
from typing import Any

from kiff_guard.mcp import message as protocol
from kiff_guard.mcp import reply, sse
from kiff_guard.mcp.asking import Asking, Question
from kiff_guard.mcp.crossing import Crossing, Crossings, Key
from kiff_guard.mcp.desk import Desk, note
from kiff_guard.mcp.entrance import LOOPBACK, Entrance, Refused, check_header, check_type, length_of, turned_away
from kiff_guard.mcp.headers import SESSION
from kiff_guard.mcp.message import Unreadable
from kiff_guard.mcp.ruling import Ruling
from kiff_guard.mcp.tasks import NOTHING, asked_of
from kiff_guard.mcp.upstream import Answer, Broken, Unsent, Upstream
from kiff_guard.mcp.upstream import Exchange as Sent

ANSWER_LIMIT = 64 * 1024 * 1024
"""A larger answer is passed on and not looked at."""
CONNECTIONS = 256
IDLE_SECONDS = 60.0
ASK_SECONDS = 600.0
ALIVE_SECONDS = 15.0
"""How long a user may think, and how often a client that waits hears something meanwhile."""
LOOK_SECONDS = 0.5

_NOT_PASSED_ON = ("alt-svc", "server", "date")
_OURS_TO_SAY = ("access-control-allow-origin", "access-control-expose-headers")


def serve(desk: Desk, upstream: str, address: tuple[str, int], origins: Iterable[str]) -> int:
    """Serves until a signal ends it.

    Raises:
        ConfigurationError: the server's URL is none.
        OSError: the address cannot be listened on.
    """
    gateway = HTTPGateway(desk, upstream, address, origins)
    note(f"listening on {gateway.url}")
    if current_thread() is main_thread():
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: Thread(target=gateway.shutdown, daemon=True).start())
    gateway.run()
    return 0


class HTTPGateway(ThreadingHTTPServer):
    """Listens for clients, a thread for each connection.

    Args:
        desk: decides and settles.
        upstream: the server's URL; clients find the gateway under the same path.
        address: host and port to listen on.
        origins: web pages of other origins that may use it.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, desk: Desk, upstream: str, address: tuple[str, int], origins: Iterable[str] = ()) -> None:
        self.upstream = Upstream(upstream)
        self.desk = desk
        self.crossings = Crossings(desk)
        self.asking = Asking()
        self.entrance = Entrance(self.upstream.path, address[0] in LOOPBACK, origins)
        self.salt = token_hex(16)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._room = BoundedSemaphore(CONNECTIONS)
        super().__init__(address, partial(Exchange, self))

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        host = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self.upstream.path}"

    def server_bind(self) -> None:
        """Without the lookup of this machine's name that HTTPServer does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def run(self) -> None:
        """Serves until `shutdown`."""
        try:
            self.serve_forever(poll_interval=LOOK_SECONDS)
        finally:
            self.server_close()
            self.desk.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            note(f"a request failed: {type(error).__name__}")


class Exchange(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    _begun = False  # an answer of events was begun: whatever else there is to say is one of them

    def __init__(self, gateway: HTTPGateway, *about: Any) -> None:
        self.gateway = gateway
        super().__init__(*about)

    def log_message(self, *about: Any) -> None:
        """Nothing: paths and headers of clients are theirs."""

    def do_POST(self) -> None:
        self._answered(self._post)

    def do_GET(self) -> None:
        self._answered(partial(self._forward, "GET", None))

    def do_DELETE(self) -> None:
        self._answered(self._delete)

    def do_OPTIONS(self) -> None:
        self._answered(self._preflight)

    def _answered(self, work: Any) -> None:
        self._begun = False  # a connection carries one request after the other
        try:
            self.gateway.entrance.admit(self.path, self.headers)
            work()
        except Refused as refused:
            self.close_connection = self.close_connection or refused.closes
            self._say(refused.status, refused.message)

    def _body(self) -> bytes:
        length = length_of(self.headers)
        body = self.rfile.read(length)
        if len(body) != length:
            raise turned_away(400, "the request ended early")
        return body

    # What comes from clients

    def _post(self) -> None:
        body = self._body()
        try:
            check_type(self.headers)
            message = protocol.read(body, framed_by_lines=False)
            check_header(self.headers, "Mcp-Method", message.get("method") if isinstance(message, dict) else None)
            if isinstance(message, dict) and protocol.is_call(message):
                return self._call(message, body)
            if isinstance(message, list) and any(map(protocol.is_call, message)):
                raise Unreadable("a batch with a tool call is not forwarded: send each message by itself")
            reserved = self._reserved(message)
        except Unreadable as why:
            if not self.gateway.desk.observes:
                note(f"a message was not forwarded: {why}")
                raise Refused(400, reply.failure(why.id, why.code, str(why))) from None
            note(f"a message was forwarded unseen: {why}")
            message, reserved = None, []
        try:
            self._other(message if isinstance(message, dict) else {}, body)
        finally:
            self.gateway.crossings.free(reserved)

    def _reserved(self, message: Any) -> list[Key]:
        keys = self.gateway.crossings.reserve(self._session(), message if isinstance(message, list) else [message])
        if keys is None:
            id = message.get("id") if isinstance(message, dict) else None
            raise Unreadable("the id is that of a tool call that is not answered yet", id=id)
        return keys

    def _other(self, message: dict[str, Any], body: bytes) -> None:
        """What is no tool call is forwarded, but for the answers to what the gateway asked."""
        if protocol.is_answer(message) and self.gateway.asking.hear(self._session(), message):
            self._head(202, [], 0)
            return
        if message.get("method") == protocol.CANCELLED:
            params = message["params"] if isinstance(message.get("params"), dict) else {}
            self.gateway.crossings.cancel(self._session(), params.get("requestId"))
        self._forward("POST", body, about=message)

    def _call(self, message: dict[str, Any], body: bytes) -> None:
        session = self._session()
        elicits = self.gateway.asking.is_able(session)
        call = protocol.call_of(message, body, session=session or self._principal(), elicits=elicits)
        check_header(self.headers, "Mcp-Name", call.tool)
        room = session or token_hex(16)  # without a session clients choose their ids without each other
        crossing = self.gateway.crossings.enter(call, room)
        if crossing is None:
            raise Unreadable("the id is that of a request that is not answered yet", id=call.id)
        try:
            self._decide(crossing, "" if session else f"{room}:{json.dumps(call.id)}")
        except BaseException:
            self.gateway.crossings.lose(crossing)
            raise

    def _decide(self, crossing: Crossing, call_id: str, *, again: bool = False) -> None:
        desk, crossings = self.gateway.desk, self.gateway.crossings
        ruling = desk.rule(crossing.call, call_id=call_id, pausing=not again)
        if ruling.pauses and not ruling.call.modern:
            self._ask(crossing, ruling, call_id)
        elif not ruling.runs:
            crossings.leave(crossing)
            self._say(200, desk.paused(ruling) if ruling.pauses else desk.withheld(ruling))
        elif crossings.send(crossing, ruling):
            self._forward("POST", ruling.call.raw, crossing)
        else:
            crossings.leave(crossing)
            desk.dropped(ruling)
            self._say(200, reply.failure(crossing.call.id, protocol.INTERNAL_ERROR, "the call was cancelled"))

    def _ask(self, crossing: Crossing, ruling: Ruling, call_id: str) -> None:
        """Has the client ask its user, as a request of its own in the stream that will carry the answer."""
        self._head(200, [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")], None)
        self._begun = True
        question = self.gateway.asking.put(crossing.room)
        try:
            self._write_piece(sse.event_of(protocol.written(reply.elicitation(question.id, ruling.decision))))
            accepted = self._hear(question, crossing)
        finally:
            self.gateway.asking.over(question)
        if accepted:
            self._decide(crossing, call_id, again=True)
        else:
            self.gateway.crossings.leave(crossing)
            self._say(200, self.gateway.desk.withheld(ruling))

    def _hear(self, question: Question, crossing: Crossing) -> bool:
        """Does the user want to go on? Waits for the answer while the client waits for ours."""
        until = time.monotonic() + ASK_SECONDS
        while not question.answered.wait(ALIVE_SECONDS):
            if crossing.cancelled or time.monotonic() > until or not self._write_piece(b": waiting\n\n"):
                return False
        return question.accepted and not crossing.cancelled

    def _delete(self) -> None:
        self._forward("DELETE", None)
        self.gateway.crossings.end(self._session())
        self.gateway.desk.session_over(self._session())
        self.gateway.asking.ended(self._session())

    def _preflight(self) -> None:
        self._head(204, self.gateway.entrance.preflight(self.headers), None)

    def _session(self) -> str:
        """Names the session without telling its id, which is a secret of the client and the server; "" without one."""
        return self._named(self.headers.get(SESSION, ""))

    def _principal(self) -> str:
        """The same of whoever sends the request, for what must not be handed from one client to another."""
        return self._named(self.headers.get("Authorization", "") or "nobody")

    def _named(self, secret: str) -> str:
        if not secret:
            return ""
        return f"mcp_{hashlib.sha256(f'{self.gateway.salt}{secret}'.encode()).hexdigest()[:32]}"

    # What comes from the server

    def _forward(self, method: str, body: bytes | None, crossing: Crossing | None = None, *, about: Any = None) -> None:
        """Sends a request on, and its answer back."""
        try:
            exchange = self.gateway.upstream.send(method, self.headers.items(), body)
        except Unsent as error:
            if crossing is not None and crossing.ruling is not None and self.gateway.crossings.leave(crossing):
                self.gateway.desk.dropped(crossing.ruling)
            raise self._gone(crossing, error) from error
        except Broken as error:
            raise self._gone(crossing, error) from error
        over = self._watch(exchange) if method == "GET" or (crossing is not None and crossing.call.modern) else None
        try:
            answer = exchange.answer()
            if 300 <= answer.status < 400:
                raise self._gone(crossing, "the server sends clients elsewhere, past the gateway")
            if about is not None and about.get("method") == protocol.INITIALIZE:
                self._begin(answer, about)
            answer.headers[:] = [each for each in answer.headers if each[0].lower() not in _OURS_TO_SAY]
            self._pass_on(answer, crossing, about or {})
        except Broken as error:
            raise self._gone(crossing, error) from error
        finally:
            if over is not None:
                over.set()
            exchange.close()

    def _begin(self, answer: Answer, message: dict[str, Any]) -> None:
        """A session begins: what its client can do is said now, and never again."""
        session = next((value for name, value in answer.headers if name.lower() == SESSION.lower()), "")
        params = message["params"] if isinstance(message.get("params"), dict) else {}
        capabilities = params.get("capabilities")
        if session and isinstance(capabilities, dict) and protocol.elicits_form(capabilities):
            self.gateway.asking.able(self._named(session))

    def _gone(self, crossing: Crossing | None, why: object) -> Refused:
        id = None
        if crossing is not None:
            self.gateway.crossings.lose(crossing)
            id = crossing.call.id
        note(str(why))
        return Refused(502, reply.failure(id, protocol.INTERNAL_ERROR, str(why)))

    def _pass_on(self, answer: Answer, crossing: Crossing | None, about: dict[str, Any]) -> None:
        room = self._session() if crossing is None else crossing.room
        if answer.kind == "text/event-stream":
            self._stream(answer, sse.events(answer.chunks), room, crossing, about)
            lost = not self._session()  # within a session the answer may come by another stream
        else:
            lost = True
            self._whole(answer, room, about)
        if crossing is None:
            return
        if 400 <= answer.status < 500:
            self.gateway.crossings.fail(crossing)
        elif lost or crossing.cancelled:
            self.gateway.crossings.lose(crossing)

    def _whole(self, answer: Answer, room: str, about: dict[str, Any]) -> None:
        """An answer that is one message: looked at, then sent."""
        body = bytearray()
        for chunk in answer.chunks:
            body += chunk
            if len(body) > ANSWER_LIMIT:
                self._stream(answer, itertools.chain([bytes(body)], answer.chunks), "", None, {})
                return
        is_json = answer.kind == "application/json"
        if is_json:
            self._look(room, protocol.read_of_server(bytes(body)), about)
        if not self._begun:
            self._head(answer.status, answer.headers, len(body))
            self._write(bytes(body))
        elif is_json:
            self._write_piece(sse.event_of(bytes(body)))
            self._write_piece(b"")
        else:
            raise Broken("the server did not answer with a message")

    def _stream(
        self, answer: Answer, pieces: Iterable[bytes], room: str, crossing: Crossing | None, about: dict[str, Any]
    ) -> None:
        """An answer that comes in pieces: each is looked at, then sent."""
        if not self._begun:
            self._head(answer.status, answer.headers, None)
        there = True
        try:
            for piece in pieces:
                self._look(room, sse.message_in(piece) if answer.kind == "text/event-stream" else None, about)
                there = there and self._write_piece(piece)
                if not there and (crossing is None or crossing.call.modern):
                    return  # until 2025 a client that goes does not end its call
            if there:
                self._write_piece(b"")
        except Broken as error:  # the head is out: the client sees the end
            note(str(error))
            self.close_connection = True
        finally:
            self.close_connection = self.close_connection or not there

    def _look(self, room: str, message: Any, about: dict[str, Any]) -> None:
        """Something comes from the server. What it ends is settled before the client learns of it.

        Args:
            about: the request of the client that it may be the answer to.
        """
        for each in message if isinstance(message, list) else [message]:
            if not isinstance(each, dict):
                continue
            answers = protocol.is_answer(each) and each.get("id") == about.get("id")
            settle = self.gateway.desk.hear(each, asked_of(about) if answers else NOTHING)
            if settle is not None:
                settle()
            if answers and about.get("method") == protocol.LIST:
                self.gateway.desk.listed(each.get("result"))
        self.gateway.crossings.look(room, message)

    def _watch(self, exchange: Sent) -> Event:
        """Ends the request when the client goes: that is how it is cancelled since 2026, and how a stream ends."""
        over = Event()

        def look() -> None:
            with selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
                selector.register(self.connection, selectors.EVENT_READ)
                while not over.is_set():
                    if selector.select(LOOK_SECONDS):
                        if not self.connection.recv(1, socket.MSG_PEEK):
                            exchange.stop()
                        return  # it sends more, so it is there

        Thread(target=look, name="client-watch", daemon=True).start()
        return over

    # What clients are told

    def _say(self, status: int, message: dict[str, Any]) -> None:
        body = protocol.written(message)
        if self._begun:
            self._write_piece(sse.event_of(body))
            self._write_piece(b"")
            return
        self._head(status, [("Content-Type", "application/json")], len(body))
        self._write(body)

    def _head(self, status: int, headers: Iterable[tuple[str, str]], length: int | None) -> None:
        self.send_response_only(status)
        for name, value in [*headers, *self.gateway.entrance.for_a_page(self.headers)]:
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        if status == 204:
            pass
        elif length is not None:
            self.send_header("Content-Length", str(length))
        elif self.request_version == "HTTP/1.1":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        with suppress(OSError):
            self.end_headers()

    def _write_piece(self, piece: bytes) -> bool:
        if self.request_version == "HTTP/1.1":
            return self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return self._write(piece)

    def _write(self, data: bytes) -> bool:
        """Is the client still there?"""
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True
            return False
        return True
