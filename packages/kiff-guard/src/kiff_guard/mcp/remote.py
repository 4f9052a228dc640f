"""A server behind a URL, for a gateway whose client speaks lines: this is MCP's streamable HTTP from the client's side.

    gateway -- lines --> [ a POST for each, in their order ] --> server
    gateway <-- lines -- [ answers, events, the stream of GET ] <-- server

Requests since 2026-07-28 say their version themselves, and stand alone. Older ones are sent in a session.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread, Timer
from typing import TYPE_CHECKING, Any

from kiff_guard.mcp import ending, headers, sse
from kiff_guard.mcp import message as protocol
from kiff_guard.mcp.desk import note
from kiff_guard.mcp.session import Session
from kiff_guard.mcp.shelf import Shelf
from kiff_guard.mcp.trip import Trip
from kiff_guard.mcp.upstream import CONNECT_SECONDS, Answer, Broken, Headers, Unsent, Upstream

if TYPE_CHECKING:
    from kiff_guard.mcp.stdio import Gateway

ANSWER_LIMIT = 64 * 1024 * 1024
TRIPS_LIMIT = 256
"""How many requests may be with the server at the same time."""
WAITING_LIMIT = 1_024
NOTE_SECONDS = 30.0
"""How long the server may take to accept what it does not answer."""
CANCEL_GRACE_SECONDS = 10.0
RETRY_SECONDS, SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 0.1, 30.0
RESUMPTIONS = 5
"""How often in a row it may fail to take up a stream that ended."""

EVENTS, JSON = "text/event-stream", "application/json"


class TurnedAway(Exception):
    """The server refused a request, and does not say more than the status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status}{_HINTS.get(status, '')}")
        self.status = status


class TooLong(Broken):
    """What the server says is longer than anything that is looked at. It would be as long the next time."""


_HINTS = {
    401: ": it wants to know who asks; `--header` says so",
    403: ": whoever asks may not",
    404: ": there is no MCP server at this URL, or the session is over",
    405: ": there is no MCP server of streamable HTTP at this URL",
}


