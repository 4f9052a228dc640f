"""A scripted model behind the address of Anthropic's API: it answers from a script, and keeps what it was told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from scripts import Scripted


class Asks(NamedTuple):
    """One tool call that the model asks for."""

    tool: str
    args: dict[str, Any]
    call_id: str


class ClaudeModel(Scripted):
    """The model of one scene.

    Args:
        turns: what it asks, turn by turn; then it ends with text.

    Attributes:
        told: call id -> what it was told about the call.
    """

    def __init__(self, turns: Sequence[Sequence[Asks]]) -> None:
        self.turns = [list(turn) for turn in turns]
        self.told: dict[str, str] = {}
        self.next = 0
        self._lock = threading.Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(b"{}", "application/json")

            do_HEAD = do_GET

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                if not self.path.partition("?")[0].endswith("/v1/messages"):
                    self._send(b'{"input_tokens": 1}', "application/json")
                    return
                message = model.answer(body)
                if body.get("stream"):
                    self._send("".join(events(message)).encode(), "text/event-stream")
                else:
                    self._send(json.dumps(message).encode(), "application/json")

            def _send(self, raw: bytes, media: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", media)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *about: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The next message. A request without tools is about something else, such as a title."""
        with self._lock:
            self._listen(body)
            turn: list[Asks] = self.take() if body.get("tools") else []
        blocks = [{"type": "tool_use", "id": each.call_id, "name": each.tool, "input": each.args} for each in turn]
        return {
            "id": f"msg_{self.next}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": blocks or [{"type": "text", "text": "done"}],
            "stop_reason": "tool_use" if turn else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }

    def _listen(self, body: dict[str, Any]) -> None:
        for message in body.get("messages") or ():
            content = message.get("content")
            for block in content if isinstance(content, list) else ():
                if block.get("type") == "tool_result":
                    self.told[block["tool_use_id"]] = _text(block.get("content"))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> ClaudeModel:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()


def events(message: dict[str, Any]) -> Iterator[str]:
    """A message as the stream tells it, piece by piece."""
    yield _event("message_start", {"message": {**message, "content": [], "stop_reason": None}})
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            start, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield _event("content_block_start", {"index": index, "content_block": start})
        yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", {"delta": ended, "usage": {"output_tokens": 1}})
    yield _event("message_stop", {})


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(each.get("text", "")) for each in content if isinstance(each, dict))
    return str(content)
