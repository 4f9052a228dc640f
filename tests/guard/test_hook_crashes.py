"""Every way in which a hook can break withholds the call in enforce, and none of them stops a tool in observe."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_cases import AGENTS, BINDING, PATIENCE_SECONDS, PROGRAM, TOOL, Place, before, denied, let_go
from scripted_tower import KEY, ScriptedTower

from kiff_guard.hooks.event import BYTES_LIMIT

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {"mode": "enforce", "tools": {TOOL: BINDING}}
NO_EVENT = {
    "empty": b"",
    "blank": b" \n",
    "half": b'{"hook_event_name":',
    "list": b"[]",
    "null": b"null",
    "text": b'"PreToolUse"',
    "no utf-8": b"\xff\xfe",
    "not a number": b'{"hook_event_name":"PreToolUse","tool_name":"x","tool_input":{"n":NaN}}',
    "deep": b"[" * 100_000,
    "no event": b"{}",
    "event of another type": b'{"hook_event_name":["PreToolUse"]}',
    "unknown event": b'{"hook_event_name":"UserPromptSubmit","session_id":"s"}',
    "no tool": b'{"hook_event_name":"PreToolUse","session_id":"s","tool_use_id":"c"}',
    "tool of another type": b'{"hook_event_name":"PreToolUse","session_id":"s","tool_name":{}}',
    "session of another type": b'{"hook_event_name":"PreToolUse","session_id":7,"tool_name":"x"}',
    "arguments of another type": b'{"hook_event_name":"PreToolUse","tool_name":"mcp__shop__refund","tool_input":[1]}',
}


@pytest.fixture(scope="module")
def tower() -> Iterator[ScriptedTower]:
    with ScriptedTower() as tower:
        yield tower


@pytest.fixture
def place(tmp_path: Path, tower: ScriptedTower) -> Place:
    return Place(tmp_path / "home", {**SETTINGS, "url": tower.url}, KIFF_API_KEY=KEY)


@pytest.mark.parametrize("agent", AGENTS)
def test_the_control_is_let_go(place: Place, agent: str) -> None:
    """What all the others here differ from by one thing."""
    let_go(place.hook(agent, before(agent), program=PROGRAM))
    let_go(place.hook(agent, before(agent, call="forked")))


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("raw", NO_EVENT.values(), ids=NO_EVENT.keys())
def test_what_is_no_event_is_withheld(place: Place, agent: str, raw: bytes) -> None:
    denied(agent, place.hook(agent, raw, "--mode", "enforce"))


@pytest.mark.parametrize("agent", AGENTS)
def test_an_event_that_is_too_large_is_withheld(place: Place, agent: str) -> None:
    """Nothing else is wrong with it."""
    raw = json.dumps(before(agent)).encode()
    assert f"{BYTES_LIMIT} bytes" in denied(agent, place.hook(agent, raw.ljust(BYTES_LIMIT + 1)))
    let_go(place.hook(agent, raw.ljust(BYTES_LIMIT)))


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("twice", ["tool_name", "order_id"])
def test_an_event_that_says_one_thing_twice_is_withheld(place: Place, agent: str, twice: str) -> None:
    """Two readers would not read it alike: the hook decides on one value, and the agent runs the other."""
    raw = json.dumps(before(agent)).replace(f'"{twice}": ', f'"{twice}": "other", "{twice}": ').encode()
    assert "given twice" in denied(agent, place.hook(agent, raw))


@pytest.mark.parametrize("raw", NO_EVENT.values(), ids=NO_EVENT.keys())
def test_what_is_no_event_stops_nothing_in_observe(tmp_path: Path, raw: bytes) -> None:
    let_go(Place(tmp_path / "home").hook("codex", raw, "--mode", "observe"))


BROKEN_SETTINGS: dict[str, Any] = {
    "no json": "{mode: enforce}",
    "no object": "[]",
    "a name twice": '{"mode": "observe", "mode": "observe"}',
    "unknown setting": {"mode": "enforce", "fail_open": True},
    "unknown mode": {"mode": "off"},
    "unknown rule": {"mode": "enforce", "unmapped": "run"},
    "mode of another type": {"mode": True},
    "half a binding": {"mode": "enforce", "tools": {TOOL: {"action": "refund"}}},
    "two entities": {"mode": "enforce", "tools": {TOOL: {**BINDING, "entity_id": "x"}}},
    "deadline of another size": {"mode": "enforce", "deadline_seconds": 3600},
    "no url": {"mode": "enforce", "url": ""},
    "plain http elsewhere": {"mode": "enforce", "url": "http://kiff.example"},
    "no key file": {"mode": "enforce", "key_file": "nowhere"},
}


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("settings", BROKEN_SETTINGS.values(), ids=BROKEN_SETTINGS.keys())
def test_settings_that_cannot_be_right_withhold(place: Place, agent: str, settings: Any) -> None:
    if isinstance(settings, dict):
        settings = {"tools": {TOOL: BINDING}, **settings}
    if isinstance(settings, dict) and "key_file" in settings:
        del place.environment["KIFF_API_KEY"]
    place.write(settings)
    denied(agent, place.hook(agent, before(agent), "--mode", "enforce"))


@pytest.mark.parametrize("agent", AGENTS)
def test_without_any_settings_nothing_runs(tmp_path: Path, agent: str) -> None:
    """Deleting the settings frees nobody."""
    ran = Place(tmp_path / "home").hook(agent, before(agent))
    assert "neither --mode nor a settings file" in denied(agent, ran)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("missing", ["KIFF_API_KEY", "url"])
def test_without_a_key_or_a_server_nothing_runs(place: Place, agent: str, missing: str) -> None:
    if missing == "url":
        place.write(SETTINGS)
    else:
        del place.environment[missing]
    denied(agent, place.hook(agent, before(agent)))


def test_settings_that_others_may_write_withhold(place: Place) -> None:
    (place.home / ".config/kiff/guard.json").chmod(0o666)
    assert "open to other users" in denied("codex", place.hook("codex", before("codex"), "--mode", "enforce"))


def test_settings_that_are_a_pipe_withhold(place: Place) -> None:
    path = place.home / ".config/kiff/guard.json"
    path.unlink()
    os.mkfifo(path)
    assert "it is no file" in denied("codex", place.hook("codex", before("codex"), "--mode", "enforce"))


def test_a_key_file_that_others_may_read_withholds(place: Place, tower: ScriptedTower) -> None:
    del place.environment["KIFF_API_KEY"]
    place.write(KEY, "key").chmod(0o644)
    place.write({**SETTINGS, "url": tower.url, "key_file": "~/key"})
    assert "chmod 0600" in denied("codex", place.hook("codex", before("codex")))
    (place.home / "key").chmod(0o600)
    let_go(place.hook("codex", before("codex")))


@pytest.mark.parametrize("agent", AGENTS)
def test_a_server_that_is_down_withholds(place: Place, agent: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place.write({**SETTINGS, "url": f"http://127.0.0.1:{free.getsockname()[1]}"})
        denied(agent, place.hook(agent, before(agent)))
    [receipt] = place.lines()
    assert (receipt["outcome"], receipt["executed"], receipt["execution"]) == ("error", False, "not_run")


@pytest.mark.parametrize("outcome", ["yes", "", "ALLOWED", "defer", None])
def test_an_outcome_that_is_none_withholds(tmp_path: Path, outcome: Any) -> None:
    from kiff_guard import Decision
    from kiff_guard.conformance import Garbage

    script = Garbage(Decision(outcome)) if outcome is not None else Garbage(None)
    with ScriptedTower({"*": script}) as tower:
        place = Place(tmp_path / "home", {**SETTINGS, "url": tower.url}, KIFF_API_KEY=KEY)
        denied("codex", place.hook("codex", before("codex")))


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes requests and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_a_server_that_never_answers_withholds_in_time(place: Place, agent: str, silent: str) -> None:
    place.write({**SETTINGS, "url": silent, "deadline_seconds": 1})
    denied(agent, place.hook(agent, before(agent)))


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_stdin_that_never_ends_is_withheld_in_time(place: Place, tower: ScriptedTower, agent: str) -> None:
    place.write({**SETTINGS, "url": tower.url, "deadline_seconds": 1})
    with started(place, agent) as hook:
        assert hook.stdin is not None
        hook.stdin.write(b'{"hook_event_name":')
        hook.stdin.flush()
        withheld(agent, hook, "within 1 seconds")


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
def test_a_hook_that_is_stopped_says_no(place: Place, silent: str, agent: str, number: signal.Signals) -> None:
    place.write({**SETTINGS, "url": silent, "deadline_seconds": 20})
    with started(place, agent) as hook:
        assert hook.stdin is not None
        hook.stdin.write(b"{")
        hook.stdin.flush()
        while not handles(hook.pid, signal.SIGHUP):  # the last that it takes on
            assert hook.poll() is None, "it ended by itself"
            time.sleep(0.01)
        hook.send_signal(number)
        withheld(agent, hook, "stopped by signal")


def handles(pid: int, number: signal.Signals) -> bool:
    """Does the process have a handler for a signal by now?"""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def started(place: Place, agent: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    command = [*PROGRAM, agent, "--mode", "enforce"]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=place.environment, cwd=place.project)


def withheld(agent: str, hook: subprocess.Popen[bytes], why: str) -> None:
    from hook_cases import Ran

    assert hook.stdout is not None
    assert hook.stderr is not None
    status = hook.wait(PATIENCE_SECONDS)
    assert status == 2
    assert why in denied(agent, Ran(status, hook.stdout.read(), hook.stderr.read().decode()))


@pytest.mark.parametrize("agent", AGENTS)
def test_an_answer_that_nobody_can_read_is_a_no(place: Place, agent: str) -> None:
    """Stdout is closed, or a pipe without a reader: allowed or not, the status is 2."""
    for close in ("exec {} >&-", "{} | true; exit ${{PIPESTATUS[0]}}"):
        line = close.format(" ".join([*PROGRAM, agent]))
        ran = subprocess.run(
            ["bash", "-c", line],
            input=json.dumps(before(agent, call=close)).encode(),
            env=place.environment,
            cwd=place.project,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )
        if close.startswith("exec"):
            assert ran.returncode == 2
            assert b"could not be written" in ran.stderr


@pytest.mark.parametrize("agent", AGENTS)
def test_receipts_that_cannot_be_kept_withhold(place: Place, tower: ScriptedTower, agent: str) -> None:
    place.write({**SETTINGS, "url": tower.url, "receipts": "/dev/full/receipts.jsonl"})
    denied(agent, place.hook(agent, before(agent)))


@pytest.mark.parametrize("agent", AGENTS)
def test_a_state_that_cannot_be_kept_withholds(place: Place, agent: str) -> None:
    place.state.parent.mkdir(parents=True)
    place.state.write_text("in the way")
    denied(agent, place.hook(agent, before(agent)))


def test_a_state_folder_of_others_withholds(place: Place) -> None:
    place.state.mkdir(parents=True)
    place.state.chmod(0o777)
    assert "nobody else may write" in denied("codex", place.hook("codex", before("codex")))


def test_a_state_that_cannot_be_kept_gives_the_clearance_back(place: Place, tower: ScriptedTower) -> None:
    """KIFF allowed the call; what the hook cannot remember does not run, and KIFF is told."""
    let_go(place.hook("codex", before("codex", call="first")))
    [session] = [path for path in place.state.iterdir() if path.is_dir() and path.name != "held"]
    session.chmod(0o777)
    told = len(tower.outcomes)
    denied("codex", place.hook("codex", before("codex", call="second")))
    assert tower.outcomes[told:] == ["cancelled"]
    assert [each["execution"] for each in place.lines()] == ["not_run"]


BROKEN_PACKAGE = {
    "missing": None,
    "syntax": "def (",
    "raises": "raise OSError",
    "exits": "import os; os._exit(1)",
}


@pytest.mark.parametrize("agent", ["codex", "gemini"])
@pytest.mark.parametrize("body", BROKEN_PACKAGE.values(), ids=BROKEN_PACKAGE.keys())
def test_a_package_that_is_broken_withholds_by_the_installed_command(
    tmp_path: Path, agent: str, body: str | None
) -> None:
    """What is written into the settings of agents without a switch of their own."""
    from kiff_guard.hooks.places import fail_closed

    place = Place(tmp_path / "home")
    if body is not None:
        (tmp_path / "kiff_guard").mkdir()
        (tmp_path / "kiff_guard/__init__.py").write_text(body)
    line = fail_closed(f"env PYTHONPATH={tmp_path} {PROGRAM[0]} -S -m kiff_guard.hooks {agent} --mode enforce")
    ran = subprocess.run(line, shell=True, input=b"{}", env=place.environment, cwd=tmp_path, capture_output=True)
    assert ran.returncode == 2


@pytest.mark.parametrize("part", ["dialects", "flow", "reply", "settings"])
def test_a_part_of_the_package_that_is_broken_withholds(tmp_path: Path, part: str) -> None:
    """The script starts, and one of the modules behind it cannot be imported."""
    code = f"import sys; sys.modules['kiff_guard.hooks.{part}'] = None; from kiff_guard.hooks import main; "
    code += "sys.exit(main())"
    place = Place(tmp_path / "home")
    for mode, status in (("enforce", 2), ("observe", 0)):
        ran = place.hook("codex", before("codex"), "--mode", mode, program=[PROGRAM[0], "-I", "-c", code])
        assert ran.status == status
        assert ran.stderr


@pytest.mark.parametrize(
    "words",
    [["unknown"], [], ["codex", "--mode", "off"], ["codex", "--mode"], ["codex", "--fail-open"], ["codex", "--mode=x"]],
    ids=" ".join,
)
def test_a_command_line_that_is_not_understood_withholds(place: Place, words: list[str]) -> None:
    ran = place.hook(*(words[:1] or [""]), before("codex"), *words[1:])
    assert ran.status == 2
    assert ran.stdout == b""
    assert "kiff-hook:" in ran.stderr


def test_nothing_but_the_answer_is_on_stdout(place: Place) -> None:
    """What anything else in the process prints goes to stderr."""
    code = (
        "import sys, os, kiff_guard.hooks.settings as settings\n"
        "read = settings.read\n"
        "def noisy(*about):\n"
        "    print('noise'); os.write(1, b'noise'); sys.stdout.flush()\n"
        "    return read(*about)\n"
        "settings.read = noisy\n"
        "from kiff_guard.hooks import main\n"
        "sys.exit(main())\n"
    )
    ran = place.hook("codex", before("codex"), program=[PROGRAM[0], "-I", "-c", code])
    let_go(ran)
    assert ran.stderr.count("noise") == 2
