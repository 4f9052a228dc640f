"""What somebody would try who wants a call to run without KIFF's yes, or the key: each of these worked once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_cases import AGENTS, BINDING, PATIENCE_SECONDS, PROGRAM, TOOL, Place, Ran, after, before, denied, let_go
from scripted_tower import KEY, ScriptedTower

from kiff_guard.errors import ConfigurationError, LedgerError
from kiff_guard.hooks import install, kept, settings

pytestmark = pytest.mark.slow

ENFORCE: dict[str, Any] = {"mode": "enforce", "tools": {TOOL: BINDING}}


@pytest.fixture
def tower() -> Iterator[ScriptedTower]:
    with ScriptedTower() as tower:
        yield tower


@pytest.fixture
def theirs() -> Iterator[ScriptedTower]:
    """A KIFF of somebody else, who allows everything."""
    with ScriptedTower() as tower:
        yield tower


@pytest.fixture
def place(tmp_path: Path, tower: ScriptedTower) -> Place:
    return Place(tmp_path / "home", {**ENFORCE, "url": tower.url}, KIFF_API_KEY=KEY)


# The process and its streams


def test_a_no_is_a_no_where_nothing_can_be_said_on_stderr(tmp_path: Path) -> None:
    """Python ends with 120 then, whatever was answered; and Claude Code runs the tool on that."""
    place = Place(tmp_path / "home", {**ENFORCE, "url": "http://127.0.0.1:9"}, KIFF_API_KEY=KEY)
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [*PROGRAM, "claude-code"],
            input=json.dumps(before("claude-code")).encode(),
            stdout=subprocess.PIPE,
            stderr=full,
            env=place.environment,
            cwd=place.project,
            timeout=PATIENCE_SECONDS,
        )
    denied("claude-code", Ran(ran.returncode, ran.stdout, "nobody heard it"))


@pytest.mark.parametrize("closed", [">&- 2>&-", ">&- 2>&- <&-", ">&- <&-"])
def test_an_answer_that_goes_nowhere_is_a_no(place: Place, closed: str) -> None:
    """A file that is opened while stdout is closed gets stdout's number: the answer was written into /dev/null."""
    raw = json.dumps(before("claude-code", tool="nobody bound it")).encode()
    line = f"{' '.join(PROGRAM)} claude-code {closed}"
    ran = subprocess.run(["sh", "-c", line], input=raw, env=place.environment, timeout=PATIENCE_SECONDS)
    assert ran.returncode == 2


LONG = {"a name in a name": "password-" * 3_000, "a long word": "-a" * 60_000, "words": "password" * 3_000}


@pytest.mark.parametrize("command", LONG.values(), ids=LONG.keys())
def test_no_command_keeps_a_hook_busy_until_it_is_given_up(place: Place, command: str) -> None:
    """What a model writes was looked through in a time that grew with its square, and no deadline struck meanwhile."""
    event = before("claude-code", "Bash", {"command": command})
    assert "unmapped_tool" in denied("claude-code", place.hook("claude-code", event, program=PROGRAM))


def test_a_failure_that_cannot_even_be_told_is_a_no(place: Place) -> None:
    code = (
        "import sys\nfrom kiff_guard.hooks.reply import Reply\n"
        "def broken(self, why): raise MemoryError\n"
        "Reply.broken = broken\n"
        "from kiff_guard.hooks import main\nsys.exit(main())"
    )
    for words in (["--mode", "enforce"], ["--mode", "observe"]):  # the settings say enforce
        ran = place.hook("claude-code", b"no event", *words, program=[PROGRAM[0], "-I", "-c", code])
        assert (ran.status, ran.stdout) == (2, b"")


