"""The gateway of one client that speaks over stdin and stdout. The server is a process, or stands behind a URL.

    client -- stdin --> [ read strictly, decide tool calls ] --> server
    client <-- stdout -- [ pair answers with calls, settle ] <-- server

Lines are forwarded as they came. Reading never waits for a decision: each tool call is decided by a thread of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, Thread, Timer
from typing import Any, Protocol

from kiff_guard.mcp import ending, reply
from kiff_guard.mcp import message as protocol
from kiff_guard.mcp.desk import Desk, note
from kiff_guard.mcp.lines import Writer, lines
from kiff_guard.mcp.message import Call, Key, Unreadable
from kiff_guard.mcp.ruling import Ruling
from kiff_guard.mcp.tasks import NOTHING, Asked, asked_of, task_of
from kiff_guard.mcp.workers import Workers

CLIENT_LINE_LIMIT = 16 * 1024 * 1024
UNANSWERED_LIMIT = 10_000
"""How many requests of the client may be unanswered before new tool calls are turned away."""
CANCEL_GRACE_SECONDS = 10.0
"""How long a cancelled call may still be answered before its end is unknown."""

DECIDING, ASKING, SENT = "deciding", "asking", "sent"


class Server(Protocol):
    """What stands behind a gateway."""

    @property
    def lock(self) -> Lock:
        """What is written under it is not overtaken by what is written next."""

    @property
    def broken(self) -> bool:
        """Nothing reaches it any more."""

    def start(self, gateway: Gateway) -> None:
        """From now on it tells the gateway what it says: `receive`, and `lost` of what it will never answer."""

    def write(self, line: bytes, message: Any) -> None:
        """Sends a line of the client; `message` is what it says, None if that could not be read."""

    def write_locked(self, line: bytes, message: Any) -> None:
        """The same for whoever holds the lock."""

    def finish(self, is_busy: Callable[[], bool]) -> None:
        """The client is gone: ends it, after its calls."""

    def stop(self) -> None:
        """Ends it now."""

    def wait(self) -> int:
        """Until it has ended; gives the gateway's exit code."""

    def close(self) -> None:
        """Nothing is written any more."""


@dataclass(eq=False)
class Request:
    """A request of the client that is not answered yet; one that is a tool call has a `call`.

    Attributes:
        stage: where the call is: being decided, held while its user is asked, or with the server.
        question: the id of our question to the user.
        asked: what it asks of a task.
        cancelled: the client wants no answer any more.
    """

    key: Key
    method: str
    call: Call | None = None
    stage: str = SENT
    ruling: Ruling | None = None
    question: str = ""
    asked: Asked = NOTHING
    cancelled: bool = False


