"""Codex, Gemini CLI and Claude Code as their users start them, in a home of their own, before a scripted model.

Codex and Gemini CLI come from npm: CODEX_BIN and GEMINI_BIN name them, or they are put into .frameworks/node once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from models import Asks, Script, gemini, responses, serving

ROOT = Path(__file__).resolve().parents[3]
NODE = ROOT / ".frameworks" / "node"
PACKAGES = json.loads((Path(__file__).parent / "package.json").read_text("utf-8"))["dependencies"]
PATIENCE_SECONDS = 120.0
HOOK = [sys.executable, "-I", "-m", "kiff_guard.hooks"]


class Agent:
    """One coding agent.

    Attributes:
        name: its name in `kiff-hook`.
        shell: its tool that runs a command, as the hook is told of it.
        settings: where the hook is installed, from home.
    """

    name = ""
    shell = "Bash"
    settings = ""

    def asks(self, command: str, call_id: str) -> Asks:
        """The model asks for a command."""
        return Asks(self.shell, {"command": command, "description": "does it"}, call_id)

    def program(self) -> str:
        raise NotImplementedError

    @contextmanager
    def model(self, script: Script) -> Iterator[str]:
        raise NotImplementedError
        yield ""

    def run(self, home: Path, url: str) -> subprocess.CompletedProcess[str]:
        raise NotImplementedError


class Codex(Agent):
    name = "codex"
    settings = ".codex/hooks.json"
    trusts = ("--dangerously-bypass-hook-trust",)

    def asks(self, command: str, call_id: str) -> Asks:
        return Asks("exec_command", {"cmd": command}, call_id)

    def program(self) -> str:
        return node_program("codex", "@openai/codex")

    @contextmanager
    def model(self, script: Script) -> Iterator[str]:
        with serving(responses(script)) as url:
            yield f"{url}/v1"

    def run(self, home: Path, url: str) -> subprocess.CompletedProcess[str]:
        work = home / "work"
        (home / ".codex").mkdir(exist_ok=True)
        (home / ".codex/config.toml").write_text(
            'model = "scripted"\nmodel_provider = "scripted"\napproval_policy = "never"\n'
            'sandbox_mode = "danger-full-access"\n'
            f'[model_providers.scripted]\nname = "scripted"\nbase_url = "{url}"\nwire_api = "responses"\n'
            f'requires_openai_auth = false\n[projects."{work}"]\ntrust_level = "trusted"\n'
        )
        return started([self.program(), "exec", "--skip-git-repo-check", *self.trusts, "go"], home)


class Gemini(Agent):
    name = "gemini"
    shell = "run_shell_command"
    settings = ".gemini/settings.json"

    def program(self) -> str:
        return node_program("gemini", "@google/gemini-cli")

    @contextmanager
    def model(self, script: Script) -> Iterator[str]:
        with serving(gemini(script)) as url:
            yield url

    def run(self, home: Path, url: str) -> subprocess.CompletedProcess[str]:
        path = home / self.settings
        told = json.loads(path.read_text()) if path.exists() else {}
        told |= {"security": {"auth": {"selectedType": "gemini-api-key"}}, "telemetry": {"enabled": False}}
        told |= {"privacy": {"usageStatisticsEnabled": False}, "general": {"disableAutoUpdate": True}}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(told))
        more = {"GEMINI_API_KEY": "nobody", "GOOGLE_GEMINI_BASE_URL": url, "GEMINI_CLI_TRUST_WORKSPACE": "true"}
        return started([self.program(), "-p", "go", "-y", "-m", "gemini-2.5-flash", "--skip-trust"], home, **more)


class ClaudeCode(Agent):
    name = "claude-code"
    settings = ".claude/settings.json"

    def program(self) -> str:
        package = pytest.importorskip(
            "claude_agent_sdk", reason="needs `pip install claude-agent-sdk`: it brings Claude Code"
        )
        return str(Path(package.__file__).parent / "_bundled" / "claude")

    @contextmanager
    def model(self, script: Script) -> Iterator[str]:
        from claude_model import ClaudeModel

        with ClaudeModel(script.turns) as model:
            yield model.url
            script.told = list(model.told.values())

    def run(self, home: Path, url: str) -> subprocess.CompletedProcess[str]:
        return self._run(home, url, "go")

    def resume(self, home: Path, url: str) -> subprocess.CompletedProcess[str]:
        """The last session goes on where it was deferred, without a prompt."""
        return self._run(home, url, "--continue")

    def _run(self, home: Path, url: str, how: str) -> subprocess.CompletedProcess[str]:
        more = {
            "ANTHROPIC_API_KEY": "sk-ant-nobody",
            "ANTHROPIC_BASE_URL": url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",
        }
        words = ["-p", how, "--allowedTools", "Bash", "--max-turns", "4", "--model", "claude-sonnet-4-5"]
        return started([self.program(), *words], home, **more)


def started(command: list[str], home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The agent, from its start to its end, with nothing of whoever runs the tests in its environment."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], **more}
    return subprocess.run(
        command,
        cwd=home / "work",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def node_program(name: str, package: str) -> str:
    """The path of a program from npm."""
    named = os.environ.get(f"{name.upper()}_BIN")
    if named:
        return named
    missing = _install()
    program = NODE / "node_modules" / ".bin" / name
    if not program.exists():
        pytest.skip(f"needs {name}: {missing or 'it is not there'}; `npm install {package}`, and {name.upper()}_BIN=…")
    return str(program)


@cache
def _install() -> str:
    """Puts both into a folder of their own, once. Returns why it could not."""
    if all((NODE / "node_modules" / name / "package.json").exists() for name in PACKAGES):
        return ""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not on this machine"
    words = [f"{name}@{version}" for name, version in PACKAGES.items()]
    NODE.mkdir(parents=True, exist_ok=True)
    quiet = ["--no-fund", "--no-audit", "--ignore-scripts", "--loglevel=error"]
    ran = subprocess.run([npm, "install", "--prefix", str(NODE), *quiet, *words], capture_output=True, text=True)
    return "" if ran.returncode == 0 else f"npm could not install it: {ran.stderr.strip()[-200:]}"


class Bench:
    """A home with a hook in it, an agent, and what its commands did.

    Args:
        settings: what ~/.config/kiff/guard.json says.
    """

    def __init__(self, home: Path, agent: Agent, settings: dict[str, Any]) -> None:
        self.home, self.agent = home, agent
        self.effect = home / "work" / "effect"
        (home / "work").mkdir(parents=True)
        path = home / ".config/kiff/guard.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
        path.chmod(0o600)

    def install(self, mode: str) -> None:
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        words = [*HOOK, "install", self.agent.name, "--mode", mode]
        subprocess.run(words, env=environment, check=True, capture_output=True)

    def change(self, old: str, new: str) -> None:
        """Spoils what was installed."""
        path = self.home / self.agent.settings
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def play(self, call_id: str = "toolu_1") -> Script:
        """The model asks for one command, and whether it ran is to be seen at `effect`."""
        script = Script([self.agent.asks(f"touch {self.effect}", call_id)])
        with self.agent.model(script) as url:
            ran = self.agent.run(self.home, url)
        assert script.told, f"the model heard nothing: {ran.stdout[-500:]} {ran.stderr[-1500:]}"
        return script

    @property
    def ran(self) -> bool:
        return self.effect.exists()

    def receipts(self) -> list[dict[str, Any]]:
        path = self.home / ".local/state/kiff/receipts.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [row["receipt"] for row in rows if row["kind"] == "settled"]


AGENTS: dict[str, Agent] = {each.name: each for each in (ClaudeCode(), Codex(), Gemini())}
