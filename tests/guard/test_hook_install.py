"""`kiff-hook install` changes one thing in an agent's settings; `doctor` finds out whether it is there and works."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hook_cases import AGENTS, Place, Ran, before, denied, let_go

from kiff_guard.hooks.dialects import DIALECTS
from kiff_guard.hooks.event import AFTER, BEFORE
from kiff_guard.hooks.places import PLACES, WAIT_SECONDS

pytestmark = pytest.mark.slow

FILES = {
    "claude-code": ".claude/settings.json",
    "codex": ".codex/hooks.json",
    "gemini": ".gemini/settings.json",
    "cursor": ".cursor/hooks.json",
}
OTHERS = {
    "claude-code": {"model": "x", "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"command": "mine"}]}]}},
    "codex": {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"command": "mine"}]}], "Stop": []}},
    "gemini": {"theme": "ü", "hooks": {"BeforeTool": [{"matcher": "x", "hooks": [{"command": "mine"}]}]}},
    "cursor": {"version": 1, "hooks": {"preToolUse": [{"command": "mine"}], "stop": [{"command": "mine"}]}},
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "home")


def install(place: Place, agent: str, *words: str) -> str:
    ran = place.run("install", agent, *words)
    assert ran.status == 0, ran
    return ran.stdout.decode()


def read(place: Place, agent: str) -> Any:
    return json.loads((place.home / FILES[agent]).read_text())


def first(told: Any, agent: str) -> tuple[dict[str, Any], str]:
    """Our entry before a call, and its command line."""
    entry = told["hooks"][DIALECTS[agent].first][-1]
    return entry, PLACES[agent].commands(entry)[0]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("text", ["{", '{"hooks": {}} // mine', '{"a": 1, "a": 2}', "[]", '{"hooks": []}', "\xff"])
def test_a_file_that_cannot_be_written_back_is_not_touched(place: Place, agent: str, text: str) -> None:
    path = place.home / FILES[agent]
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    ran = place.run("install", agent, "--mode", "enforce")
    assert ran.status == 2
    assert "nothing was changed" in ran.stderr
    assert path.read_bytes() == text.encode("latin-1")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("agent", AGENTS)
def test_entries_that_are_no_list_are_not_touched(place: Place, agent: str) -> None:
    place.write({"hooks": {DIALECTS[agent].first: {}}}, FILES[agent])
    assert place.run("install", agent).status == 2
    assert read(place, agent) == {"hooks": {DIALECTS[agent].first: {}}}


@pytest.mark.parametrize("agent", AGENTS)
def test_everything_else_stays_as_it_is(place: Place, agent: str) -> None:
    place.write(OTHERS[agent], FILES[agent])
    install(place, agent, "--mode", "enforce")
    told = read(place, agent)
    for event in PLACES[agent].before + PLACES[agent].after:
        told["hooks"][event].pop()
    hooks = {event: entries for event, entries in told["hooks"].items() if entries or event == "Stop"}
    assert {**told, "hooks": hooks} == OTHERS[agent]


@pytest.mark.parametrize("agent", AGENTS)
def test_what_was_there_is_kept_beside(place: Place, agent: str) -> None:
    path = place.write(OTHERS[agent], FILES[agent])
    before = path.read_bytes()
    assert "before-kiff" in install(place, agent)
    assert Path(f"{path}.before-kiff").read_bytes() == before
    install(place, agent, "--mode", "enforce")
    assert Path(f"{path}.before-kiff").read_bytes() == before
    assert Path(f"{path}.before-kiff.2").exists()


@pytest.mark.parametrize("agent", AGENTS)
def test_the_second_run_changes_nothing(place: Place, agent: str) -> None:
    place.write(OTHERS[agent], FILES[agent])
    install(place, agent, "--mode", "enforce")
    path = place.home / FILES[agent]
    before = (path.read_bytes(), path.stat().st_mtime_ns, sorted(path.parent.iterdir()))
    assert "nothing to change" in install(place, agent, "--mode", "enforce")
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(path.parent.iterdir())) == before


@pytest.mark.parametrize("agent", AGENTS)
def test_another_mode_takes_the_place_of_the_first(place: Place, agent: str) -> None:
    install(place, agent, "--mode", "observe")
    install(place, agent, "--mode", "enforce")
    told = read(place, agent)
    assert [len(entries) for entries in told["hooks"].values()] == [1] * len(told["hooks"])
    assert "--mode enforce" in first(told, agent)[1]


@pytest.mark.parametrize("agent", AGENTS)
def test_uninstalling_leaves_what_was_there(place: Place, agent: str) -> None:
    place.write(OTHERS[agent], FILES[agent])
    install(place, agent, "--mode", "enforce")
    install(place, agent, "--uninstall")
    assert read(place, agent) == OTHERS[agent]
    assert "nothing to change" in install(place, agent, "--uninstall")


def test_an_entry_that_is_shared_with_a_stranger_is_the_strangers(place: Place) -> None:
    shared = {"matcher": "*", "hooks": [{"command": "kiff-hook claude-code"}, {"command": "mine"}]}
    place.write({"hooks": {"PreToolUse": [shared]}}, FILES["claude-code"])
    install(place, "claude-code")
    install(place, "claude-code", "--uninstall")
    assert read(place, "claude-code") == {"hooks": {"PreToolUse": [shared]}}


@pytest.mark.parametrize("agent", AGENTS)
def test_a_dry_run_says_what_it_would_do_and_does_nothing(place: Place, agent: str) -> None:
    told = install(place, agent, "--mode", "enforce", "--dry-run")
    assert "+" in told
    assert f"{agent} --mode enforce" in told
    assert not (place.home / FILES[agent]).parent.exists()


@pytest.mark.parametrize("agent", AGENTS)
def test_the_manner_of_the_file_stays(place: Place, agent: str) -> None:
    path = place.home / FILES[agent]
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{\r\n\t"hooks": {}\r\n}')
    path.chmod(0o640)
    install(place, agent)
    raw = path.read_bytes()
    assert raw.startswith(b'{\r\n\t"')
    assert raw.endswith(b"}")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("agent", AGENTS)
def test_a_link_stays_a_link(place: Place, agent: str) -> None:
    real = place.write({}, "dotfiles/settings.json")
    path = place.home / FILES[agent]
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    install(place, agent)
    assert path.is_symlink()
    assert "hooks" in json.loads(real.read_text())


@pytest.mark.parametrize("agent", AGENTS)
def test_the_project_has_settings_of_its_own(place: Place, agent: str) -> None:
    install(place, agent, "--project")
    assert (place.project / FILES[agent]).exists()
    assert not (place.home / FILES[agent]).exists()


@pytest.mark.parametrize(("agent", "name"), [("claude-code", "CLAUDE_CONFIG_DIR"), ("codex", "CODEX_HOME")])
def test_the_agents_own_folder_may_be_elsewhere(place: Place, agent: str, name: str) -> None:
    place.environment[name] = str(place.home / "elsewhere")
    install(place, agent)
    assert (place.home / "elsewhere" / Path(FILES[agent]).name).exists()


# What is written


def test_every_event_that_is_installed_is_one_that_is_answered() -> None:
    for agent, place in PLACES.items():
        moments = DIALECTS[agent].moments
        assert {moments[event] for event in place.before} == {BEFORE}
        assert AFTER in {moments[event] for event in place.after}
        assert BEFORE not in {moments[event] for event in place.after}


def test_claude_code_blocks_when_the_hook_fails(place: Place) -> None:
    """Beside the command: at the matcher it is not looked at."""
    install(place, "claude-code", "--mode", "enforce")
    entry, _ = first(read(place, "claude-code"), "claude-code")
    assert "onFailure" not in entry
    assert [hook["onFailure"] for hook in entry["hooks"]] == ["block"]


def test_cursor_blocks_when_the_hook_fails(place: Place) -> None:
    install(place, "cursor", "--mode", "enforce")
    assert first(read(place, "cursor"), "cursor")[0]["failClosed"] is True
    assert read(place, "cursor")["version"] == 1


@pytest.mark.parametrize("agent", ["codex", "gemini"])
def test_agents_without_a_switch_get_a_shell_that_blocks(place: Place, agent: str) -> None:
    install(place, agent, "--mode", "enforce")
    _, line = first(read(place, agent), agent)
    shell, option, inner = shlex.split(line)
    assert (shell, option) == ("sh", "-c")
    assert inner.endswith("|| exit 2")


@pytest.mark.parametrize("agent", AGENTS)
def test_in_observe_no_failure_blocks(place: Place, agent: str) -> None:
    install(place, agent, "--mode", "observe")
    text = (place.home / FILES[agent]).read_text()
    assert not {word for word in ("onFailure", "failClosed", "exit 2") if word in text}


@pytest.mark.parametrize("agent", AGENTS)
def test_after_a_call_no_failure_blocks(place: Place, agent: str) -> None:
    """It ran already: Gemini CLI would only hide its result from the model."""
    install(place, agent, "--mode", "enforce")
    told = read(place, agent)["hooks"]
    rest = json.dumps([told[event] for event in PLACES[agent].after])
    assert not {word for word in ("onFailure", "failClosed", "exit 2") if word in rest}


@pytest.mark.parametrize("agent", AGENTS)
def test_the_agent_waits_longer_than_any_deadline_of_the_hook(place: Place, agent: str) -> None:
    install(place, agent, "--mode", "enforce")
    entry, _ = first(read(place, agent), agent)
    given = entry.get("timeout") or entry["hooks"][0]["timeout"]
    assert given / (1000 if agent == "gemini" else 1) == WAIT_SECONDS > 60


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_the_command_that_is_installed_answers(place: Place, agent: str, mode: str) -> None:
    install(place, agent, "--mode", mode)
    _, line = first(read(place, agent), agent)
    raw = json.dumps(before(agent)).encode()
    ran = subprocess.run(line, shell=True, input=raw, env=place.environment, cwd=place.project, capture_output=True)
    told = Ran(ran.returncode, ran.stdout, ran.stderr.decode())
    if mode == "observe":
        let_go(told)
    else:
        assert "no server" in denied(agent, told)
        assert told.status == 2


@pytest.mark.parametrize("agent", AGENTS)
def test_the_command_imports_nothing_that_the_agent_wrote(place: Place, agent: str) -> None:
    """It starts in the folder where the agent works, with the variables that a project may set for it."""
    install(place, agent, "--mode", "enforce")
    for name in ("json.py", "kiff_guard.py", "sitecustomize.py"):
        (place.project / name).write_text("raise SystemExit(0)")
    place.environment["PYTHONPATH"] = str(place.project)
    _, line = first(read(place, agent), agent)
    raw = json.dumps(before(agent)).encode()
    ran = subprocess.run(line, shell=True, input=raw, env=place.environment, cwd=place.project, capture_output=True)
    assert "no server" in denied(agent, Ran(ran.returncode, ran.stdout, ran.stderr.decode()))


def test_in_enforce_the_users_hook_names_its_settings(place: Place) -> None:
    """A project can set variables for an agent, and these would name other settings."""
    path = place.write({"mode": "enforce", "url": "https://kiff.example"})
    install(place, "codex")
    assert f"--mode enforce --config {path}" in first(read(place, "codex"), "codex")[1]


def test_a_name_with_blanks_and_quotes_is_one_word(place: Place) -> None:
    path = place.write({"mode": "enforce"}, "it's mine/guard.json")
    install(place, "codex", "--config", str(path))
    inner = shlex.split(first(read(place, "codex"), "codex")[1])[2]
    assert str(path) in shlex.split(inner)


def test_codex_is_told_to_trust_the_hook(place: Place) -> None:
    assert "trust" in install(place, "codex")


@pytest.mark.parametrize(
    "words", [["install"], ["install", "emacs"], ["install", "codex", "--fail-open"], ["doctor"]], ids=" ".join
)
def test_a_command_line_that_is_not_understood_is_refused(place: Place, words: list[str]) -> None:
    ran = place.run(*words)
    assert ran.status == 2
    assert "kiff-hook" in ran.stderr


def test_two_places_are_refused(place: Place) -> None:
    assert place.run("install", "codex", "--project", "--user").status == 2


# Doctor


@pytest.mark.parametrize("agent", AGENTS)
def test_without_a_hook_the_doctor_says_so(place: Place, agent: str) -> None:
    ran = place.run("doctor", agent)
    assert ran.status == 1
    assert b"no hook is installed" in ran.stdout


@pytest.mark.parametrize("agent", AGENTS)
def test_a_hook_that_observes_is_well(place: Place, agent: str) -> None:
    install(place, agent, "--mode", "observe")
    ran = place.run("doctor", agent)
    assert ran.status == 0, ran
    assert b"no:" not in ran.stdout


@pytest.mark.parametrize("agent", AGENTS)
def test_a_hook_that_enforces_without_a_server_is_not_well(place: Place, agent: str) -> None:
    install(place, agent, "--mode", "enforce")
    ran = place.run("doctor", agent)
    assert ran.status == 1
    assert b"there is no server" in ran.stdout


def spoiled(told: Any, agent: str) -> None:
    """Takes out what makes it fail closed."""
    entry, line = first(told, agent)
    if agent == "claude-code":
        del entry["hooks"][0]["onFailure"]
    elif agent == "cursor":
        del entry["failClosed"]
    else:
        entry["hooks"][0]["command"] = shlex.split(line)[2].removesuffix(" || exit 2")


@pytest.mark.parametrize("agent", AGENTS)
def test_a_hook_without_its_switch_is_not_well(place: Place, agent: str) -> None:
    install(place, agent, "--mode", "enforce")
    told = read(place, agent)
    spoiled(told, agent)
    place.write(told, FILES[agent])
    ran = place.run("doctor", agent)
    assert ran.status == 1
    assert b"fail closed is not set" in ran.stdout


@pytest.mark.parametrize("agent", AGENTS)
def test_a_hook_that_is_there_twice_is_not_well(place: Place, agent: str) -> None:
    install(place, agent)
    told = read(place, agent)
    told["hooks"][DIALECTS[agent].first] *= 2
    place.write(told, FILES[agent])
    assert b"has 2 hooks of ours" in place.run("doctor", agent).stdout


def test_a_hook_that_only_its_settings_make_enforce_is_not_well(place: Place) -> None:
    install(place, "codex", "--mode", "observe")
    place.write({"mode": "enforce"})
    ran = place.run("doctor", "codex")
    assert ran.status == 1
    assert b"losing them frees nobody" in ran.stdout
