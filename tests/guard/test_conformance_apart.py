"""What the suite shows without an adapter: each check passes on the guard as it is, and finds its flaw."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from kiff_guard import Guard
from kiff_guard.conformance import apart, run_apart
from kiff_guard.decision import Decision

pytestmark = pytest.mark.slow

CAP = 1024 * 1024
IDS = list(apart.CHECKS)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "PATIENCE_SECONDS", 1.5)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Leaves the checks of one family."""
    every = dict(apart.CHECKS)

    def leave(letters: str) -> None:
        monkeypatch.setattr(apart, "CHECKS", {id: row for id, row in every.items() if id[0] in letters})

    return leave


def test_the_guard_passes_all_of_it() -> None:
    report = run_apart().check()
    assert [result.id for result in report.results] == IDS


# Clients


@dataclass
class Careful:
    """A client that does all that the checks ask for, but for its flaw."""

    url: str
    seconds: float
    flaw: str = ""

    def decide(self, tenant: str, agent: str, tool: str, args: dict[str, Any]) -> Decision:
        key = uuid4().hex
        try:
            return self._ask(self.url, key)
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return self._ask(self.url, uuid4().hex if self.flaw == "N6" else key)

    def _ask(self, url: str, key: str) -> Decision:
        over = time.monotonic() + self.seconds
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=self.seconds)
        headers = {"Idempotency-Key": key, "Authorization": f"Bearer {apart.SECRET}"}
        try:
            connection.request("POST", "/v1/proposals/decide", b"{}", headers)
            with connection.getresponse() as reply:
                if self.flaw == "N2" and reply.status in (301, 302, 303, 307, 308):
                    return self._ask(reply.headers["Location"], key)
                return self._read(reply.status, self._body(reply, over), key)
        finally:
            connection.close()

    def _body(self, reply: http.client.HTTPResponse, over: float) -> bytes:
        body = b""
        while chunk := reply.read1(65536):
            body += chunk[: 10 if self.flaw == "N4" and len(body) > CAP else None]
            if self.flaw != "N4" and len(body) > CAP:
                raise ValueError("too long")
            if self.flaw != "N3" and time.monotonic() > over:
                raise TimeoutError("too late")
        return body

    def _read(self, status: int, body: bytes, key: str) -> Decision:
        told = json.loads(body)
        if not isinstance(told, dict) or told["proposal_id"] != key:
            raise ValueError("no decision")
        outcome = told.get("outcome") or told["code"]
        if outcome == "allowed" and status != 200 and not (self.flaw == "N1" and status >= 400):
            outcome = "blocked"
        return Decision(outcome, approval_id="" if self.flaw == "N5" else told.get("approval_id", ""))


def test_control_a_careful_client_passes(impatient: None, only: Callable[[str], None]) -> None:
    only("N")
    report = run_apart(Careful)
    assert report.failures == ()


@pytest.mark.parametrize("flaw", [id for id in IDS if id[0] == "N"])
def test_a_careless_client_is_found(flaw: str, impatient: None, only: Callable[[str], None]) -> None:
    only("N")
    report = run_apart(lambda url, seconds: Careful(url, seconds, flaw))
    assert [failure.id for failure in report.failures] == [flaw]


# The rest


def _unquoted(name: str, catalog: Any) -> str:
    return "\n".join(["domain: d", "actions:", *(f"  - name: {tool}" for tool in catalog.tools)])


class Changeable(Guard):
    mode = "observe"  # type: ignore[assignment]

    def __init__(self, client: Any, mode: Any) -> None:
        super().__init__(client, mode=mode)
        self.mode = mode


PACKAGES: dict[str, dict[str, str]] = {
    "B1": {"kiff_guard/__init__.py": "import others", "others.py": ""},
    "B2": {"kiff_guard/adapters/agno.py": "import agno", "agno.py": ""},
    "P1": {"kiff_guard/hooks/__main__.py": "raise SystemExit(1)"},
    "P2": {"kiff_guard/hooks/__main__.py": "print([1]); raise SystemExit(2)"},
    "P3": {"kiff_guard/hooks/__main__.py": "raise SystemExit(2)", "kiff_guard/hooks/flow.py": "import asyncio"},
}
SOUND = {
    "kiff_guard/__init__.py": "",
    "kiff_guard/adapters/__init__.py": "",
    "kiff_guard/adapters/crewai.py": "",
    "kiff_guard/hooks/__init__.py": "",
    "kiff_guard/hooks/__main__.py": "raise SystemExit(2)",
    "kiff_guard/hooks/dialects.py": "",
    "kiff_guard/hooks/flow.py": "",
    "kiff_guard/hooks/reply.py": "",
}


def _package(folder: Path, files: dict[str, str]) -> str:
    for name, text in {**SOUND, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return str(folder)


def _failures(*ids: str) -> list[str]:
    """The ids among those given whose checks fail."""
    report = run_apart(Careful)
    return [failure.id for failure in report.failures if failure.id in ids]


@pytest.mark.parametrize("id", PACKAGES)
def test_a_flawed_package_is_found(
    id: str, tmp_path: Path, only: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only(id[0])
    monkeypatch.setattr(apart, "SOURCE", _package(tmp_path, PACKAGES[id]))
    assert id in _failures(*IDS)


def test_control_a_sound_package_passes(
    tmp_path: Path, only: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("BP")
    monkeypatch.setattr(apart, "SOURCE", _package(tmp_path, {}))
    assert _failures(*IDS) == []


def test_a_draft_that_can_be_injected_into_is_found(
    only: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("D")
    monkeypatch.setattr(apart, "export_yaml", _unquoted)
    assert _failures(*IDS) == ["D1"]


def test_a_guard_whose_mode_can_be_changed_is_found(
    only: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("B")
    monkeypatch.setattr(apart, "Guard", Changeable)
    assert _failures(*IDS) == ["B3"]
