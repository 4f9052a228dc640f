"""Who may tell a hook what to do: an agent that writes a file in its project does not free itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_cases import BINDING, TOOL, Place, before, denied, let_go
from scripted_tower import KEY, ScriptedTower

from kiff_guard import tool_map
from kiff_guard.errors import ConfigurationError
from kiff_guard.hooks import settings

ENFORCE: dict[str, Any] = {"mode": "enforce", "url": "https://kiff.example", "tools": {TOOL: BINDING}}


@pytest.fixture
def tower() -> Iterator[ScriptedTower]:
    with ScriptedTower() as tower:
        yield tower


@pytest.fixture
def place(tmp_path: Path, tower: ScriptedTower) -> Place:
    return Place(tmp_path / "home", {**ENFORCE, "url": tower.url}, KIFF_API_KEY=KEY)


def project(place: Place, told: Any) -> None:
    place.write(told, "project/.kiff/guard.json")


WEAKER: dict[str, Any] = {
    "mode": {"mode": "observe"},
    "server": {"url": "https://kiff.evil.example"},
    "rule": {"unmapped": "allow"},
    "ungoverned": {"ungoverned": ["*"]},
    "binding": {"tools": {TOOL: {"action": "look", "entity_type": "order", "entity_id": "x"}}},
    "key": {"key_file": "key"},
    "receipts": {"receipts": "/dev/null"},
    "nothing known": {"off": True},
    "no object": [],
}


@pytest.mark.parametrize("told", WEAKER.values(), ids=WEAKER.keys())
def test_a_project_that_says_more_than_it_may_withholds(place: Place, told: Any) -> None:
    project(place, told)
    denied("codex", place.hook("codex", before("codex")))


def test_a_project_may_withhold_more(place: Place) -> None:
    project(place, {"withheld": ["mcp__shop__*"]})
    assert "withheld_by_settings" in denied("codex", place.hook("codex", before("codex")))
    [receipt] = place.lines()
    assert (receipt["outcome"], receipt["executed"], receipt["execution"]) == ("blocked", False, "not_run")
    assert (receipt["args"]["order_id"], receipt["call_id"], receipt["adapter"]) == ("ord_1", "call_1", "codex")


def test_a_project_may_enforce_where_the_user_observes(place: Place, tower: ScriptedTower) -> None:
    place.write({**ENFORCE, "mode": "observe", "url": tower.url, "tools": {}})
    project(place, {"mode": "enforce"})
    assert "unmapped_tool" in denied("codex", place.hook("codex", before("codex"), "--mode", "observe"))


def test_a_project_is_found_from_a_folder_below(place: Place) -> None:
    project(place, {"withheld": ["*"]})
    below = place.project / "src/deep"
    below.mkdir(parents=True)
    place.project = below
    denied("codex", place.hook("codex", before("codex")))


def test_the_project_is_the_agents_and_not_where_it_went(place: Place) -> None:
    project(place, {"withheld": ["*"]})
    place.environment["CLAUDE_PROJECT_DIR"] = str(place.project)
    place.project = place.home
    denied("claude-code", place.hook("claude-code", before("claude-code")))


@pytest.mark.parametrize(
    ("flag", "told", "project_told", "mode"),
    [
        ("observe", {}, {}, "observe"),
        ("enforce", {}, {}, "enforce"),
        ("", {"mode": "observe"}, {}, "observe"),
        ("observe", {"mode": "enforce"}, {}, "enforce"),
        ("enforce", {"mode": "observe"}, {}, "enforce"),
        ("observe", {"mode": "observe"}, {"mode": "enforce"}, "enforce"),
    ],
)
def test_whoever_says_enforce_wins(
    tmp_path: Path, flag: str, told: dict[str, Any], project_told: dict[str, Any], mode: str
) -> None:
    place = Place(tmp_path / "home", told)
    project(place, project_told)
    assert settings.read(flag, "", place.environment | xdg(place), str(place.project)).mode == mode


def xdg(place: Place) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(place.home / ".config"), "XDG_STATE_HOME": str(place.home / ".local/state")}


def test_the_command_line_names_the_settings_before_a_variable_does(place: Place, tmp_path: Path) -> None:
    theirs = place.write({"mode": "observe"}, "theirs.json")
    place.environment["KIFF_GUARD_CONFIG"] = str(theirs)
    mine = str(place.home / ".config/kiff/guard.json")
    assert settings.read("", mine, place.environment, "").mode == "enforce"
    assert settings.read("", "", place.environment, "").mode == "observe"


def test_the_settings_of_the_machine_decide_alone(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    managed = place.write(ENFORCE, "managed.json")
    monkeypatch.setattr(settings, "MANAGED", str(managed))
    other = place.write({"mode": "observe", "url": "https://kiff.evil.example", "ungoverned": ["*"]}, "other.json")
    place.environment["KIFF_GUARD_CONFIG"] = str(other)
    found = settings.read("observe", str(other), place.environment, "")
    assert (found.mode, found.url, found.ungoverned) == ("enforce", "https://kiff.example", ())


def test_settings_that_are_named_and_are_not_there_are_no_settings(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        settings.read("observe", "/nowhere/guard.json", place.environment, "")


def test_a_tool_that_is_ungoverned_runs_and_its_receipt_says_so(place: Place, tower: ScriptedTower) -> None:
    place.write({**ENFORCE, "url": tower.url, "ungoverned": ["Read", "Glob"]})
    let_go(place.hook("claude-code", before("claude-code", "Read")))
    denied("claude-code", place.hook("claude-code", before("claude-code", "ReadAll")))
    opened = place.lines("opened")
    assert [(each["outcome"], each["state"]) for each in opened] == [("unmapped", "ungoverned")]
    assert tower.keys == []


def test_a_tool_that_is_bound_is_asked_about_although_it_is_ungoverned(place: Place, tower: ScriptedTower) -> None:
    place.write({**ENFORCE, "url": tower.url, "ungoverned": ["*"]})
    let_go(place.hook("codex", before("codex")))
    assert len(tower.client.decides) == 1


def test_a_binding_says_what_kiff_is_told(place: Place, tower: ScriptedTower) -> None:
    binding = {"action": "run", "entity_type": "workspace", "entity_id": "main", "parameters": ["command"]}
    place.write({**ENFORCE, "url": tower.url, "tools": {"Bash": binding}})
    let_go(place.hook("claude-code", before("claude-code", "Bash", {"command": "ls", "description": "looks"})))
    [asked] = tower.client.decides
    assert (asked.tool, asked.args) == ("run", {"command": "ls"})


def test_the_repr_of_settings_has_no_key(tmp_path: Path) -> None:
    found = settings.Settings("enforce", key="kiff_live_secret")
    assert "kiff_live_secret" not in repr(found)


def test_the_settings_stand_in_the_guide() -> None:
    """Every setting is told of."""
    page = (Path(__file__).parents[2] / "docs/guides/coding-agents.md").read_text("utf-8")
    missing = [name for name in [*settings._FIELDS, *tool_map._FIELDS] if f"`{name}`" not in page]
    assert missing == []
