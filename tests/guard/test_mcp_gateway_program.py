"""`kiff-mcp` as a program: its options, its environment, its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mcp_server import Server
from scripted_tower import KEY, ScriptedTower

from kiff_guard.errors import ConfigurationError
from kiff_guard.hooks import main as hook
from kiff_guard.ledgers.verify import verify
from kiff_guard.mcp import CANNOT_START, USAGE, main, options
from kiff_guard.mcp.held import Held
from kiff_guard.mcp.options import Options, guard_of, read
from kiff_guard.version import VERSION

GATEWAY = Path(sys.executable).with_name("kiff-mcp")
SERVER = Path(__file__).parent / "gullible_server.py"
PATIENCE_SECONDS = 20.0
BIND = "--bind=refund=refund,Order,order_id"
REFUND = {"name": "refund", "arguments": {"order_id": "ord_1", "amount": 50}}


def told(*arguments: str, **environment: str) -> Options:
    return read([*arguments, "--", "server"], environment)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected either"),
        (["--"], "expected either"),
        (["shop-server", "--port", "1"], "`shop-server --port 1` is not understood; a server and its arguments stand"),
        (["--upsteam=https://x/mcp", "--", "server"], "`--upsteam=https://x/mcp` is not understood; `kiff-mcp --help`"),
        (["--upstream=https://x/mcp", "--listen=127.0.0.1:1", "--", "server"], "expected either"),
        (["--upstream=https://x/mcp", "--header=A=TOKEN", "--listen=127.0.0.1:1"], "bring their own"),
        (["--header=A=TOKEN", "--", "server"], "bring their own"),
        (["--listen=127.0.0.1:1", "--", "server"], "behind a URL"),
        (["--upstream=https://x/mcp", "--origin=https://y"], "that listens"),
        (["--upstream=https://x/mcp", "--header=Authorization: Bearer s3cret"], "must be NAME=VARIABLE"),
        (["--upstream=https://x/mcp", "--header=Authorization"], "must be NAME=VARIABLE"),
        (["--upstream=https://x/mcp", "--header=Authorization="], "must be NAME=VARIABLE"),
        (["--upstream=https://x/mcp", "--header=A=NOT_SET"], "NOT_SET is not set"),
        (["--upstream=https://x/mcp", "--header=A=TWO_LINES"], "TWO_LINES is not set"),
        (["--upstream=https://x/mcp", "--header=Authorization=KIFF_API_KEY"], "is KIFF's"),
        (["--upstream=https://x/mcp", "--header=Authorization=kiff_other"], "is KIFF's"),
        (["--upstream=https://x/mcp", "--header=Authorization=COPY"], "is KIFF's"),
        (["--upstream=https://x/mcp", "--header=Mcp-Method=TOKEN"], "said by the gateway"),
        (["--upstream=https://x/mcp", "--header=HOST=TOKEN"], "said by the gateway"),
        (["--upstream=https://x/mcp", "--listen=8790"], "must be HOST:PORT"),
        (["--upstream=https://x/mcp", "--listen=127.0.0.1:99999"], "must be HOST:PORT"),
        (["--mode=enforce", "--", "server"], "KIFF_API_KEY"),
        (["--report", "--", "server"], "KIFF_API_KEY"),
        (["--bind=refund", "--", "server"], "TOOL=ACTION,TYPE,ARG"),
        (["--bind=refund=REFUND,Order", "--", "server"], "TOOL=ACTION,TYPE,ARG"),
        (["--bind==REFUND,Order,id", "--", "server"], "TOOL=ACTION,TYPE,ARG"),
        (["--tools=/nowhere.json", "--", "server"], "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_right_is_refused(arguments: list[str], says: str) -> None:
    keyless = {"TOKEN": "t", "TWO_LINES": "a\r\nEvil: b", "kiff_other": "x"}
    with pytest.raises(ConfigurationError, match=says) as refused:
        read(arguments, keyless | ({"KIFF_API_KEY": KEY, "COPY": f"Bearer {KEY}"} if "KIFF's" in says else {}))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "tools",
    [
        "[]", "nonsense", '{"refund": "REFUND"}', '{"refund": {"action": "REFUND"}}',
        '{"refund": {"action": "A", "entity_type": "O", "entity_arg": "i", "allow": true}}',
        '{"refund": {"action": "A", "entity_type": "O", "entity_arg": "i", "entity_id": "x"}}',
    ],
)  # fmt: skip
def test_a_tools_file_that_is_none_is_refused(tools: str, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(tools, "utf-8")
    with pytest.raises(ConfigurationError):
        told(f"--tools={tmp_path / 'tools.json'}")


def test_tools_come_from_a_file_and_from_the_command_line(tmp_path: Path) -> None:
    """The file may be the settings of `kiff-hook`, too."""
    refund = {"action": "REFUND", "entity_type": "Order", "entity_arg": "order_id", "aliases": ["give_back"]}
    bash = {"action": "RUN", "entity_type": "Workspace", "entity_id": "main", "parameters": ["command"]}
    for tools in ({"refund": refund, "bash": bash}, {"mode": "observe", "tools": {"refund": refund, "bash": bash}}):
        (tmp_path / "tools.json").write_text(json.dumps(tools), "utf-8")
        given = told(f"--tools={tmp_path / 'tools.json'}", "--bind=pay=PAY, Invoice, id").tools
        assert [(given.get(each) or ("none",))[0] for each in ("give_back", "bash", "pay", "x")] == [
            "REFUND", "RUN", "PAY", "none",
        ]  # fmt: skip


def test_it_observes_unless_it_is_told_to_enforce() -> None:
    assert guard_of(told()).mode == "observe"
    assert guard_of(told(KIFF_API_KEY=KEY)).client is None
    assert guard_of(told("--mode=enforce", KIFF_API_KEY=KEY)).mode == "enforce"


def test_it_fails_closed_and_withholds_the_unmapped_unless_it_is_told_otherwise() -> None:
    assert (told().fail_closed, told().unmapped, told().errors) == (True, "withhold", "unknown")
    given = told("--fail-open", "--unmapped=allow", "--errors=failed")
    assert (given.fail_closed, given.unmapped, given.errors) == (False, "allow", "failed")


def test_no_option_takes_a_key() -> None:
    """A command line is seen by everybody on the machine."""
    help_ = options._parser().format_help()
    assert "--key" not in help_ and "KIFF_API_KEY" in help_
    assert KEY not in repr(told("--mode=enforce", KIFF_API_KEY=KEY))


def test_options_behind_the_dashes_are_the_server_s() -> None:
    given = read(["--", "server", "--mode=enforce", "--", "--fail-open"], {})
    assert given.command == ("server", "--mode=enforce", "--", "--fail-open")
    assert (given.mode, given.fail_closed) == ("observe", True)


def test_a_shortened_option_is_none() -> None:
    with pytest.raises(ConfigurationError, match="`--fail` is not understood"):
        told("--fail")


def test_programs_say_which_version_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        told("--version")
    assert (ended.value.code, hook(["--version"])) == (0, 0)
    assert capsys.readouterr().out.split() == ["kiff-mcp", VERSION, "kiff-hook", VERSION]


def test_what_cannot_be_right_ends_with_a_line_and_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--mode=enforce", "--", "server"]) == (USAGE if "KIFF_API_KEY" not in os.environ else CANNOT_START)
    assert main(["--", "/nowhere/server"]) == CANNOT_START
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 2


def test_the_page_names_every_option_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guides" / "frameworks" / "mcp.md").read_text("utf-8")
    described = set(re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE))
    offered = {each for action in options._parser()._actions for each in action.option_strings} - {"-h", "--help"}
    assert described == offered


# Running


class Program:
    """The program, its stdin and stdout."""

    def __init__(self, folder: Path, *options: str, server: list[str] | None = None, **environment: str) -> None:
        self.effects = folder / "effects.jsonl"
        started = ["--", *(server or [sys.executable, "-S", str(SERVER), str(self.effects)])]
        behind_a_url = any(each.startswith("--upstream") for each in options)
        self.process = subprocess.Popen(
            [GATEWAY, *options, *([] if behind_a_url else started)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "KIFF_API_KEY": KEY, **environment},
        )
        assert self.process.stdin and self.process.stdout

    def ask(self, method: str, params: Any = None) -> Any:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return json.loads(self.process.stdout.readline())["result"]  # type: ignore[union-attr]

    def end(self) -> tuple[int, str]:
        """The client goes; gives the exit code and what stderr said."""
        _, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, err.decode()


def test_the_server_is_not_given_the_key(tmp_path: Path) -> None:
    with ScriptedTower() as tower:
        program = Program(tmp_path, "--mode=enforce", f"--url={tower.url}", BIND, KIFF_OTHER="x", SHOP="y")
        names = program.ask("environment")["names"]
        code, err = program.end()
    assert "SHOP" in names and not [each for each in names if each.startswith("KIFF")]
    assert code == 0 and KEY not in err


def test_the_url_may_come_from_the_environment(tmp_path: Path) -> None:
    with ScriptedTower("blocked") as tower:
        program = Program(tmp_path, "--mode=enforce", BIND, KIFF_URL=tower.url)
        assert program.ask("tools/call", REFUND)["isError"]
        program.end()
    assert tower.client.calls == 1 and not program.effects.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_server_and_leaves_a_whole_ledger(tmp_path: Path, number: signal.Signals) -> None:
    receipts = tmp_path / "receipts.jsonl"
    with ScriptedTower() as tower:
        program = Program(
            tmp_path,
            "--mode=enforce",
            f"--url={tower.url}",
            "--bind=slow=slow,Order,order_id",
            f"--receipts={receipts}",
        )
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "slow", "arguments": {"order_id": "o", "seconds": 60}},
        }
        program.process.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
        program.process.stdin.flush()  # type: ignore[union-attr]
        patience = time.monotonic() + PATIENCE_SECONDS
        while not program.effects.exists() and time.monotonic() < patience:
            time.sleep(0.01)
        program.process.send_signal(number)
        code, _ = program.end()
        assert tower.outcomes == ["unknown"]
    assert code == 128 + number
    found = verify(receipts)
    assert found.ok and not found.unsettled
    last = json.loads(receipts.read_text("utf-8").splitlines()[-1])
    assert (last["receipt"]["tool"], last["receipt"]["execution"]) == ("slow", "unknown")


class Remote:
    """A server behind a URL that has sessions, and never finishes a call."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.server = Server(self._behave)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def _behave(self, handler: Server.Handler, body: bytes) -> None:
        message = json.loads(body or b"{}")
        if message.get("method") == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {}}
            handler.say({"jsonrpc": "2.0", "id": message["id"], "result": result}, Mcp_Session_Id="s1")
        elif message.get("method") == "tools/call":
            handler.stream()
            handler.event(b": working\n\n")
            self.called.set()
            handler.connection.settimeout(PATIENCE_SECONDS)
            handler.connection.recv(1)
        else:
            handler.say(b"", 202 if body else 405)

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *about: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_session_with_a_server_behind_a_url(tmp_path: Path, number: signal.Signals) -> None:
    receipts = tmp_path / "receipts.jsonl"
    with ScriptedTower() as tower, Remote() as remote:
        options = [f"--url={tower.url}", BIND, f"--receipts={receipts}", f"--upstream={remote.server.url}"]
        given = {"SHOP": "Bearer s3cret", "KIFF_OTHER": "x"}
        program = Program(tmp_path, "--mode=enforce", *options, "--header=Authorization=SHOP", **given)
        program.ask("initialize")
        message = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": REFUND}
        program.process.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
        program.process.stdin.flush()  # type: ignore[union-attr]
        assert remote.called.wait(PATIENCE_SECONDS)
        program.process.send_signal(number)
        code, err = program.end()
        assert code == 128 + number and tower.outcomes == ["unknown"]
        told = [(method, headers["Authorization"]) for method, headers, _ in remote.server.got]
        assert told[-1] == ("DELETE", "Bearer s3cret") and {each for _, each in told} == {"Bearer s3cret"}
        assert KEY not in str(remote.server.got) and "KIFF" not in str(remote.server.got)
        assert "s3cret" not in err and KEY not in err
    found = verify(receipts)
    assert found.ok and not found.unsettled