def test_a_hook_that_cannot_begin_to_wait_is_a_no_where_the_settings_enforce(place: Place) -> None:
    """There are no threads left for the deadline: nobody had looked yet what the settings say."""
    code = (
        "import sys, threading\n"
        "def start(self): raise RuntimeError('no more threads')\n"
        "threading.Thread.start = start\n"
        "from kiff_guard.hooks import main\nsys.exit(main())"
    )
    program = [PROGRAM[0], "-I", "-c", code]
    assert "no more threads" in denied("codex", place.hook("codex", before("codex"), "--mode=observe", program=program))
    place.write({"mode": "observe"})
    let_go(place.hook("codex", before("codex"), "--mode=observe", program=program))


def test_an_event_that_comes_late_on_a_pipe_that_does_not_wait_is_read(place: Place) -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    with subprocess.Popen(
        [*PROGRAM, "codex"], stdin=read, stdout=subprocess.PIPE, env=place.environment, cwd=place.project
    ) as hook:
        os.close(read)
        raw = json.dumps(before("codex")).encode()
        for part in (raw[:40], raw[40:]):
            os.write(write, part)
            hook_sleeps(hook.pid)
        os.close(write)
        out, _ = hook.communicate(timeout=PATIENCE_SECONDS)
    let_go(Ran(hook.returncode, out, ""))


def hook_sleeps(pid: int) -> None:
    """Until it waits, as far as the system tells."""
    for _ in range(3_000):
        if "(sleeping)" in Path(f"/proc/{pid}/status").read_text():
            return


# Whose settings count


def test_a_project_that_breaks_its_settings_does_not_make_enforce_observe(place: Place) -> None:
    """The hook was installed to observe, and the user's settings say enforce."""
    let_go(place.hook("codex", before("codex"), "--mode", "observe"))
    place.write({"off": True}, "project/.kiff/guard.json")
    assert "belongs to the project" in denied("codex", place.hook("codex", before("codex"), "--mode", "observe"))


@pytest.mark.parametrize("agent", ["codex", "gemini", "cursor"])
def test_an_agent_that_another_one_started_does_not_leave_its_own_project(place: Place, agent: str) -> None:
    place.write({"withheld": ["*"]}, "project/.kiff/guard.json")
    place.environment["CLAUDE_PROJECT_DIR"] = str(place.home)
    assert "withheld_by_settings" in denied(agent, place.hook(agent, before(agent)))


def test_a_project_that_breaks_its_settings_stops_nothing_where_all_observe(tmp_path: Path) -> None:
    place = Place(tmp_path / "home", {"mode": "observe"})
    place.write({"off": True}, "project/.kiff/guard.json")
    let_go(place.hook("codex", before("codex"), "--mode", "observe"))


