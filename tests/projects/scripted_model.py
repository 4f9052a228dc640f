"""A model's endpoint on this machine that answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Said = tuple[int, bytes]
"""A status and the bytes of the answer."""


@dataclass
class Script:
    """What the endpoint says.

    Args:
        answer: from a request to its answer.
        location: of a redirect.
        hanging: when it is to say nothing: until this is set.
    """

    answer: Callable[[Asked], Said]
    location: str = ""
    hanging: threading.Event | None = None
    asked: list[Asked] = field(default_factory=list)
    address: str = ""


class Endpoint(BaseHTTPRequestHandler):
    script: Script

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(sent))
        self.script.asked.append(asked)
        if self.script.hanging is not None:
            self.script.hanging.wait()
        status, body = self.script.answer(asked)
        self.send_response(status)
        if self.script.location:
            self.send_header("Location", self.script.location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Where a redirect would lead a client that follows it."""
        self.script.asked.append(Asked(self.path, dict(self.headers.items()), {}))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing: the test says what went wrong."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that has gone did not want the answer any more."""


@contextmanager
def served(script: Script) -> Iterator[Script]:
    """The endpoint, for as long as the block runs; `script.address` is where it is."""
    handler = type("Scripted", (Endpoint,), {"script": script})
    server = Server(("127.0.0.1", 0), handler)
    script.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        if script.hanging is not None:
            script.hanging.set()
        server.shutdown()
        thread.join()
        server.server_close()
