"""A server for clients of KIFF to be tried on: it answers what it is told to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
"""(the connection, the body of the question) -> what is done with it."""


class Listening:
    """The server.

    Args:
        behaviours: one for each request in their order; the last one for all that follow.

    Attributes:
        asked: the headers of each request, by their names in lower case.
    """

    def __init__(self, *behaviours: Behaviour) -> None:
        self.asked: list[dict[str, str]] = []
        left = list(behaviours)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # `self` is the server around it
                body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
                self.asked.append({name.lower(): value for name, value in handler.headers.items()})
                behaviour = left.pop(0) if len(left) > 1 else left[0]
                handler.close_connection = True
                with suppress(OSError):  # the client goes away, as it may
                    behaviour(handler, json.loads(body or b"{}"))

            do_GET = do_POST

            def log_message(handler, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Listening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def says(status: int, body: Any = None, **headers: str) -> Behaviour:
    """An answer. A body that is a dict is one about the proposal that was asked."""

    def behave(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        whole = {"proposal_id": handler.headers.get("Idempotency-Key", ""), **body} if isinstance(body, dict) else body
        data = whole if isinstance(whole, bytes) else json.dumps(whole).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return behave


def allows(status: int = 200, **headers: str) -> Behaviour:
    return says(status, {"outcome": "allowed", "reasons": [], "message": ""}, **headers)


def hangs_up(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
    """No answer at all."""