@pytest.mark.slow
def test_a_server_that_ignores_the_end_is_ended(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); time.sleep(600)"
    )
    program = Program(tmp_path, server=[sys.executable, "-c", deaf])
    program.process.stdout.readline()  # type: ignore[union-attr]
    program.process.send_signal(signal.SIGTERM)
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == 128 + signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("remembers", [True, False])
def test_a_call_granted_while_no_gateway_ran_runs_if_receipts_are_kept(tmp_path: Path, remembers: bool) -> None:
    """Every session of a client starts a gateway of its own."""
    with ScriptedTower("approval_required") as tower:
        given = ["--mode=enforce", f"--url={tower.url}", BIND]
        if remembers:
            given.append(f"--receipts={tmp_path / 'receipts.jsonl'}")
        first = Program(tmp_path, *given)
        assert first.ask("tools/call", REFUND)["isError"]
        first.end()
        tower.client.grant(tower.client.waiting()[0])
        second = Program(tmp_path, *given)
        assert second.ask("tools/call", REFUND)["isError"] is not remembers
        second.end()
        third = Program(tmp_path, *given)
        assert "approval_required" in third.ask("tools/call", REFUND)["content"][0]["text"], "a grant is for one run"
        third.end()
    assert first.effects.exists() is remembers
    if remembers:
        assert len(first.effects.read_text("utf-8").splitlines()) == 1


