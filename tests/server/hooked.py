"""A program that webhooks are sent to: it answers as a test says, and keeps what it got, in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from served import PATIENCE_SECONDS
from standardwebhooks import Webhook

from kiff.server.egress_policy import FILE


class Message(NamedTuple):
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def record(self) -> Any:
        return self.json["data"]["record"]

    def verified(self, secret: str) -> Any:
        """The body, when the library of the specification finds the signature good."""
        return Webhook(secret).verify(self.body, self.headers)


Says = Callable[[Message], tuple[int, dict[str, str]]]
"""What is answered to a message: status and headers."""


def takes(message: Message) -> tuple[int, dict[str, str]]:
    return 200, {}


class Receiver:
    """A listening program on this machine.

    Attributes:
        says: what it answers.
        messages: what it got, in the order it came, answered or not.
    """

    def __init__(self, says: Says = takes) -> None:
        self.says = says
        self.messages: list[Message] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                message = Message({name.lower(): value for name, value in self.headers.items()}, body)
                receiver.messages.append(message)
                status, headers = receiver.says(message)
                self.send_response(status)
                for name, value in ({"content-length": "0"} | headers).items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def of(self, kind: str) -> list[Message]:
        """What it got of records of a kind."""
        return [each for each in self.messages if each.record["kind"] == kind]

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE_SECONDS)
        self._server.server_close()


def allowing(data: Path) -> Path:
    """A data folder whose operator lets messages go to this machine, in the clear."""
    data.mkdir(parents=True, exist_ok=True)
    (data / FILE).write_text('allow = ["http://127.0.0.1:*"]\n')
    return data
