"""A real KIFF for the tests of frameworks: `kiff up` of the project's environment, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30.0


def kiff_program() -> Path:
    """The `kiff` to start: KIFF_BIN, or that of the project's own environment."""
    return Path(os.environ.get("KIFF_BIN") or ROOT / ".venv" / "bin" / "kiff")


@dataclass(frozen=True)
class Tower:
    """A running KIFF.

    Attributes:
        url: `http://127.0.0.1:<port>`.
        keys: `agent`, `reviewer`, `owner`.
        tenant: the tenant of the keys.
    """

    url: str
    keys: dict[str, str]
    tenant: str

    def ask(self, method: str, path: str, body: Any = None, key: str = "owner") -> tuple[int, Any]:
        """(status, JSON body) of one request by one of the three keys."""
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=PATIENCE_SECONDS)
        headers = {"Authorization": f"Bearer {self.keys.get(key, key)}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def get(self, path: str, key: str = "owner") -> Any:
        """The body of an answer, which must be a good one."""
        return _good(self.ask("GET", path, None, key))

    def post(self, path: str, body: Any = None, key: str = "owner") -> Any:
        return _good(self.ask("POST", path, {} if body is None else body, key))

    def happened(self, entity_type: str, entity_id: str, *events: str) -> None:
        """Tells KIFF what happened to an entity, as a service of the company would."""
        for event in events:
            self.post("/v1/events", {"type": event, "entity_type": entity_type, "entity_id": entity_id})

    def paid(self, *orders: str) -> None:
        """Orders of refund-ops that are placed and paid."""
        for order in orders:
            self.happened("order", order, "ORDER_PLACED", "ORDER_PAID")

    def grant(self, approval_id: str) -> Any:
        """The reviewer says yes."""
        return self.post(f"/v1/approvals/{approval_id}/grant", {"reason": "seen"}, "reviewer")

    def deny(self, approval_id: str) -> Any:
        return self.post(f"/v1/approvals/{approval_id}/deny", {"reason": "no"}, "reviewer")

    def timeline(self, entity_id: str) -> list[dict[str, Any]]:
        """What the log holds of an entity, oldest first."""
        return list(self.get(f"/v1/entities/{entity_id}/timeline")["records"])


def _good(answer: tuple[int, Any]) -> Any:
    status, body = answer
    assert status < 300, (status, body)
    return body


@contextmanager
def tower_in(folder: Path, *arguments: str) -> Iterator[Tower]:
    """A `kiff up` in a folder; `arguments` beside folder, port and output, such as `--domain kiff.yaml`."""
    command = [kiff_program(), "up", "--data", folder / "data", "--port", "0", "-o", "json", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KIFF_")}
    with (folder / "kiff.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=folder, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "kiff.log").read_text("utf-8")
        told = json.loads(line)
        yield Tower(told["url"], told["keys"], told["tenant"])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
