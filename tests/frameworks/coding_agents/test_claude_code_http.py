"""Claude Code's own http hooks, as docs/guides/coding-agents.md installs them, against a real KIFF."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from agents import ClaudeCode, started
from claude_model import Asks, ClaudeModel
from towers import Tower

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "coding-agents.md").read_text("utf-8")
[_, HOOKS] = re.findall(r"^```json\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
[DOMAIN] = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
SHELL = {"name": "Bash", "action": "RUN_COMMAND", "entity_type": "workspace", "entity_id": "main"}
AGENT = "ops-agent"


class Desk:
    """A home of Claude Code with the guide's hooks in it, before a tower."""

    def __init__(self, home: Path, tower: Tower) -> None:
        self.home, self.tower = home, tower
        self.effect = home / "work" / "effect"
        (home / "work").mkdir(parents=True)
        (home / ".claude").mkdir()
        self.write(HOOKS.replace("https://kiff.example", tower.url))

    def write(self, settings: str) -> None:
        (self.home / ".claude/settings.json").write_text(settings)

    def bind(self, *tools: dict[str, Any]) -> None:
        status, told = self.tower.ask("PUT", "/v1/hooks/tools", {"agent_id": AGENT, "tools": list(tools)})
        assert status == 200, told

    def play(self, key: str, call_id: str = "toolu_1", command: str = "") -> str:
        """The model asks for a command; what it was told about it."""
        args = {"command": command or f"touch {self.effect}", "description": "does it"}
        with ClaudeModel([[Asks("Bash", args, call_id)]]) as model:
            ran = self._claude(model.url, key)
            assert call_id in model.told, ran.stderr[-1000:]
            return model.told[call_id]

    def _claude(self, url: str, key: str) -> subprocess.CompletedProcess[str]:
        more = {"ANTHROPIC_API_KEY": "sk-ant-nobody", "ANTHROPIC_BASE_URL": url, "IS_SANDBOX": "1"}
        more |= {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "KIFF_API_KEY": key}
        words = ["-p", "go", "--allowedTools", "Bash", "--max-turns", "4", "--model", "claude-sonnet-4-5"]
        return started([ClaudeCode().program(), *words], self.home, **more)


@pytest.fixture(scope="module")
def desk_tower(tower: Tower) -> Tower:
    """The shared tower, where the guide's domain governs workspaces."""
    status, told = tower.ask("PUT", "/v1/me/domain", {"yaml": DOMAIN})
    assert status == 200, told
    tower.happened("workspace", "main", "WORKSPACE_OPENED")
    return tower


@pytest.fixture
def desk(desk_tower: Tower, tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "home", desk_tower)
    desk.bind({**SHELL, "parameters": ["command"]})
    return desk


def test_a_tool_that_nobody_bound_does_not_run(desk: Desk) -> None:
    desk.bind()
    assert "unmapped_tool" in desk.play(desk.tower.keys["agent"])
    assert not desk.effect.exists()


def test_a_key_that_is_none_runs_nothing(desk: Desk) -> None:
    assert "unauthorized" in desk.play("kiff_live_nobody")
    assert not desk.effect.exists()


def test_a_key_that_is_none_runs_nothing_without_the_switch_either(desk: Desk) -> None:
    """The answer itself is a no: status 401 would run the tool."""
    told = json.loads(HOOKS.replace("https://kiff.example", desk.tower.url))
    del told["hooks"]["PreToolUse"][0]["hooks"][0]["onFailure"]
    desk.write(json.dumps(told))
    desk.play("kiff_live_nobody")
    assert not desk.effect.exists()


def test_a_server_that_is_not_there_runs_nothing(desk: Desk) -> None:
    desk.write(HOOKS.replace("https://kiff.example", "http://127.0.0.1:9"))
    desk.play(desk.tower.keys["agent"])
    assert not desk.effect.exists()


def test_an_allowed_command_runs_and_its_end_is_told(desk: Desk) -> None:
    desk.play(desk.tower.keys["agent"], "toolu_allowed")
    assert desk.effect.exists()
    operations = desk.tower.get("/v1/operations")["operations"]
    assert "succeeded" in [each["status"] for each in operations if each["entity"] == "workspace:main"]


def test_a_held_command_runs_after_the_grant_and_not_before(desk: Desk) -> None:
    command = f"echo git push && touch {desk.effect}"
    told = desk.play(desk.tower.keys["agent"], "toolu_h1", command)
    assert not desk.effect.exists()
    approval = re.search(r"approval (appr_\w+)", told)
    assert approval is not None, told
    desk.tower.grant(approval[1])
    desk.play(desk.tower.keys["agent"], "toolu_h2", command)
    assert desk.effect.exists()
