"""`kiff-hook` in the real coding agents: what it withholds they do not run, and neither when it breaks."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import AGENTS, Agent, Bench, ClaudeCode, Codex
from models import Script
from scripted_tower import KEY, ScriptedTower

SHELL = {"action": "run", "entity_type": "workspace", "entity_id": "main", "parameters": ["command"]}


@pytest.fixture(params=AGENTS.values(), ids=AGENTS.keys())
def agent(request: pytest.FixtureRequest) -> Agent:
    found: Agent = request.param
    found.program()
    return found


@pytest.fixture
def tower() -> Iterator[ScriptedTower]:
    with ScriptedTower() as tower:
        yield tower


def bench(tmp_path: Path, agent: Agent, url: str, mode: str = "enforce", **more: Any) -> Bench:
    """The agent with the hook installed. The key is in a file: Gemini CLI keeps variables of that name from hooks."""
    settings = {"url": url, "key_file": "key", "tools": {agent.shell: SHELL}, **more}
    made = Bench(tmp_path / "home", agent, settings)
    key = made.home / ".config/kiff/key"
    key.write_text(KEY)
    key.chmod(0o600)
    made.install(mode)
    return made


def test_a_blocked_command_does_not_run(agent: Agent, tmp_path: Path) -> None:
    with ScriptedTower("blocked") as tower:
        made = bench(tmp_path, agent, tower.url)
        told = made.play().told
    assert not made.ran
    assert "KIFF withheld" in str(told)
    [receipt] = made.receipts()
    assert (receipt["outcome"], receipt["executed"], receipt["adapter"]) == ("blocked", False, agent.name)


def test_an_allowed_command_runs_and_has_one_receipt(agent: Agent, tmp_path: Path, tower: ScriptedTower) -> None:
    """The control of all the others."""
    made = bench(tmp_path, agent, tower.url)
    made.play()
    assert made.ran
    [receipt] = made.receipts()
    assert (receipt["outcome"], receipt["executed"]) == ("allowed", True)
    assert receipt["execution"] == ("succeeded" if agent.name == "claude-code" else "unknown")
    assert [asked.args for asked in tower.client.decides] == [{"command": f"touch {made.effect}"}]


def test_a_held_command_runs_after_the_grant_and_not_before(agent: Agent, tmp_path: Path) -> None:
    with ScriptedTower("approval_required") as tower:
        made = bench(tmp_path, agent, tower.url)
        told = made.play("toolu_1").told
        assert not made.ran
        [approval] = tower.client.approvals
        assert approval in str(told)
        tower.client.grant(approval)
        made.play("toolu_2")
        assert made.ran
    assert [each["outcome"] for each in made.receipts()] == ["approval_required", "allowed"]


def test_without_kiff_nothing_runs(agent: Agent, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        made = bench(tmp_path, agent, f"http://127.0.0.1:{free.getsockname()[1]}")
        made.play()
    assert not made.ran


def test_a_kiff_that_never_answers_does_not_hold_the_agent_up(agent: Agent, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        made = bench(tmp_path, agent, f"http://127.0.0.1:{silent.getsockname()[1]}", deadline_seconds=1)
        made.play()
    assert not made.ran


def test_without_settings_nothing_runs(agent: Agent, tmp_path: Path, tower: ScriptedTower) -> None:
    """As if the agent had deleted them."""
    made = bench(tmp_path, agent, tower.url)
    (made.home / ".config/kiff/guard.json").unlink()
    made.play()
    assert not made.ran


SPOILED = {
    "the program is gone": ("-I -m kiff_guard.hooks", "-I -m kiff_guard.nowhere"),
    "python is gone": ("/bin/python -I", "/bin/no-python -I"),
    "it is killed": ("-I -m kiff_guard.hooks", "-c 'import os; os.kill(os.getpid(), 9)' kiff_guard.hooks"),
}


@pytest.mark.parametrize(("old", "new"), SPOILED.values(), ids=SPOILED.keys())
def test_a_hook_that_cannot_start_withholds(
    agent: Agent, tmp_path: Path, tower: ScriptedTower, old: str, new: str
) -> None:
    made = bench(tmp_path, agent, tower.url)
    made.change(old, json.dumps(new)[1:-1].replace("'", '"').replace('"', '\\"') if "'" in new else new)
    made.play()
    assert not made.ran


def test_observe_stops_nothing_and_keeps_a_receipt(agent: Agent, tmp_path: Path) -> None:
    made = bench(tmp_path, agent, "", "observe")
    made.play()
    assert made.ran
    [receipt] = made.receipts()
    assert (receipt["outcome"], receipt["state"]) == ("observed", "observed")


def test_a_hook_that_breaks_in_observe_stops_nothing(agent: Agent, tmp_path: Path) -> None:
    made = bench(tmp_path, agent, "", "observe")
    made.change("-I -m kiff_guard.hooks", "-I -m kiff_guard.nowhere")
    made.play()
    assert made.ran


def test_codex_runs_the_command_when_nobody_trusted_the_hook(tmp_path: Path) -> None:
    """Why installing is not all: the guide and the installer say so."""

    class Untrusting(Codex):
        trusts = ()

    untrusting = Untrusting()
    untrusting.program()
    with ScriptedTower("blocked") as tower:
        made = bench(tmp_path, untrusting, tower.url)
        made.play()
    assert made.ran


def test_claude_code_ends_the_run_at_a_held_command_and_goes_on_when_resumed(tmp_path: Path) -> None:
    claude = ClaudeCode()
    claude.program()
    with ScriptedTower("approval_required") as tower:
        made = bench(tmp_path, claude, tower.url, defer=True)
        script = Script([claude.asks(f"touch {made.effect}", "toolu_1")])
        with claude.model(script) as url:
            claude.run(made.home, url)
            assert not made.ran
            [approval] = tower.client.approvals
            tower.client.grant(approval)
            claude.resume(made.home, url)
        assert made.ran
    assert [each["outcome"] for each in made.receipts()] == ["approval_required", "allowed"]