class RemoteServer:
    """One server behind a URL, as the one client that it has here.

    Args:
        given: headers for the server's own authorization.
        shelf: knows the tools that were listed.
    """

    def __init__(self, upstream: Upstream, given: Iterable[tuple[str, str]], shelf: Shelf) -> None:
        self._upstream = upstream
        self._given = list(given)
        self._shelf = shelf
        self._session = Session()
        self._waiting: queue.Queue[tuple[bytes, Any]] = queue.Queue(WAITING_LIMIT)
        self._trips: set[Trip] = set()
        self._trips_lock = Lock()
        self._over = Event()
        self.lock = Lock()

    @property
    def broken(self) -> bool:
        return self._over.is_set()

    def start(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ending = ending.Ending(lambda _: self.stop())
        Thread(target=self._send_all, name="sender", daemon=True).start()

    def write(self, line: bytes, message: Any) -> None:
        with self.lock:
            self.write_locked(line, message)

    def write_locked(self, line: bytes, message: Any) -> None:
        self._waiting.put((line.strip(), message))

    def finish(self, is_busy: Callable[[], bool]) -> None:
        """The client is gone. What it said is sent, and its calls may end."""
        patience = time.monotonic() + ending.FINISH_SECONDS
        while (self._waiting.unfinished_tasks or is_busy()) and not self.broken and time.monotonic() < patience:
            time.sleep(ending.LOOK_SECONDS)
        self.stop()

    def stop(self) -> None:
        self._over.set()
        self._ending.over()

    def wait(self) -> int:
        self._ending.wait()
        return 128 + self._ending.signal if self._ending.signal else 0

    def close(self) -> None:
        """Ends what is on its way, and the session with it."""
        self._over.set()
        for each in self._under_way():
            each.stop()
        patience = time.monotonic() + ending.EXIT_SECONDS
        while self._under_way() and time.monotonic() < patience:
            time.sleep(ending.LOOK_SECONDS)
        if self._session.id:
            self._tell("DELETE", None, self._headers(Trip(session=self._session.id)), ending.EXIT_SECONDS)

    # To the server

    def _send_all(self) -> None:
        """One after the other: a request may rely on the notification before it."""
        while True:
            line, message = self._waiting.get()
            try:
                self._send(line, protocol.read_of_server(line) if message is None else message)
            except Exception as error:  # noqa: BLE001  # a fault of ours: the other messages still have to be sent
                note(f"a message could not be sent: {error!r}")
            finally:
                self._waiting.task_done()

    def _send(self, line: bytes, message: Any) -> None:
        trip = Trip(line, message if isinstance(message, dict) else {}, session=self._session.id)
        if trip.key is not None or isinstance(message, list):
            self._set_out(trip)
        elif trip.method == protocol.CANCELLED:
            self._cancel(trip)
        else:
            self._post(trip)
            if trip.method == protocol.INITIALIZED:
                self._session.begun(trip)
                self._listen()

    def _post(self, trip: Trip) -> None:
        if not self.broken:
            self._tell("POST", trip.line, self._headers(trip), NOTE_SECONDS)

    def _tell(self, method: str, body: bytes | None, headers: Headers, patience_seconds: float) -> None:
        """Sends what nothing comes back for."""
        try:
            exchange = self._upstream.send(method, headers, body, patience_seconds=patience_seconds)
            try:
                status = exchange.answer().status
            finally:
                exchange.close()
        except (Unsent, Broken) as why:
            note(str(why))
        else:
            if status >= 300 and method != "DELETE":
                note(f"the server did not take a message: it answered {status}")

    def _cancel(self, notice: Trip) -> None:
        """Since 2026 a request is cancelled by the end of its line, before that by a notification that follows it."""
        params = notice.message.get("params")
        id = params.get("requestId") if isinstance(params, dict) else None
        key = protocol.key_of(id) if protocol.is_id(id) else None
        trip = next((each for each in self._under_way() if key is not None and each.key == key), None)
        if trip is None:
            if self._session.is_open:
                self._post(notice)
        elif trip.version or not trip.sent.wait(CONNECT_SECONDS):
            trip.stop()
        else:
            self._post(notice)
            timer = Timer(CANCEL_GRACE_SECONDS, trip.stop)
            timer.daemon = True
            timer.start()

    def _headers(self, trip: Trip, *, accept: str = f"{JSON}, {EVENTS}") -> Headers:
        told = [("Content-Type", JSON), ("Accept", accept), ("User-Agent", "kiff-mcp"), *self._given]
        if not trip.version:
            return told + ([] if trip.method == protocol.INITIALIZE else self._session.headers(trip.session))
        params = trip.message.get("params")
        tool = self._shelf.get(str(params.get("name"))) if isinstance(params, dict) else None
        of_tool = tool.mirrored if tool is not None and protocol.is_call(trip.message) else ()
        return [*told, (headers.VERSION, headers.encoded(trip.version)), *headers.of_request(trip.message, of_tool)]

    # Requests, from their beginning to their answer

    def _set_out(self, trip: Trip) -> None:
        with self._trips_lock:
            there_is_room = len(self._trips) < TRIPS_LIMIT
            if there_is_room:
                self._trips.add(trip)
        if there_is_room:
            Thread(target=self._travel, args=(trip,), name="request", daemon=True).start()
        else:
            self._lost(trip, "too many requests are not answered yet", sent=False)

    def _under_way(self) -> list[Trip]:
        with self._trips_lock:
            return list(self._trips)

    def _travel(self, trip: Trip) -> None:
        try:
            self._ask(trip)
        except TurnedAway as refused:
            self._refused(trip, refused)
        except Unsent as why:
            self._lost(trip, str(why), sent=False)
        except Broken as why:
            self._lost(trip, f"{why}; what became of the request is unknown", sent=True)
        except Exception as error:  # noqa: BLE001  # a fault of ours: nobody knows how far the request came
            note(f"a request failed: {error!r}")
            self._lost(trip, "the gateway failed; what became of the request is unknown", sent=True)
        finally:
            trip.sent.set()
            with self._trips_lock:
                self._trips.discard(trip)

    def _ask(self, trip: Trip) -> None:
        """One request and its answer, however many lines it takes."""
        if trip.is_stopped or self.broken:
            raise Unsent("the request was taken back")
        self._session.asks(trip)
        with self._exchange(trip, "POST", trip.line) as answer:
            self._read(trip, answer)
        if trip.key is not None and not trip.answered:
            self._resume(trip)

    @contextmanager
    def _exchange(
        self, trip: Trip, method: str, body: bytes | None, patience_seconds: float | None = None
    ) -> Iterator[Answer]:
        asked = self._headers(trip, accept=EVENTS if body is None else f"{JSON}, {EVENTS}")
        if body is None and trip.last_event:
            asked.append(("Last-Event-ID", trip.last_event))
        exchange = self._upstream.send(method, asked, body, patience_seconds=patience_seconds)
        try:
            trip.on(exchange)
            yield exchange.answer()
        finally:
            exchange.close()

    def _read(self, trip: Trip, answer: Answer) -> None:
        trip.headers = answer.headers
        if 300 <= answer.status < 400:
            raise Broken("the server sends clients elsewhere, past the gateway")
        if answer.status == 404 and trip.session and self._renew(trip.session):
            raise Unsent("the server had ended the session, and did nothing; another is begun: ask again")
        if answer.kind == EVENTS and answer.status < 300:
            return self._events(trip, answer)
        if answer.kind == JSON:
            self._whole(trip, answer)
        if trip.answered or answer.status < 400:
            return None
        if answer.status >= 500:
            raise Broken(f"the server answered {answer.status}")
        raise TurnedAway(answer.status)

    def _whole(self, trip: Trip, answer: Answer) -> None:
        """An answer that is one message, or a list of them."""
        body = _body(answer)
        message = protocol.read_of_server(body)
        is_error = isinstance(message, dict) and isinstance(message.get("error"), dict)
        if is_error and trip.key is not None and (answer.status >= 400 or message.get("id") is None):
            message = {"jsonrpc": "2.0", "id": trip.message["id"], "error": message["error"]}
            body = protocol.written(message)
        elif answer.status >= 400:
            return
        self._take(trip, body, message)

    def _events(self, trip: Trip, answer: Answer) -> None:
        """An answer that comes in events, to its end or to where the line breaks."""
        try:
            for piece in sse.events(answer.chunks):
                if not sse.is_whole(piece):
                    if len(piece) > sse.EVENT_LIMIT:
                        raise TooLong(f"an event of the server is longer than {sse.EVENT_LIMIT} bytes")
                    return  # what is left when a stream ends is no event
                event = sse.read(piece)
                trip.saw(event)
                if event.data:
                    self._take(trip, event.data, protocol.read_of_server(event.data))
                if trip.answered:
                    return
        except TooLong:
            raise
        except Broken as why:
            if trip.is_stopped or not trip.last_event:
                raise
            note(str(why))

    def _take(self, trip: Trip, data: bytes, message: Any) -> None:
        """Something the server said, on whatever line: for the gateway it is a line, as a process would write it."""
        if isinstance(message, list):
            for each in message:
                self._take(trip, protocol.written(each), each)
            return
        if not isinstance(message, dict):
            return  # a body or an event that is no message, and so no line
        if trip.is_answer(message):
            trip.answered = True
            self._session.agreed(trip, message)
        line = data.replace(b"\r", b" ").replace(b"\n", b" ").strip() + b"\n"
        self._gateway.receive(line, message)

    def _resume(self, trip: Trip) -> None:
        """A stream ended before it had the answer, as servers may have it: it is taken up there (until 2025-11-25)."""
        failures = 0
        while trip.last_event and not (trip.version or trip.answered or trip.is_stopped) and failures < RESUMPTIONS:
            self._over.wait(_pause(trip, failures))
            if self.broken:
                break
            failures += 1
            try:
                with self._exchange(trip, "GET", None) as answer:
                    failures = 0 if answer.kind == EVENTS else failures
                    self._read(trip, answer)
            except TooLong:
                raise
            except TurnedAway:
                break
            except (Unsent, Broken) as why:
                note(str(why))
        if not trip.answered:
            raise Broken("the server's answer ended early")

    def _refused(self, trip: Trip, refused: TurnedAway) -> None:
        """The server turned a request away. To its client that is an error like any other."""
        note(str(refused))
        if trip.key is None:
            return
        is_unknown = refused.status == 404 and not trip.session and not protocol.is_call(trip.message)
        code = protocol.METHOD_NOT_FOUND if is_unknown else protocol.INTERNAL_ERROR
        message = {
            "jsonrpc": "2.0",
            "id": trip.message["id"],
            "error": {"code": code, "message": f"kiff-mcp: {refused}"},
        }
        self._gateway.receive(protocol.written(message), message)

    def _lost(self, trip: Trip, why: str, *, sent: bool) -> None:
        if not trip.answered and trip.key is not None:
            self._gateway.lost(trip.key, why, sent=sent)
        if not trip.is_stopped:
            note(why)

    # The session (until 2025-11-25)

    def _listen(self) -> None:
        """What the server says that answers nothing comes by a stream of its own, if it has one."""
        Thread(target=self._hear, args=(self._session.id,), name="listener", daemon=True).start()

    def _hear(self, session: str) -> None:
        trip, failures = Trip(session=session), 0
        with self._trips_lock:
            self._trips.add(trip)
        while not self.broken and self._session.id == session:
            failures += 1
            try:
                with self._exchange(trip, "GET", None) as answer:
                    if answer.status == 404 and session:
                        self._renew(session)
                    if answer.status < 500 and (answer.status != 200 or answer.kind != EVENTS):
                        break  # it has none
                    if answer.status == 200:
                        failures = 0
                        self._events(trip, answer)
            except TooLong as why:
                note(f"{why}; what the server says by itself is not heard any more")
                break
            except (Unsent, Broken) as why:
                if failures < 2 and not self.broken:
                    note(str(why))
            self._over.wait(_pause(trip, failures))
        with self._trips_lock:
            self._trips.discard(trip)

    def _renew(self, old: str) -> bool:
        """The server has forgotten the session. A client begins another, with what it said at the beginning of this.

        Returns:
            There is another one now.
        """
        with self._session.renewing(old) as said:
            if said is None or self.broken:
                return self._session.id not in ("", old)
            note("the server has ended the session, and another is begun")
            first, then = said
            try:
                with self._exchange(first, "POST", first.line, NOTE_SECONDS) as answer:
                    first.headers = answer.headers
                    self._session.agreed(first, _answer_to(first, answer))
            except (Unsent, Broken) as why:
                note(f"no session was begun: {why}")
                return False
            then.session = self._session.id
            self._post(then)
        self._listen()
        return bool(self._session.id)


def _body(answer: Answer) -> bytes:
    body = bytearray()
    for chunk in answer.chunks:
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise TooLong(f"the server's answer is longer than {ANSWER_LIMIT} bytes")
    return bytes(body)


def _answer_to(trip: Trip, answer: Answer) -> dict[str, Any]:
    """What the server says to a request that is none of the client's business, out of all it may say beside it."""
    pieces = sse.events(answer.chunks) if answer.kind == EVENTS else [_body(answer)]
    for piece in pieces:
        message = sse.message_in(piece) if answer.kind == EVENTS else protocol.read_of_server(piece)
        if trip.is_answer(message) and isinstance(message, dict):
            return message
    raise Broken(f"the server answered {answer.status}")


def _pause(trip: Trip, failures: int) -> float:
    """Longer after every failure."""
    seconds = max(SHORTEST_RETRY_SECONDS, RETRY_SECONDS if trip.retry_seconds is None else trip.retry_seconds)
    return float(min(seconds * 2 ** min(failures, 10), LONGEST_RETRY_SECONDS))
