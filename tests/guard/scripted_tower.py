"""A scripted KIFF behind a port, for guards that run in a process of their own."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kiff_guard.conformance import ScriptedClient

KEY = "kiff_live_acme_s3cret-of-the-tests"
_CONNECTION = ("tenant_id", "project", "environment", "agent_id", "workflow")
_STATUS = {"invalid": 400, "limit_exceeded": 429}


class ScriptedTower:
    """Answers `decide` as a `ScriptedClient` does, by the name of the action.

    Args:
        outcomes: those of the client.
        says_replayed: tell of an answer that it is repeated, as KIFF does; else the same call may be asked again.
    """

    def __init__(self, outcomes: Any = "allowed", *, says_replayed: bool = False) -> None:
        self.says_replayed = says_replayed
        self.client = ScriptedClient(outcomes)
        self.keys: list[str] = []
        self.observed: list[dict[str, Any]] = []
        tower = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                tower.keys.append(self.headers.get("Authorization", ""))
                status, told = tower.answer(self.path, body)
                raw = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *about: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/v1/proposals/decide":
            decision = self.client.decide(
                "", body.get("actor_id", ""), body["action_name"], body["parameters"],
                proposal_id=body["id"], approval_id=body.get("approval_id"), settles=body.get("settles"),
            )  # fmt: skip
            told = {"proposal_id": body["id"], "outcome": decision.outcome, "message": decision.reason}
            told |= {"reasons": list(decision.reasons) or [decision.outcome], "trace_id": "trace_" + "0" * 32}
            if decision.approval_id:
                told["approval_id"] = decision.approval_id
            if decision.replayed and self.says_replayed:
                told["replayed"] = True
            return _STATUS.get(decision.outcome, 200), told
        if path.endswith("/outcome"):
            self.client.settle(path.split("/")[3], body["status"])
            return 200, {"operation_id": "op_1", "status": body["status"]}
        if path == "/v1/guard/connect":
            return 200, dict.fromkeys(_CONNECTION, "") | {"runtime_id": "grt_1", "heartbeat_interval": "60s"} | body
        if path == "/v1/guard/observations":
            self.observed.append(body)
            return 200, {"observation": body}
        return 404, {"error": "not found", "code": "not_found"}

    @property
    def outcomes(self) -> list[str]:
        """How each cleared call ended, as it was told."""
        return [each.status for each in self.client.settles]

    def __enter__(self) -> ScriptedTower:
        return self

    def __exit__(self, *about: object) -> None:
        self._server.shutdown()
        self._server.server_close()
