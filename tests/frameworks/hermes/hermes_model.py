"""A model server on this machine that answers from a script, in the shape that Hermes asks: chat completions."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scripts import Scripted

from kiff_guard.conformance import ToolCall

ABOUT = {"id": "chatcmpl-1", "created": 1, "model": "scripted"}


class Model(Scripted):
    """Attributes:
    url: for an agent's `base_url`.
    told: what the model was told about each call, by the call's id.
    asked: how many turns it was asked for.
    """

    def __init__(self, turns: Sequence[Sequence[ToolCall]]) -> None:
        self.turns = [list(turn) for turn in turns]
        self.told: dict[str, str] = {}
        self.asked = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"model": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reads(self, messages: Sequence[dict[str, Any]]) -> None:
        for message in messages:
            if message.get("role") == "tool":
                self.told[message["tool_call_id"]] = str(message["content"])

    def answer(self, body: dict[str, Any]) -> list[ToolCall]:
        """The calls of the next turn. A request without tools is for a title or the like."""
        if not body.get("tools"):
            return []
        with self._lock:
            self.reads(body["messages"])
            turn = self.turns[self.asked] if self.asked < len(self.turns) else []
            self.asked += 1
            return turn


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self._send("application/json", json.dumps({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        calls = self.model.answer(body)
        if body.get("stream"):
            self._send("text/event-stream", "".join(_events(calls)))
        else:
            self._send("application/json", json.dumps(_whole(calls)))

    def _send(self, kind: str, text: str) -> None:
        raw = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def _whole(calls: Sequence[ToolCall]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None if calls else "done", **_called(calls)}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {**ABOUT, "object": "chat.completion", "choices": [choice], "usage": usage}


def _events(calls: Sequence[ToolCall]) -> list[str]:
    deltas = [{"role": "assistant", "content": None if calls else "done", **_called(calls)}, {}]
    ends = [None, "tool_calls" if calls else "stop"]
    chunks = [
        {**ABOUT, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in zip(deltas, ends, strict=True)
    ]
    return [*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]


def _called(calls: Sequence[ToolCall]) -> dict[str, Any]:
    told = [
        {
            "index": number,
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.tool, "arguments": json.dumps(call.args)},
        }
        for number, call in enumerate(calls)
    ]
    return {"tool_calls": told} if told else {}