def test_what_was_held_is_known_once(tmp_path: Path) -> None:
    """Then the guard remembers, and forgets what is used up."""
    receipts = tmp_path / "receipts.jsonl"
    said = [("approval_required", "appr_1", "d1"), ("approval_required", "appr_2", "d2"), ("allowed", "appr_2", "d2")]
    lines = [
        {"agent": "a", "tool": "refund", "outcome": outcome, "approval_id": approval, "args_hash": digest}
        for outcome, approval, digest in said
    ]
    told = "\n".join(json.dumps({"kind": "settled", "receipt": each}) for each in lines)
    receipts.write_text(told, "utf-8")
    held = Held(str(receipts))
    assert held.take("b", "refund", "d1") is None and held.take("a", "pay", "d1") is None
    assert [held.take("a", "refund", "d1") for _ in range(2)] == ["appr_1", None]
    assert held.take("a", "refund", "d2") is None


def test_receipts_that_say_nonsense_are_no_reason_to_run_or_to_stop(tmp_path: Path) -> None:
    receipts = tmp_path / "receipts.jsonl"
    lines = [
        "nonsense",
        "[" * 99999,
        "{}",
        '{"kind":"settled","receipt":7}',
        '{"kind":"settled","receipt":{"approval_id":1}}',
    ]
    receipts.write_text("\n".join(lines), "utf-8")
    held = Held(str(receipts))
    assert held.take("", "refund", "") is None
    assert Held(str(tmp_path / "nowhere")).take("", "refund", "") is None


