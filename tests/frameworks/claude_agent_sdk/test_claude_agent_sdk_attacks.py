"""Attacks on the guard in the Claude Agent SDK: options with which Claude Code runs no hooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions
from guards import enforcing
from test_claude_agent_sdk_adapter import Shop, asked, shop

from kiff_guard import Guard
from kiff_guard.adapters.claude_agent_sdk import attach, hook
from kiff_guard.errors import ConfigurationError

__all__ = ["shop"]  # a fixture of the adapter's tests

SIMPLE = {"CLAUDE_CODE_SIMPLE": "1"}


def in_a_file(folder: Path) -> str:
    path = folder / "settings.json"
    path.write_text(json.dumps({"env": SIMPLE}), "utf-8")
    return str(path)


BARE = {
    "argument": lambda folder: {"extra_args": {"bare": None}},
    "environment": lambda folder: {"env": SIMPLE},
    "settings": lambda folder: {"settings": json.dumps({"env": SIMPLE})},
    "file of settings": lambda folder: {"settings": in_a_file(folder)},
}


def test_a_bare_claude_code_runs_no_hook(shop: Shop) -> None:
    """The control: if it does one day, nothing has to be refused."""
    guard, _ = enforcing("blocked")
    shop.run(shop.options([asked()], extra_args={"bare": None}, hooks=hook(guard)))
    assert shop.ran == [("refund", "ord_1")]


@pytest.mark.parametrize("options", BARE.values(), ids=BARE)
def test_options_without_hooks_are_refused(tmp_path: Path, options: Any) -> None:
    guard, _ = enforcing("blocked")
    with pytest.raises(ConfigurationError, match="runs no hooks with `--bare`"):
        attach(guard, ClaudeAgentOptions(**options(tmp_path)))
    attach(Guard(mode="observe"), ClaudeAgentOptions(**options(tmp_path)))


def test_so_they_are_where_the_program_itself_was_started_so(monkeypatch: pytest.MonkeyPatch) -> None:
    guard, _ = enforcing("blocked")
    monkeypatch.setenv("CLAUDE_CODE_SIMPLE", "1")
    with pytest.raises(ConfigurationError, match="runs no hooks"):
        attach(guard, ClaudeAgentOptions())


@pytest.mark.parametrize("settings", ["{", "no/such/file.json", "[]", '{"env": 3}'])
def test_settings_that_cannot_be_read_are_claude_codes_to_complain_about(settings: str) -> None:
    guard, _ = enforcing("blocked")
    assert attach(guard, ClaudeAgentOptions(settings=settings)).hooks


@pytest.mark.parametrize("settings", [{"disableAllHooks": True}, {"allowManagedHooksOnly": True}])
def test_settings_against_hooks_do_not_reach_those_of_the_sdk(shop: Shop, settings: dict[str, Any]) -> None:
    guard, _ = enforcing("blocked")
    shop.run(attach(guard, shop.options([asked()], settings=json.dumps(settings))))
    assert (shop.ran, [each.outcome for each in guard.receipts]) == ([], ["blocked"])
