"""Scripted models behind the addresses that Codex and Gemini CLI ask: they ask for tools, and then they are done."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asks(NamedTuple):
    """One tool call that the model asks for."""

    tool: str
    args: dict[str, Any]
    call_id: str


class Script:
    """What a model asks, turn by turn.

    Attributes:
        told: what it was told about its calls, one text each.
    """

    def __init__(self, *turns: list[Asks]) -> None:
        self.turns = list(turns)
        self.told: list[str] = []
        self._lock = threading.Lock()

    def next(self) -> list[Asks]:
        with self._lock:
            return self.turns.pop(0) if self.turns else []


@contextmanager
def serving(answer: Callable[[str, dict[str, Any]], tuple[str, bytes]]) -> Iterator[str]:
    """The address of a server that answers each POST by (path, body) -> (media type, bytes)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send("application/json", b'{"models": []}')

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._send(*answer(self.path, json.loads(raw or b"{}")))

        def _send(self, media: str, raw: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *about: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def responses(script: Script) -> Callable[[str, dict[str, Any]], tuple[str, bytes]]:
    """OpenAI's Responses API, as Codex asks it."""

    def answer(path: str, body: dict[str, Any]) -> tuple[str, bytes]:
        outputs = [each for each in body.get("input") or () if each.get("type") == "function_call_output"]
        script.told = [str(each.get("output")) for each in outputs]
        items: list[dict[str, Any]] = [
            {"type": "function_call", "id": f"fc_{each.call_id}", "call_id": each.call_id, "name": each.tool}
            | {"arguments": json.dumps(each.args)}
            for each in script.next()
        ]
        text = [{"type": "output_text", "text": "done"}]
        items = items or [{"type": "message", "role": "assistant", "id": "msg_1", "content": text}]
        usage = {"input_tokens": 1, "input_tokens_details": None, "output_tokens": 1, "output_tokens_details": None}
        response = {"id": "resp_1", "output": items, "usage": {**usage, "total_tokens": 2}}
        told: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "resp_1"}}]
        told += [{"type": "response.output_item.done", "output_index": n, "item": each} for n, each in enumerate(items)]
        told += [{"type": "response.completed", "response": response}]
        lines = (f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in told)
        return "text/event-stream", "".join(lines).encode()

    return answer


def gemini(script: Script) -> Callable[[str, dict[str, Any]], tuple[str, bytes]]:
    """Google's API, as Gemini CLI asks it."""

    def answer(path: str, body: dict[str, Any]) -> tuple[str, bytes]:
        if "countTokens" in path:
            return "application/json", b'{"totalTokens": 1}'
        parts: list[dict[str, Any]] = [{"text": "{}"}]  # what it asks beside the conversation
        if body.get("tools"):
            script.told = [json.dumps(each) for each in _answers(body)]
            calls = script.next()
            parts = [{"functionCall": {"name": each.tool, "args": each.args, "id": each.call_id}} for each in calls]
            parts = parts or [{"text": "done"}]
        counts = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        candidate = {"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
        message = json.dumps({"candidates": [candidate], "usageMetadata": counts})
        if "stream" in path:
            return "text/event-stream", f"data: {message}\n\n".encode()
        return "application/json", message.encode()

    return answer


def _answers(body: dict[str, Any]) -> Iterator[Any]:
    for content in body.get("contents") or ():
        for part in content.get("parts") or ():
            if "functionResponse" in part:
                yield part["functionResponse"].get("response")