def test_the_settings_of_the_machine_that_cannot_be_read_are_not_passed_over(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder that only root may look into hid them: the user's own decided then."""
    loop = tmp_path / "locked"
    loop.symlink_to(loop)
    monkeypatch.setattr(settings, "MANAGED", str(loop / "guard.json"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        settings.read("observe", "", place.environment, "")
    assert settings.enforces_already("", place.environment)


def test_a_key_file_comes_before_a_variable(place: Place, tower: ScriptedTower) -> None:
    """A project can set variables of the agent: the key of a tenant of its own, who allows everything."""
    place.write("kiff_live_the_users", "key")
    place.write({**ENFORCE, "url": tower.url, "key_file": "~/key"})
    let_go(place.hook("codex", before("codex")))
    assert set(tower.keys) == {"Bearer kiff_live_the_users"}


def test_an_empty_key_file_does_not_leave_it_to_a_variable(place: Place, tower: ScriptedTower) -> None:
    place.write(" \n", "key")
    place.write({**ENFORCE, "url": tower.url, "key_file": "~/key"})
    assert "is empty" in denied("codex", place.hook("codex", before("codex")))


def test_with_settings_of_the_machine_no_variable_has_a_say(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "MANAGED", str(place.write({**ENFORCE, "key_file": "~/key"}, "managed.json")))
    theirs = tmp_path / "theirs"
    variables = {"KIFF_URL": "https://kiff.evil.example", "HOME": str(theirs), "XDG_STATE_HOME": str(theirs)}
    place.write("kiff_live_theirs", str(theirs / "key"))
    with pytest.raises(ConfigurationError, match="key_file"):  # the key is looked for where the user lives
        settings.read("", "", {**place.environment, **variables}, "")
    settings_without = place.write(ENFORCE, "managed.json")
    assert settings_without.exists()
    found = settings.read("", "", {**place.environment, **variables}, "")
    assert (found.url, found.key) == ("", "")
    assert not found.receipts.startswith(str(theirs)) and not found.state.startswith(str(theirs))


@pytest.mark.parametrize("variables", [{"XDG_CONFIG_HOME": "."}, {"HOME": "."}, {"HOME": "~"}], ids=str)
def test_a_folder_that_is_not_a_whole_path_is_not_looked_for_in_the_project(
    place: Place, theirs: ScriptedTower, variables: dict[str, str]
) -> None:
    """`./kiff/guard.json` and `./~/.config/kiff/guard.json` are the project's."""
    for folder in ("kiff", ".config/kiff", "~/.config/kiff"):
        place.write({**ENFORCE, "url": theirs.url, "ungoverned": ["*"]}, f"project/{folder}/guard.json")
    place.environment |= variables
    denied("codex", place.hook("codex", before("codex", tool="anything"), "--mode", "enforce"))


def test_a_variable_that_names_settings_by_half_a_path_withholds(place: Place) -> None:
    place.write({**ENFORCE, "ungoverned": ["*"]}, "project/guard.json")
    place.environment["KIFF_GUARD_CONFIG"] = "guard.json"
    assert "whole path" in denied("codex", place.hook("codex", before("codex", tool="anything")))


@pytest.mark.parametrize("there", [True, False])
def test_what_another_program_wrote_meanwhile_is_not_written_over(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "settings.json"
    if there:
        path.write_text("{}")
    environment = {"CLAUDE_CONFIG_DIR": str(tmp_path)}
    planned = install.change("claude-code", "user", "enforce", "", environment, remove=False)
    path.write_text('{"permissions": {"deny": ["Bash"]}}')
    with pytest.raises(ConfigurationError, match="run it again"):
        install.carry_out(planned)
    assert json.loads(path.read_text()) == {"permissions": {"deny": ["Bash"]}}


# The doctor


def project_hook(place: Place, line: str) -> None:
    entry = {"matcher": "*", "hooks": [{"type": "command", "command": line, "onFailure": "block", "timeout": 75}]}
    place.write({"hooks": {"PreToolUse": [entry]}}, "project/.claude/settings.json")


@pytest.mark.parametrize(
    "line",
    ["touch {made}; kiff-hook claude-code --mode enforce", "kiff-hook claude-code --mode enforce; touch {made} '"],
)
def test_the_doctor_runs_no_command_of_a_project(place: Place, tmp_path: Path, line: str) -> None:
    made = tmp_path / "made"
    project_hook(place, line.format(made=made))
    ran = place.run("doctor", "claude-code")
    assert ran.status == 1
    assert b"it was not run" in ran.stdout
    assert not made.exists()


def test_the_doctor_shows_the_key_to_nobody_that_a_project_names(place: Place, theirs: ScriptedTower) -> None:
    told = {"url": theirs.url, "key_file": str(place.write(KEY, "key"))}
    elsewhere = place.write({**ENFORCE, **told}, "project/evil.json")
    installing = place.run("install", "claude-code", "--project", "--mode", "enforce", "--config", str(elsewhere))
    assert installing.status == 0, installing
    ran = place.run("doctor", "claude-code")
    assert ran.status == 1
    assert b"it was not run" in ran.stdout
    assert theirs.url.encode() not in ran.stdout
    named = place.run("doctor", "claude-code", "--config", str(elsewhere))
    assert theirs.url.encode() in named.stdout, "whoever names them himself is told"


def test_the_doctor_runs_what_was_installed_in_a_project(place: Place) -> None:
    assert place.run("install", "claude-code", "--project", "--mode", "enforce").status == 0
    assert b"yes: an event that cannot be read is withheld" in place.run("doctor", "claude-code").stdout


def test_the_doctor_says_that_two_hooks_withhold_everything(place: Place, tower: ScriptedTower) -> None:
    assert place.run("install", "claude-code", "--user", "--mode", "enforce").status == 0
    assert place.run("install", "claude-code", "--project", "--mode", "enforce").status == 0
    assert b"both ask" in place.run("doctor", "claude-code").stdout
    tower.says_replayed = True
    event = before("claude-code")
    let_go(place.hook("claude-code", event))
    assert "already_cleared" in denied("claude-code", place.hook("claude-code", event))


# What is open between two events


def folder(tmp_path: Path) -> kept.Kept:
    return kept.Kept(str(tmp_path / "state"), "codex", "s")


@pytest.mark.parametrize("theirs", ["owned by others", "writable by others"])
def test_receipts_are_not_written_into_a_file_of_somebody_else(place: Place, theirs: str) -> None:
    """Made beforehand in a folder that many may write: its owner reads them, and writes them anew."""
    path = place.write("", ".local/state/kiff/receipts.jsonl")
    if theirs == "writable by others":
        path.chmod(0o666)
    elif os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        pytest.skip("needs root, to give a file away")
    assert "the receipts" in denied("codex", place.hook("codex", before("codex")))
    assert path.read_text() == ""


def test_two_hooks_do_not_both_take_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second took the first one's file while it was read: the call was settled twice, with two ends."""
    state, read = folder(tmp_path), kept._read
    state.put(("id", "c"), "gr_1", {"number": 1})
    others: list[Any] = []

    def read_meanwhile(path: str) -> Any:
        told = read(path)
        if not others:
            others.append(None)
            others.extend(state.rest())
        return told

    monkeypatch.setattr(kept, "_read", read_meanwhile)
    mine = state.take(("id", "c"))
    assert [each for each in [mine, *others] if each is not None] == [{"number": 1}]


def test_a_disk_that_takes_a_part_keeps_no_half_of_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written in part was remembered as nothing, and the agent had heard yes."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:7]))
    state = folder(tmp_path)
    state.put(("id", "c"), "gr_1", {"number": 1})
    assert state.take(("id", "c")) == {"number": 1}


def test_a_folder_that_another_hook_tidies_away_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, private, gone = folder(tmp_path), kept._private, []

    def private_and_gone(path: str) -> None:
        private(path)
        if len(gone) < 2:
            gone.append(path)
            os.rmdir(path)

    monkeypatch.setattr(kept, "_private", private_and_gone)
    state.put(("id", "c"), "gr_1", {"number": 1})
    assert state.take(("id", "c")) == {"number": 1}
    monkeypatch.setattr(kept, "_private", lambda path: (private(path), os.rmdir(path)))
    with pytest.raises(LedgerError, match="again and again"):
        state.put(("id", "d"), "gr_2", {"number": 2})


def test_a_clock_that_went_back_does_not_keep_calls_open_for_ever(tmp_path: Path) -> None:
    state = folder(tmp_path)
    state.put(("id", "c"), "gr_1", {"number": 1})
    now = (tmp_path / "state").stat().st_mtime
    assert list(state.stale(now + 10 * kept.OPEN_SECONDS)) == [{"number": 1}]
    state.put(("id", "d"), "gr_2", {"number": 2})
    [path] = [each for each in (tmp_path / "state").glob("*/*") if each.is_file()]
    os.utime(path, (now - 2 * kept.OPEN_SECONDS,) * 2)
    assert list(state.stale(now)) == [{"number": 2}]


def test_young_reviews_do_not_keep_old_ones_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SWEEP_LIMIT", 2)
    state = folder(tmp_path)
    for number in range(8):
        state.hold(("call", str(number)), "apr_1")
    now = (tmp_path / "state").stat().st_mtime
    held = tmp_path / "state/held"
    for name in kept._listed(str(held))[4:]:
        os.utime(held / name, (now - 2 * kept.HELD_SECONDS,) * 2)
    for minute in range(2):
        list(state.stale(now + 61 * minute))
    assert len(list(held.iterdir())) == 4


def test_a_call_that_was_withheld_is_not_told_as_one_without_a_decision(place: Place) -> None:
    """Cursor tells after its no that permission was denied."""
    place.write({**ENFORCE, "url": "http://127.0.0.1:9"})
    denied("cursor", place.hook("cursor", before("cursor")))
    told = {**before("cursor"), "hook_event_name": "postToolUseFailure", "failure_type": "permission_denied"}
    assert place.hook("cursor", told).status == 0
    assert [(each["outcome"], each["execution"]) for each in place.lines()] == [("error", "not_run")]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("odd", [{"cwd": []}, {"tool_name": 7}, {"tool_name": ""}], ids=str)
def test_a_call_that_ran_is_not_told_to_have_been_withheld(place: Place, agent: str, odd: dict[str, Any]) -> None:
    """The model would make it again."""
    let_go(place.hook(agent, before(agent)))
    ran = place.hook(agent, {**after(agent), **odd})
    assert (ran.status, ran.answer) == (1, {})
    assert "withheld" not in ran.stderr


@pytest.mark.parametrize("agent", AGENTS)
def test_a_call_with_a_large_result_is_settled(place: Place, tower: ScriptedTower, agent: str) -> None:
    """A picture is more than four megabytes; its event was refused, and the call told to have been withheld."""
    let_go(place.hook(agent, before(agent)))
    assert place.hook(agent, after(agent, result="x" * 6_000_000)).status == 0
    assert tower.outcomes == ["succeeded"]


def test_what_cannot_be_remembered_is_told_as_not_run_whatever_it_was(place: Place, tower: ScriptedTower) -> None:
    code = (
        "import sys\nfrom kiff_guard.hooks.kept import Kept\n"
        "def put(self, *about): raise MemoryError\n"
        "Kept.put = put\n"
        "from kiff_guard.hooks import main\nsys.exit(main())"
    )
    ran = place.hook("claude-code", before("claude-code"), program=[PROGRAM[0], "-I", "-c", code])
    denied("claude-code", ran)
    assert tower.outcomes == ["cancelled"]
    assert [each["execution"] for each in place.lines()] == ["not_run"]


@pytest.mark.parametrize(("agent", "shell"), [("codex", "Bash"), ("gemini", "run_shell_command")])
def test_the_end_of_a_command_settles_no_other_call(place: Place, tower: ScriptedTower, agent: str, shell: str) -> None:
    """Of a shell nobody tells how it ended; everything else that was open in the session was told as unknown by it."""
    place.write({**ENFORCE, "url": tower.url, "ungoverned": [shell]})
    let_go(place.hook(agent, before(agent)))
    let_go(place.hook(agent, before(agent, tool=shell, call="call_2")))
    assert place.hook(agent, after(agent, tool=shell, call="call_2")).status == 0
    assert tower.outcomes == []
    assert place.hook(agent, after(agent)).status == 0
    assert tower.outcomes == ["succeeded"]


@pytest.mark.parametrize("agent", AGENTS)
def test_an_end_that_comes_twice_is_settled_once(place: Place, tower: ScriptedTower, agent: str) -> None:
    let_go(place.hook(agent, before(agent)))
    for _ in range(2):
        place.hook(agent, after(agent))
    assert tower.outcomes == ["succeeded"]
    assert [each["execution"] for each in place.lines()][:1] == ["succeeded"]
