"""docs/guides/coding-agents.md: what it shows is what works, against a served KIFF."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hook_cases import PROGRAM, TOOL, Place, after, before, denied, let_go
from own_tenant import OwnTenant

from kiff import load
from kiff_guard import cli
from kiff_guard.hooks.places import PLACES

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "coding-agents.md").read_text("utf-8")
CLAUDE_CODE = "claude-code"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


SETTINGS, HTTP_HOOKS = (json.loads(block) for block in blocks("json"))
COMMANDS = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line.startswith("kiff-")]
[DOMAIN] = blocks("yaml")
[BOUND] = [json.loads(each) for each in re.findall(r"-d '(\{.*?\})'\n", TEXT, re.DOTALL)]


def command(order: int, text: str) -> dict[str, Any]:
    return before(CLAUDE_CODE, "Bash", {"command": text, "description": "does it"}, f"toolu_{order}")


@pytest.fixture
def place(tmp_path: Path, own: OwnTenant) -> Place:
    """A home as the page leaves it, beside a KIFF with the page's domain."""
    own.tower.activate(own.tenant, load(DOMAIN))
    opened = {"type": "WORKSPACE_OPENED", "entity_type": "workspace", "entity_id": "main"}
    assert own.post("/v1/events", opened, "owner").status == 201
    place = Place(tmp_path / "home")
    place.write(own.keys["agent"], ".config/kiff/key")
    place.write({**SETTINGS, "url": f"http://{own.host}"})
    return place


def test_the_settings_of_the_page_enforce(place: Place, own: OwnTenant) -> None:
    let_go(place.hook(CLAUDE_CODE, command(1, "make test")))
    let_go(place.hook(CLAUDE_CODE, {**command(1, "make test"), **ended()}))
    why = denied(CLAUDE_CODE, place.hook(CLAUDE_CODE, command(2, "git push origin main")))
    assert "approval_required" in why
    let_go(place.hook(CLAUDE_CODE, before(CLAUDE_CODE, "Read", {"file_path": "x"}, "toolu_3")))
    assert "unmapped_tool" in denied(CLAUDE_CODE, place.hook(CLAUDE_CODE, before(CLAUDE_CODE, "Edit", call="toolu_4")))
    [operation] = own.get("/v1/operations", "owner").body["operations"]
    assert (operation["entity"], operation["status"]) == ("workspace:main", "succeeded")


def ended() -> dict[str, Any]:
    return {"hook_event_name": "PostToolUse", "tool_response": {"stdout": "ok", "interrupted": False}}


def test_a_held_command_of_the_page_runs_once_it_is_granted(place: Place, own: OwnTenant) -> None:
    denied(CLAUDE_CODE, place.hook(CLAUDE_CODE, command(1, "git push origin main")))
    [approval] = own.get("/v1/approvals", "owner").body["approvals"]
    assert own.post(f"/v1/approvals/{approval['id']}/grant", {"reason": "go"}, "reviewer").status == 200
    let_go(place.hook(CLAUDE_CODE, command(2, "git push origin main")))
    denied(CLAUDE_CODE, place.hook(CLAUDE_CODE, command(2, "git push origin main")))


def test_a_domain_may_have_a_binding_by_an_argument(place: Place, own: OwnTenant) -> None:
    own.paid("ord_page")
    settings = json.loads((place.home / ".config/kiff/guard.json").read_text())
    settings["tools"][TOOL]["action"] = "AUTO_REFUND"
    place.write(settings)
    args = {"order_id": "ord_page", "amount": 49.0, "reason": "it arrived broken"}
    let_go(place.hook("codex", before("codex", args=args)))
    let_go(place.hook("codex", after("codex", args=args)))
    assert [each["entity"] for each in own.get("/v1/operations", "owner").body["operations"]] == ["order:ord_page"]


def test_the_commands_of_the_page_work(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """`kiff-hook` as a process, `kiff-guard` on the receipts that it left."""
    place.hook(CLAUDE_CODE, command(1, "make test"))
    place.hook(CLAUDE_CODE, {**command(1, "make test"), **ended()})
    for program, *words in COMMANDS:
        if program == "kiff-hook":
            done = subprocess.run([*PROGRAM, *words], env=place.environment, cwd=place.project, capture_output=True)
            assert done.returncode == 0, (words, done)
        else:
            given = [word.replace("~", str(place.home)) for word in words]
            assert cli.main([*given, "--once"] if words[0] == "watch" else given) == 0
    assert "Bash" in capsys.readouterr().out


def test_the_http_hooks_of_the_page_are_answered(place: Place, own: OwnTenant) -> None:
    """Every event that it installs, at the address that it names, with the tools that it binds."""
    own.paid("ord_http")
    told = own.ask(
        "PUT", "/v1/hooks/tools", {**BOUND, "tools": [{**BOUND["tools"][0], "action": "AUTO_REFUND"}]}, "owner"
    )
    assert told.status == 200
    args = {"order_id": "ord_http", "amount": 49.0, "reason": "it arrived broken"}
    for name, entries in HTTP_HOOKS["hooks"].items():
        [hook] = entries[0]["hooks"]
        assert hook["headers"]["Authorization"] == f"Bearer ${hook['allowedEnvVars'][0]}"
        path = hook["url"].removeprefix("https://kiff.example")
        event = {**before(CLAUDE_CODE, args=args), "hook_event_name": name, "tool_response": "done"}
        assert (own.post(path, event).status, own.post(path, {**event, "tool_use_id": "other"}).status) == (200, 200)
    assert HTTP_HOOKS["hooks"]["PreToolUse"][0]["hooks"][0]["onFailure"] == "block"
    assert set(HTTP_HOOKS["hooks"]) | {"SessionEnd"} == {*PLACES[CLAUDE_CODE].before, *PLACES[CLAUDE_CODE].after}
    assert "succeeded" in str(own.get("/v1/operations", "owner").body)