def test_it_tells_kiff_of_the_tools_and_of_no_value(tmp_path: Path) -> None:
    lists = (
        "import sys, json\n"
        "for line in sys.stdin:\n"
        "    m = json.loads(line)\n"
        "    schema, about = {'type': 'object'}, 'Gives\\nmoney \\u202eback'\n"
        "    refund = {'name': 'refund', 'description': about, 'inputSchema': schema}\n"
        "    tools = [refund, {'name': 7}, {'name': 'x' * 999}, 'junk', {'name': 'look'}]\n"
        "    result = {'tools': tools} if m['method'] == 'tools/list' else {'content': []}\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': result}), flush=True)\n"
    )
    with ScriptedTower() as tower:
        program = Program(tmp_path, f"--url={tower.url}", "--report", server=[sys.executable, "-c", lists])
        program.ask("tools/list")
        program.ask("tools/call", REFUND)
        code, err = program.end()
    assert code == 0, err
    tools = {each["name"]: each for each in tower.observed[-1]["tools"]}
    assert set(tools) == {"refund", "look"}
    assert tools["refund"]["description"] == "Gives money  back"
    assert (tools["refund"]["observed_call_count"], tools["look"]["observed_call_count"]) == (1, 0)
    assert "ord_1" not in json.dumps(tower.observed)
    assert tower.client.calls == 0


def test_kiff_that_cannot_be_told_stops_nothing(tmp_path: Path) -> None:
    with ScriptedTower() as tower:
        url = tower.url
    program = Program(tmp_path, f"--url={url}", "--report")
    assert not program.ask("tools/call", REFUND)["isError"]
    code, err = program.end()
    assert code == 0 and "could not be told" in err
