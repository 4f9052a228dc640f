"""One process decides and another one settles: one receipt for each call, whatever comes between them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hook_cases import AGENTS, ARGS, BINDING, PROGRAM, TOOL, Place, after, before, denied, let_go
from scripted_tower import KEY, ScriptedTower

from kiff_guard import cli
from kiff_guard.hooks import kept

pytestmark = pytest.mark.slow

SECRET = "sk-live-0123456789abcdefghij"


@pytest.fixture
def tower() -> Iterator[ScriptedTower]:
    with ScriptedTower() as tower:
        yield tower


@pytest.fixture
def place(tmp_path: Path, tower: ScriptedTower) -> Place:
    settings = {"mode": "enforce", "url": tower.url, "agent": "coder", "tools": {TOOL: BINDING}}
    return Place(tmp_path / "home", settings, KIFF_API_KEY=KEY)


@pytest.fixture
def observed(tmp_path: Path) -> Place:
    return Place(tmp_path / "home")


def one(place: Place) -> dict[str, Any]:
    [receipt] = place.lines()
    return receipt


@pytest.mark.parametrize("agent", AGENTS)
def test_a_call_that_was_allowed_is_settled_by_the_next_process(place: Place, tower: ScriptedTower, agent: str) -> None:
    let_go(place.hook(agent, before(agent)))
    assert place.lines() == []
    let_go(place.hook(agent, after(agent)))
    receipt = one(place)
    assert (receipt["outcome"], receipt["state"], receipt["executed"]) == ("allowed", "governed", True)
    assert (receipt["execution"], receipt["adapter"], receipt["tool"]) == ("succeeded", agent, TOOL)
    assert receipt["args"] == ARGS
    assert receipt["result_hash"]
    assert tower.outcomes == ["succeeded"]
    assert place.open_calls() == []


@pytest.mark.parametrize("agent", AGENTS)
def test_the_end_comes_with_the_proposal_that_was_decided(place: Place, tower: ScriptedTower, agent: str) -> None:
    place.hook(agent, before(agent))
    place.hook(agent, after(agent))
    [asked], [settled] = tower.client.decides, tower.client.settles
    assert asked.proposal_id == settled.proposal_id == one(place)["proposal_id"]


@pytest.mark.parametrize("agent", AGENTS)
def test_other_arguments_than_were_decided_on_are_a_violation(place: Place, agent: str) -> None:
    """As far as the agent gives calls an id; without one, other arguments are another call."""
    place.hook(agent, before(agent))
    ran = place.hook(agent, after(agent, args={**ARGS, "amount": 9_000.0}))
    receipt = one(place)
    if agent == "gemini":
        assert "no decision on it is known" in ran.stderr
        assert (receipt["outcome"], receipt["executed"]) == ("failed_open", True)
    else:
        assert receipt["integrity_violation"] is True


def failures() -> dict[str, tuple[str, dict[str, Any], str]]:
    """How each agent tells that a tool failed: (agent, event, what the receipt says)."""
    claude, cursor = before("claude-code"), before("cursor")
    failed = {**claude, "hook_event_name": "PostToolUseFailure", "error": f"no route, key {SECRET}"}
    cursor_failed = {**cursor, "hook_event_name": "postToolUseFailure", "error_message": "no"}
    error = {"llmContent": "", "error": {"message": "no"}}
    return {
        "claude-code failure": ("claude-code", {**failed, "is_interrupt": False}, "failed"),
        "claude-code interrupt": ("claude-code", {**failed, "is_interrupt": True}, "cancelled"),
        "claude-code interrupted": ("claude-code", after("claude-code", {"interrupted": True}), "cancelled"),
        "claude-code mcp": ("claude-code", after("claude-code", {"isError": True}), "failed"),
        "codex mcp": ("codex", after("codex", {"isError": True, "content": []}), "failed"),
        "gemini": ("gemini", {**after("gemini"), "tool_response": error}, "failed"),
        "cursor failure": ("cursor", {**cursor_failed, "failure_type": "error"}, "failed"),
        "cursor interrupt": ("cursor", {**cursor_failed, "is_interrupt": True}, "cancelled"),
        "cursor refused": ("cursor", {**cursor_failed, "failure_type": "permission_denied"}, "not_run"),
        "cursor mcp": ("cursor", after("cursor", json.dumps({"isError": True})), "failed"),
    }


@pytest.mark.parametrize(("agent", "event", "execution"), failures().values(), ids=failures().keys())
def test_a_tool_that_failed_did_not_succeed(
    place: Place, tower: ScriptedTower, agent: str, event: dict[str, Any], execution: str
) -> None:
    place.hook(agent, before(agent))
    place.hook(agent, event)
    receipt = one(place)
    assert receipt["execution"] == execution
    assert receipt["executed"] is (execution != "not_run")
    assert tower.outcomes == ["cancelled" if execution == "not_run" else "unknown"]
    assert SECRET not in json.dumps(receipt)


def test_kiff_may_be_told_that_an_error_is_a_failure(place: Place, tower: ScriptedTower) -> None:
    """Where a tool that fails has done nothing."""
    place.write({"mode": "enforce", "url": tower.url, "tools": {TOOL: BINDING}, "errors": "failed"})
    place.hook("codex", before("codex"))
    place.hook("codex", after("codex", {"isError": True}))
    assert tower.outcomes == ["failed"]


MUTE = [
    ("codex", before("codex", "Bash", {"command": "false"})),
    ("gemini", before("gemini", "run_shell_command", {"command": "false"})),
]


@pytest.mark.parametrize(("agent", "event"), MUTE, ids=["codex", "gemini"])
def test_a_shell_whose_exit_code_nobody_tells_ends_unknown(
    place: Place, tower: ScriptedTower, agent: str, event: dict[str, Any]
) -> None:
    """Codex and Gemini CLI tell what a command wrote. Nobody claims that it succeeded, and KIFF waits for no report."""
    shell = {"action": "run", "entity_type": "workspace", "entity_id": "main"}
    settings = {"mode": "enforce", "url": tower.url, "tools": {event["tool_name"]: shell}}
    place.write(settings)
    let_go(place.hook(agent, event))
    let_go(place.hook(agent, {**after(agent), **event, "hook_event_name": after(agent)["hook_event_name"]}))
    assert one(place)["execution"] == "unknown"
    assert tower.client.decides[0].options["settles"] is False
    assert tower.outcomes == []


def test_cursor_tells_the_exit_code_of_its_shell(observed: Place) -> None:
    for code, execution in ((0, "succeeded"), (3, "failed"), (None, "unknown")):
        said: dict[str, Any] = {"tool": "Shell", "args": {"command": f"exit {code}"}, "call": f"c{code}"}
        observed.hook("cursor", before("cursor", **said), "--mode", "observe")
        observed.hook("cursor", after("cursor", json.dumps({"exitCode": code}), **said), "--mode", "observe")
        assert observed.lines()[-1]["execution"] == execution


def test_cursors_older_events_are_understood(observed: Place) -> None:
    base = {"conversation_id": "s", "cwd": "/project"}
    shell = {**base, "command": "ls"}
    observed.hook("cursor", {**shell, "hook_event_name": "beforeShellExecution"}, "--mode", "observe")
    observed.hook("cursor", {**shell, "hook_event_name": "afterShellExecution", "output": ""}, "--mode", "observe")
    mcp = {**base, "tool_name": "refund", "tool_input": '{"order_id": "o"}'}
    observed.hook("cursor", {**mcp, "hook_event_name": "beforeMCPExecution"}, "--mode", "observe")
    observed.hook("cursor", {**mcp, "hook_event_name": "afterMCPExecution", "result_json": "{}"}, "--mode", "observe")
    told = [(each["tool"], each["args"], each["execution"]) for each in observed.lines()]
    assert told == [("Shell", {"command": "ls"}, "unknown"), ("refund", {"order_id": "o"}, "succeeded")]


@pytest.mark.slow
def test_calls_at_once_each_have_their_receipt(place: Place, tower: ScriptedTower) -> None:
    """Agents start their hooks beside each other; they share one file of receipts."""
    with ThreadPoolExecutor(6) as pool:
        calls = [{"call": f"call_{number}", "args": {"order_id": f"ord_{number}"}} for number in range(6)]
        for moment in (before, after):
            events = [moment("claude-code", **said) for said in calls]
            for ran in pool.map(lambda event: place.hook("claude-code", event, program=PROGRAM), events):
                let_go(ran)
    settled = {each["call_id"]: each["args"]["order_id"] for each in place.lines()}
    assert settled == {said["call"]: said["args"]["order_id"] for said in calls}
    assert tower.outcomes == ["succeeded"] * 6
    assert cli.main(["verify", str(place.home / ".local/state/kiff/receipts.jsonl")]) == 0


def test_two_calls_alike_without_an_id_are_two(place: Place, tower: ScriptedTower) -> None:
    """Gemini CLI starts both before either ends."""
    for event in (before("gemini"), before("gemini"), after("gemini"), after("gemini")):
        let_go(place.hook("gemini", event))
    assert [each["execution"] for each in place.lines()] == ["succeeded", "succeeded"]
    assert len({each["proposal_id"] for each in place.lines()}) == 2
    assert tower.outcomes == ["succeeded", "succeeded"]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_call_whose_beginning_nobody_saw_leaves_a_receipt_that_says_so(place: Place, agent: str) -> None:
    ran = place.hook(agent, after(agent))
    assert ran.status == 0
    assert "no decision on it is known" in ran.stderr
    receipt = one(place)
    assert (receipt["outcome"], receipt["state"], receipt["executed"]) == ("failed_open", "ungoverned", True)
    assert receipt["reason"].startswith("unseen")
    assert (receipt["args"], receipt["adapter"]) == (ARGS, agent)


@pytest.mark.parametrize("agent", AGENTS)
def test_the_same_end_told_twice_settles_once(place: Place, tower: ScriptedTower, agent: str) -> None:
    place.hook(agent, before(agent))
    place.hook(agent, after(agent))
    place.hook(agent, after(agent))
    assert tower.outcomes == ["succeeded"]
    assert [each["outcome"] for each in place.lines()] == ["allowed", "failed_open"]


@pytest.mark.parametrize("agent", ["claude-code", "gemini", "cursor"])
def test_what_is_open_when_the_session_ends_is_unknown(place: Place, tower: ScriptedTower, agent: str) -> None:
    place.hook(agent, before(agent))
    other = before(agent, call="other", session="sess_2", args={"order_id": "ord_2"})
    place.hook(agent, other)
    session = "conversation_id" if agent == "cursor" else "session_id"
    end = {"hook_event_name": "sessionEnd" if agent == "cursor" else "SessionEnd", session: "sess_1"}
    let_go(place.hook(agent, end))
    receipt = one(place)
    assert (receipt["execution"], receipt["executed"]) == ("unknown", True)
    assert tower.outcomes == ["unknown"]
    assert len(place.open_calls()) == 1


def aged(place: Place) -> None:
    """As if everything had happened a day ago."""
    for path in place.state.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


def test_what_nobody_settles_is_told_as_unknown_by_a_later_run(place: Place, tower: ScriptedTower) -> None:
    place.hook("codex", before("codex", call="lost"))
    aged(place)
    place.hook("codex", before("codex", call="later", session="sess_2", args={"order_id": "ord_2"}))
    receipt = one(place)
    assert (receipt["call_id"], receipt["execution"]) == ("lost", "unknown")
    assert tower.outcomes == ["unknown"]


def test_what_is_young_is_left_alone(place: Place) -> None:
    place.hook("codex", before("codex", call="young"))
    (place.state / "swept").unlink()
    place.hook("codex", before("codex", call="later", args={"order_id": "ord_2"}))
    assert place.lines() == []
    assert len(place.open_calls()) == 2


def test_too_many_open_calls_go_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "FILES_LIMIT", 3)
    folder = kept.Kept(str(tmp_path / "state"), "codex", "s")
    for number in range(5):
        folder.put(("id", f"call_{number}"), f"gr_{number:012d}", {"number": number})
    now = (tmp_path / "state").stat().st_mtime
    assert [told["number"] for told in folder.stale(now)] == [0, 1]
    assert len(list((tmp_path / "state").glob("*/*"))) == 3


def test_the_state_has_no_argument_in_it(place: Place) -> None:
    args = {**ARGS, "note": "hunter2-the-argument"}
    place.hook("claude-code", before("claude-code", args=args))
    [path] = place.open_calls()
    assert "hunter2" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert {each.stat().st_mode & 0o777 for each in (path.parent, place.state)} == {0o700}


def test_half_a_state_file_is_only_cleared_away(place: Place) -> None:
    place.hook("codex", before("codex"))
    [path] = place.open_calls()
    path.write_text("{")
    ran = place.hook("codex", after("codex"))
    assert ran.status == 0
    assert one(place)["outcome"] == "failed_open"
    assert place.open_calls() == []


@pytest.mark.parametrize("content", [b"{}", b'{"decision": {}}', b"[]", b'{"decision": {"reasons": 5}}'])
def test_a_state_file_that_somebody_wrote_settles_nothing(place: Place, tower: ScriptedTower, content: bytes) -> None:
    place.hook("codex", before("codex"))
    [path] = place.open_calls()
    path.write_bytes(content)
    ran = place.hook("codex", after("codex"))
    assert ran.status in (0, 1)
    assert ran.stderr
    assert tower.outcomes == []


# Approvals


@pytest.mark.parametrize("agent", AGENTS)
def test_a_held_call_is_denied_with_the_approval_and_what_to_do(tmp_path: Path, agent: str) -> None:
    with ScriptedTower("approval_required") as tower:
        place = enforcing(tmp_path, tower)
        why = denied(agent, place.hook(agent, before(agent)))
    [approval] = tower.client.approvals
    assert approval in why
    assert "call again with the same arguments" in why
    assert one(place)["approval_id"] == approval


def enforcing(tmp_path: Path, tower: ScriptedTower, **more: Any) -> Place:
    settings = {"mode": "enforce", "url": tower.url, "tools": {TOOL: BINDING}, **more}
    return Place(tmp_path / "home", settings, KIFF_API_KEY=KEY)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_granted_call_runs_once_when_it_comes_again(tmp_path: Path, agent: str) -> None:
    with ScriptedTower("approval_required") as tower:
        place = enforcing(tmp_path, tower)
        denied(agent, place.hook(agent, before(agent, call="c1")))
        [approval] = tower.client.approvals
        tower.client.grant(approval)
        let_go(place.hook(agent, before(agent, call="c2", session="another")))
        assert tower.client.decides[-1].approval_id == approval
        denied(agent, place.hook(agent, before(agent, call="c3")))
    first, _ = place.lines()
    assert first["approval_id"] == approval


@pytest.mark.parametrize("how", ["deny", "expire"])
def test_a_call_that_was_refused_stays_withheld(tmp_path: Path, how: str) -> None:
    with ScriptedTower("approval_required") as tower:
        place = enforcing(tmp_path, tower)
        denied("codex", place.hook("codex", before("codex", call="c1")))
        [approval] = tower.client.approvals
        getattr(tower.client, how)(approval)
        denied("codex", place.hook("codex", before("codex", call="c2")))


def test_other_arguments_than_were_granted_are_held_anew(tmp_path: Path) -> None:
    with ScriptedTower("approval_required") as tower:
        place = enforcing(tmp_path, tower)
        denied("codex", place.hook("codex", before("codex", call="c1")))
        [approval] = tower.client.approvals
        tower.client.grant(approval)
        why = denied("codex", place.hook("codex", before("codex", call="c2", args={**ARGS, "amount": 50.0})))
    assert approval not in why


def test_claude_code_can_be_told_to_end_the_run_instead(tmp_path: Path) -> None:
    with ScriptedTower("approval_required") as tower:
        place = enforcing(tmp_path, tower, defer=True)
        place.environment |= {"CLAUDE_CODE_ENTRYPOINT": "sdk-cli", "CLAUDE_CODE_SESSION_ATTENDED": "0"}
        ran = place.hook("claude-code", before("claude-code"))
        own = ran.answer["hookSpecificOutput"]
        assert (ran.status, own["permissionDecision"]) == (0, "defer")
        assert next(iter(tower.client.approvals)) in own["permissionDecisionReason"]
        denied("codex", place.hook("codex", before("codex", args={"order_id": "ord_2"})))


@pytest.mark.parametrize(
    "started", [{}, {"ENTRYPOINT": "cli"}, {"ENTRYPOINT": "sdk-cli", "SESSION_ATTENDED": "1"}], ids=["-", "cli", "seen"]
)
def test_with_a_person_before_it_claude_code_is_told_no(tmp_path: Path, started: dict[str, str]) -> None:
    """Nobody promises that a deferred call does not run there."""
    with ScriptedTower("approval_required") as tower:
        place = enforcing(tmp_path, tower, defer=True)
        place.environment |= {f"CLAUDE_CODE_{name}": value for name, value in started.items()}
        denied("claude-code", place.hook("claude-code", before("claude-code")))


# Observe


@pytest.mark.parametrize("agent", AGENTS)
def test_observe_needs_nothing_and_leaves_a_receipt(observed: Place, agent: str) -> None:
    let_go(observed.hook(agent, before(agent), "--mode", "observe"))
    let_go(observed.hook(agent, after(agent), "--mode", "observe"))
    receipt = one(observed)
    assert (receipt["outcome"], receipt["state"], receipt["execution"]) == ("observed", "observed", "succeeded")
    assert receipt["args"] == ARGS


def test_observe_asks_nobody(place: Place, tower: ScriptedTower) -> None:
    place.write({"mode": "observe", "url": tower.url, "tools": {TOOL: BINDING}})
    let_go(place.hook("codex", before("codex")))
    let_go(place.hook("codex", after("codex")))
    assert tower.keys == []
    assert one(place)["outcome"] == "observed"


@pytest.mark.parametrize("broken", ["receipts", "state"])
def test_observe_stops_nothing_when_it_can_keep_nothing(observed: Place, broken: str) -> None:
    if broken == "receipts":
        observed.write({"mode": "observe", "receipts": "/dev/full/receipts.jsonl"})
    else:
        observed.state.parent.mkdir(parents=True)
        observed.state.write_text("in the way")
    let_go(observed.hook("codex", before("codex"), "--mode", "observe"))
    let_go(observed.hook("codex", after("codex"), "--mode", "observe"))


COMMANDS = {
    "bearer": f"curl -H 'Authorization: Bearer {SECRET}' https://shop.example",
    "variable": f"SHOP_TOKEN={SECRET} ./deploy",
    "json": f'{{"api_key": "{SECRET}"}}',
    "option": f"mysql --password {SECRET} shop",
    "address": f"git clone https://me:{SECRET}@git.example/x",
    "looks": f"echo {SECRET}",
    "private key": f"cat <<E\n-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\nE",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_secrets_in_commands_are_not_in_receipts(observed: Place, command: str) -> None:
    args = {"command": command, "api_key": SECRET, "content": "draft"}
    observed.write({"mode": "observe", "redact": ["content"]})
    observed.hook("claude-code", before("claude-code", "Bash", args))
    observed.hook("claude-code", after("claude-code", tool="Bash", args=args))
    kept = one(observed)["args"]
    assert (kept["api_key"], kept["content"]) == ("[redacted]", "[redacted]")
    assert "[redacted]" in kept["command"]
    assert SECRET not in (observed.home / ".local/state/kiff/receipts.jsonl").read_text()


def test_what_only_speaks_of_secrets_is_kept(observed: Place) -> None:
    args = {"command": "grep -rn password src/ | wc -l", "max_tokens": 5}
    observed.hook("codex", before("codex", "search", args), "--mode", "observe")
    observed.hook("codex", after("codex", tool="search", args=args), "--mode", "observe")
    assert one(observed)["args"] == args
