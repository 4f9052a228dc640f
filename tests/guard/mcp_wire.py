"""A client of the gateway that sends bytes as they are, and a gateway in front of the gullible server."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kiff_guard import Guard
from kiff_guard.conformance import ScriptedClient
from kiff_guard.mcp.desk import Desk
from kiff_guard.mcp.process import ServerProcess
from kiff_guard.mcp.stdio import Gateway, Server

SERVER = Path(__file__).parent / "gullible_server.py"
PATIENCE_SECONDS = 20.0
MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
ELICITS = MODERN | {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}


class Lines:
    """Messages that arrive on a descriptor, kept until somebody asks for them."""

    def __init__(self, fd: int) -> None:
        self.raw: list[bytes] = []
        self.messages: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(fd,), daemon=True)
        self._thread.start()

    def _read(self, fd: int) -> None:
        with os.fdopen(fd, "rb") as file:
            for line in file:
                with self._news:
                    self.raw.append(line)
                    message = json.loads(line)
                    self.messages.extend(message if isinstance(message, list) else [message])
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message that fits, however late it comes."""
        with self._news:
            found = self._news.wait_for(lambda: self._found(fits) or self._ended, PATIENCE_SECONDS) and self._found(
                fits
            )
        assert found, f"no such message among {self.messages}"
        return found

    def _found(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        return next((each for each in self.messages if fits(each)), None)

    def join(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


class Wire:
    """A gateway, its client's end, and what the server did.

    Args:
        guard: decides.
        folder: where the server writes down what it ran.
        command: another server.
        server: one that is no process, by the desk.
    """

    def __init__(
        self,
        guard: Guard,
        folder: Path,
        command: list[str] | None = None,
        *,
        server: Callable[[Desk], Server] | None = None,
    ) -> None:
        self.guard = guard
        self.effects_file = folder / "effects.jsonl"
        self.code: int | None = None
        inward, self._send = os.pipe()
        receive, outward = os.pipe()
        self.told = Lines(receive)
        desk = Desk(guard)
        process = ServerProcess(command or [sys.executable, "-S", str(SERVER), str(self.effects_file)], os.environ)
        self.gateway = Gateway(desk, server(desk) if server else process, stdin=inward, stdout=outward)
        self._fds = [inward, outward]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.gateway.run()
        for each in self._fds:
            os.close(each)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *about: object) -> None:
        self.end()

    def raw(self, line: bytes) -> None:
        os.write(self._send, line)

    def send(self, message: Any) -> None:
        self.raw(json.dumps(message).encode() + b"\n")

    def call(self, id: Any, tool: str, arguments: Any = None, **more: Any) -> None:
        params = {"name": tool, "arguments": {} if arguments is None else arguments, **more}
        self.send({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})

    def answer(self, id: Any) -> dict[str, Any]:
        return self.told.wait(lambda each: "method" not in each and each.get("id") == id)

    def result(self, id: Any) -> dict[str, Any]:
        result = self.answer(id)["result"]
        assert isinstance(result, dict)
        return result

    def ask(self, id: Any, tool: str, arguments: Any = None, **more: Any) -> dict[str, Any]:
        """A call and its result."""
        self.call(id, tool, arguments, **more)
        return self.result(id)

    def alive(self, id: Any = "still-there") -> None:
        """The server answers, so it has read all that was sent before."""
        self.send({"jsonrpc": "2.0", "id": id, "method": "ping"})
        self.answer(id)

    def effects(self) -> list[tuple[str, Any]]:
        """What the server ran, in order."""
        if not self.effects_file.exists():
            return []
        ran = map(json.loads, self.effects_file.read_text("utf-8").splitlines())
        return [(each["tool"], each["arguments"]) for each in ran]

    def started(self) -> None:
        """The server has begun to run something."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while not self.effects():
            assert time.monotonic() < patience, "nothing was run"
            time.sleep(0.01)

    def end(self) -> int | None:
        """The client goes; gives the gateway's exit code."""
        if self._send >= 0:
            os.close(self._send)
            self._send = -1
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the gateway did not end"
        self.told.join()
        return self.code


def enforcing(outcomes: Any = "allowed", **more: Any) -> Guard:
    """A guard that enforces what a script says."""
    client = ScriptedClient(outcomes, **{name: more.pop(name) for name in ("slow", "maps") if name in more})
    return Guard(client, agent="agent-1", mode="enforce", **more)


def ends(guard: Guard) -> list[tuple[str, str, str]]:
    """Of each receipt: the tool, the outcome, and how it ended."""
    return [(each.tool, each.outcome, each.execution) for each in guard.receipts]