class Gateway:
    """One client, one server.

    Args:
        desk: decides and settles.
        server: what stands behind it.
        stdin, stdout: the descriptors that lead to the client.
    """

    def __init__(self, desk: Desk, server: Server, *, stdin: int = 0, stdout: int = 1) -> None:
        self._desk = desk
        self._server = server
        self._stdin = stdin
        self._client = Writer(stdout)
        self._session = f"mcp_{secrets.token_hex(8)}"
        self._requests: dict[Key, Request] = {}
        self._questions: dict[str, Request] = {}
        self._lock = Lock()
        self._deciding = Workers("decide")
        self._settling = Workers("settle")
        self._elicits = False

    def run(self) -> int:
        """Serves until the client, the server or a signal ends it. Gives the exit code.

        Raises:
            OSError: the server cannot be started.
        """
        self._server.start(self)
        Thread(target=self._read_client, name="client", daemon=True).start()
        code = self._server.wait()
        self._server.close()
        self._end()
        return code

    # From the client

    def _read_client(self) -> None:
        for line in lines(self._stdin, CLIENT_LINE_LIMIT):
            if line is None:
                self._refuse(Unreadable(f"a message is longer than {CLIENT_LINE_LIMIT} bytes", protocol.PARSE_ERROR))
            elif line.strip():
                self._from_client(line)
        self._deciding.join(ending.EXIT_SECONDS)
        self._server.finish(self._has_calls)

    def _has_calls(self) -> bool:
        with self._lock:
            return any(each.call is not None and each.stage == SENT for each in self._requests.values())

    def _from_client(self, line: bytes) -> None:
        try:
            message = protocol.read(line)
            if isinstance(message, list):
                self._batch(message, line)
            else:
                self._one(message, line)
        except Unreadable as why:
            if self._desk.observes:  # it looks on and stops nothing, and says what it could not see
                note(f"a message was forwarded unseen: {why}")
                self._server.write(line, None)
            else:
                self._refuse(why)
        except Exception as error:  # noqa: BLE001  # a fault of ours is no reason to let a message through
            note(f"a message could not be looked at: {error!r}")
            if self._desk.observes:
                self._server.write(line, None)
            else:
                self._tell(reply.failure(None, protocol.INTERNAL_ERROR, "the message could not be looked at"))

    def _refuse(self, why: Unreadable) -> None:
        note(f"a message was not forwarded: {why}")
        self._tell(reply.failure(why.id, why.code, str(why)))

    def _batch(self, messages: list[dict[str, Any]], line: bytes) -> None:
        """Batches went out of the protocol in 2025. One without a tool call passes; calls come one by one."""
        calls = [each for each in messages if protocol.is_call(each)]
        if not calls or self._desk.observes:
            for each in messages if not self._desk.observes else ():
                if "method" in each:
                    self._note(each)
            self._server.write(line, messages)
            return
        for each in messages:
            if "method" in each and protocol.is_id(each.get("id")):
                why = "a batch with a tool call is not forwarded: send each message by itself"
                self._tell(reply.failure(each["id"], protocol.INVALID_REQUEST, why))

    def _one(self, message: dict[str, Any], line: bytes) -> None:
        if protocol.is_call(message):
            self._call(protocol.call_of(message, line, session=self._session, elicits=self._elicits))
        elif message.get("method") == protocol.CANCELLED:
            self._cancel(message, line)
        elif "method" in message:
            self._note(message)
            self._server.write(line, message)
        elif not self._is_our_answer(message):
            self._server.write(line, message)

    def _note(self, message: dict[str, Any]) -> None:
        """Remembers a request until it is answered: no answer to it may pass for the answer to a tool call."""
        if message["method"] == protocol.INITIALIZE:
            params = message.get("params")
            capabilities = params.get("capabilities") if isinstance(params, dict) else None
            self._elicits = isinstance(capabilities, dict) and protocol.elicits_form(capabilities)
        if protocol.is_id(id := message.get("id")):
            with self._lock:
                taken = self._requests.get(protocol.key_of(id))
                if taken is not None and taken.call is not None:
                    raise Unreadable("the id is that of a tool call that is not answered yet", id=id)
                self._make_room()
                self._requests[protocol.key_of(id)] = Request(
                    protocol.key_of(id), message["method"], asked=asked_of(message)
                )

    def _call(self, call: Call) -> None:
        request = Request(protocol.key_of(call.id), protocol.CALL, call, DECIDING)
        with self._lock:
            if request.key in self._requests:
                raise Unreadable("the id is that of a request that is not answered yet", id=call.id)
            self._make_room()
            self._requests[request.key] = request
        if self._desk.observes:
            self._decide(request)
        elif not self._deciding.submit(lambda: self._decide(request)):
            self._forget(request)
            raise Unreadable("too many tool calls wait to be decided", protocol.INTERNAL_ERROR, call.id)

    def _make_room(self) -> None:
        """Some requests are never answered. A tool call is never forgotten for another one."""
        if len(self._requests) >= UNANSWERED_LIMIT:
            oldest = next((key for key, each in self._requests.items() if each.call is None), None)
            if oldest is None:
                raise Unreadable("too many tool calls are not answered yet", protocol.INTERNAL_ERROR)
            del self._requests[oldest]

    def _decide(self, request: Request, *, again: bool = False) -> None:
        assert request.call is not None
        ruling = self._desk.rule(request.call, pausing=not again)
        if ruling.runs:
            self._send(request, ruling)
        elif ruling.pauses and not ruling.call.modern:
            self._ask(request, ruling)
        elif self._forget(request):
            self._tell(self._desk.paused(ruling) if ruling.pauses else self._desk.withheld(ruling))

    def _send(self, request: Request, ruling: Ruling) -> None:
        """Forwards a call, unless the client took it back in the meantime. A cancellation waits for this lock too."""
        with self._server.lock:
            with self._lock:
                dropped = request.cancelled or self._server.broken
                request.stage, request.ruling = SENT, ruling
            if not dropped:
                self._server.write_locked(ruling.call.raw, ruling.call.message)
        if dropped:
            self._desk.dropped(ruling)
            if self._forget(request):
                self._tell(reply.failure(ruling.call.id, protocol.INTERNAL_ERROR, "the server has ended"))

    def _cancel(self, message: dict[str, Any], line: bytes) -> None:
        params = message.get("params")
        id = params.get("requestId") if isinstance(params, dict) else None
        with self._lock:
            request = self._requests.get(protocol.key_of(id)) if protocol.is_id(id) else None
            stage = request.stage if request is not None else SENT
            if request is not None:
                request.cancelled = True
                if stage != SENT:
                    del self._requests[request.key]
                self._questions.pop(request.question, None)
        if stage == SENT:
            self._server.write(line, message)
        if request is not None and request.call is not None and stage == SENT:
            timer = Timer(CANCEL_GRACE_SECONDS, self._give_up, [request])
            timer.daemon = True
            timer.start()
        elif request is not None and stage == ASKING:
            self._tell(reply.cancelled(request.question))

    def _give_up(self, request: Request) -> None:
        if self._forget(request) and request.ruling is not None:
            self._desk.lost(request.ruling)

    # Asking the user (until 2025-11-25; later the answer itself asks)

    def _ask(self, request: Request, ruling: Ruling) -> None:
        question = f"kiff_{secrets.token_hex(16)}"
        with self._lock:
            if request.cancelled:
                return
            request.stage, request.ruling, request.question = ASKING, ruling, question
            self._questions[question] = request
        self._tell(reply.elicitation(question, ruling.decision))

    def _is_our_answer(self, message: dict[str, Any]) -> bool:
        id = message.get("id")
        with self._lock:
            request = self._questions.pop(id, None) if isinstance(id, str) else None
            if request is not None:
                request.stage = DECIDING
        if request is None:
            return False
        result = message.get("result")
        accepted = isinstance(result, dict) and result.get("action") == "accept"
        if not accepted or not self._deciding.submit(lambda: self._decide(request, again=True)):
            assert request.ruling is not None
            if self._forget(request):
                self._tell(self._desk.withheld(request.ruling))
        return True

    # From the server

    def receive(self, line: bytes, message: Any) -> None:
        """The server says something: a line, and what it says. One that we cannot read is the client's to judge."""
        request = self._answered(message)
        if request is None or request.call is None or request.ruling is None:
            self._pass_on(line, message, request)
        elif task_of(message.get("result")) is not None:  # what comes next may be about the task
            self._settle(request, message, line)
        else:
            self._when_settled(lambda: self._settle(request, message, line))
        if self._client.broken:
            self._server.stop()

    def _pass_on(self, line: bytes, message: Any, request: Request | None) -> None:
        """What answers no call. If it ends a task, that is written down before the client learns of it."""
        if request is not None and request.method == protocol.LIST:
            self._desk.listed(message.get("result"))
        settle = self._desk.hear(message, request.asked if request is not None else NOTHING)
        if settle is None:
            self._client.write(line)
        else:
            self._when_settled(lambda: (settle(), self._client.write(line)))

    def _when_settled(self, work: Callable[[], Any]) -> None:
        if self._desk.observes or not self._settling.submit(work):
            work()

    def lost(self, key: Key, why: str, *, sent: bool) -> None:
        """The server will not answer a request any more.

        Args:
            sent: it may have seen the request.
        """
        with self._lock:
            request = self._requests.get(key)
            if request is None or request.stage != SENT:
                return
            del self._requests[key]
        if request.ruling is not None:
            (self._desk.lost if sent else self._desk.dropped)(request.ruling)
        if not request.cancelled:
            self._tell(reply.failure(key[1], protocol.INTERNAL_ERROR, why))

    def _answered(self, message: Any) -> Request | None:
        """The request that this answers."""
        if not isinstance(message, dict) or not protocol.is_answer(message) or not protocol.is_id(message.get("id")):
            return None
        with self._lock:
            request = self._requests.get(protocol.key_of(message["id"]))
            if request is None or request.stage != SENT:
                return None
            del self._requests[request.key]
        return request

    def _settle(self, request: Request, message: dict[str, Any], line: bytes) -> None:
        """Before the client learns of it: whatever it does next, KIFF knows what came before."""
        assert request.ruling is not None
        self._desk.answered(request.ruling, message)
        self._client.write(line)

    # The end

    def _end(self) -> None:
        """The server has ended: what it did not answer, it never will."""
        self._settling.join(ending.EXIT_SECONDS)
        with self._lock:
            left, self._requests = list(self._requests.values()), {}
        for request in left:
            if request.call is not None and request.ruling is not None and request.stage == SENT:
                self._desk.lost(request.ruling)
            if not request.cancelled:
                why = "the server ended before it answered; what became of the request is unknown"
                self._tell(reply.failure(request.key[1], protocol.INTERNAL_ERROR, why))
        self._deciding.join(ending.EXIT_SECONDS)
        self._desk.close()

    def _forget(self, request: Request) -> bool:
        """The request is answered. Is it the first answer, and does the client still want it?"""
        with self._lock:
            first = self._requests.pop(request.key, None) is request
        return first

    def _tell(self, message: dict[str, Any]) -> None:
        self._client.write(protocol.written(message))
