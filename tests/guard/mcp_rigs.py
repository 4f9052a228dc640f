"""Gateways in front of a server behind a URL: one that listens, and one whose client started it."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from mcp_server import PATIENCE_SECONDS, Behave, Server, does, until
from mcp_wire import Wire, ends

from kiff_guard import Guard
from kiff_guard.mcp.desk import Desk
from kiff_guard.mcp.remote import RemoteServer
from kiff_guard.mcp.streamable import HTTPGateway
from kiff_guard.mcp.upstream import Upstream

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Listening:
    """A gateway in front of a server, and a client."""

    def __init__(self, guard: Guard, behave: Behave = does) -> None:
        self.guard = guard
        self.server = Server(behave)
        self.gateway = HTTPGateway(Desk(guard), self.server.url, ("127.0.0.1", 0))
        self.port = int(self.gateway.server_address[1])
        self._threads = [
            threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True),
            threading.Thread(target=self.gateway.run, daemon=True),
        ]
        for each in self._threads:
            each.start()

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *about: object) -> None:
        self.gateway.shutdown()
        self.server.shutdown()
        self.server.server_close()
        for each in self._threads:
            each.join(PATIENCE_SECONDS)

    def send(self, body: Any, method: str = "POST", path: str = "/mcp", **headers: str) -> tuple[HTTPResponse, bytes]:
        """One request and its whole answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, raw, {"Content-Type": "application/json"} | named)
        response = connection.getresponse()
        told = response.read()
        connection.close()
        return response, told

    def result(self, body: Any, **headers: str) -> dict[str, Any]:
        _, told = self.send(body, **headers)
        result = json.loads(told)["result"]
        assert isinstance(result, dict)
        return result

    def raw(self, request: bytes) -> bytes:
        """What comes back for these bytes, to the end of the connection or the first pause."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as line:
            line.sendall(request)
            return line.recv(65536)

    def settled(self) -> list[tuple[str, str, str]]:
        """Once there is one."""
        until(lambda: bool(self.guard.receipts))
        return ends(self.guard)


class Behind(Wire):
    """A gateway on stdin and stdout in front of a server behind a URL."""

    def __init__(self, guard: Guard, folder: Path, behave: Behave = does, headers: Any = ()) -> None:
        self.server = Server(behave)
        self._serving = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._serving.start()
        upstream = Upstream(self.server.url)
        super().__init__(guard, folder, server=lambda desk: RemoteServer(upstream, headers, desk.shelf))

    def __exit__(self, *about: object) -> None:
        with ExitStack() as last:
            last.callback(self._serving.join, PATIENCE_SECONDS)
            last.callback(self.server.server_close)
            last.callback(self.server.shutdown)
            super().__exit__(*about)

    @property
    def got(self) -> list[Any]:
        """What the server got: the method of HTTP, and that of the message."""
        told = [(method, json.loads(body or b"{}")) for method, _, body in list(self.server.got)]
        return [each.get("method", "an answer") if method == "POST" else method for method, each in told]

    def headers(self, method: str) -> dict[str, str]:
        """Those that the first request with this method came with."""
        at = self.got.index(method)
        return {name.lower(): value for name, value in self.server.got[at][1].items()}

    def begin(self) -> None:
        """A session of 2025-11-25."""
        self.send(INITIALIZE)
        self.answer(0)
        self.send(INITIALIZED)
