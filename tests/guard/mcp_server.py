"""An MCP server behind a port, that answers as a test wants."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_SECONDS = 20.0
TELL = {"content": [{"type": "text", "text": "did it"}]}

Behave = Callable[["Server.Handler", bytes], None]


class Server(ThreadingHTTPServer):
    """An MCP server that answers as a test wants, and remembers what it got."""

    daemon_threads = True

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server: Server

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.server.got.append((self.command, dict(self.headers.items()), body))
            self.server.behave(self, body)

        do_GET = do_DELETE = do_POST

        def say(self, message: Any, status: int = 200, **headers: str) -> None:
            raw = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.send_response(status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(raw))} | {
                name.replace("_", "-"): value for name, value in headers.items()
            }
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True

        def event(self, raw: bytes) -> None:
            self.wfile.write(raw)
            self.wfile.flush()

        def log_message(self, *about: Any) -> None:
            pass

    def __init__(self, behave: Behave) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.behave = behave
        self.got: list[tuple[str, dict[str, str], bytes]] = []

    def handle_error(self, *about: Any) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mcp"


def does(handler: Server.Handler, body: bytes) -> None:
    """Answers every request by a result."""
    message = json.loads(body or b"{}")
    handler.say({"jsonrpc": "2.0", "id": message.get("id"), "result": TELL})


def until(true: Callable[[], bool]) -> None:
    patience = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < patience, "it never came"
        time.sleep(0.01)
