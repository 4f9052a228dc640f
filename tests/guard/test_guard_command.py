"""The `kiff-guard` command: what it says, how it ends, and that text of others is shown and never obeyed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from receipt_cases import KEY, change, lines_of, put, raw_receipt, write

import kiff.domain
from kiff_guard.cli import COMMANDS, main
from kiff_guard.ledgers import JSONLLedger
from kiff_guard.ledgers.verify import verify

HOSTILE = "\x1b[2Jrefund\u202e\n\t\x9b"


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    return write(tmp_path / "receipts.jsonl")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A file in which a guard has written nothing yet."""
    path = write(tmp_path / "empty.jsonl", calls=1)
    put(path, lines_of(path)[:1])
    return path


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    ledger = JSONLLedger(tmp_path / "hostile.jsonl")
    ledger.append(raw_receipt("r", **dict.fromkeys(("tool", "agent", "outcome", "execution", "approval_id"), HOSTILE)))
    ledger.open(raw_receipt(HOSTILE, tool=HOSTILE))
    return Path(ledger.path)


def told(capsys: pytest.CaptureFixture[str], *given: object) -> tuple[int, str, str]:
    """How a command ended, and what it said."""
    try:
        code = main([str(each) for each in given])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


# What is not understood, or cannot be read


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["nothing"],
        ["verify"],
        ["verify", "a", "b"],
        ["verify", "a", "--head", "abc"],
        ["verify", "a", "--head", "sha256:" + "g" * 64],
        ["verify", "a", "--size", "-1"],
        ["verify", "a", "--size", "many"],
        ["watch"],
        ["draft"],
        ["verify", "/no/such/file"],
        ["watch", "/no/such/file", "--once"],
        ["draft", "/no/such/file"],
        ["draft", "."],
        ["watch", "."],
        ["verify", "."],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_ends_with_2_and_says_why(capsys: pytest.CaptureFixture[str], given: list[str]) -> None:
    code, out, err = told(capsys, *given)
    assert (code, out, "kiff-guard" in err) == (2, "", True)
    assert "Traceback" not in err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = told(capsys, name, "--help")
    assert (code, COMMANDS[name] in out) == (0, True)
    assert COMMANDS[name] in told(capsys, "--help")[1]


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--version") == (0, f"kiff-guard {version('kiff-guard')}\n", "")


# verify


def test_a_file_that_verifies_is_ok_and_names_what_to_keep(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    code, out, err = told(capsys, "verify", receipts)
    head = verify(receipts).head
    assert (code, err) == (0, "")
    assert out.splitlines()[:4] == [
        f"{receipts}: ok",
        "  3 receipts, 0 calls without an end",
        f"  head {head}",
        "  size 6",
    ]
    assert "not shown: that nothing was cut off at the end" in out
    assert told(capsys, "verify", receipts, "--head", head, "--size", 6)[0] == 0


def test_a_broken_file_ends_with_1_and_names_the_line(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    change(receipts, 4, lambda line: line["receipt"].update(tool="harmless"))
    code, out, _ = told(capsys, "verify", receipts)
    assert (code, out.splitlines()[:2]) == (
        1,
        [f"{receipts}: broken", "  line 5: its hash is not that of its text: the line was changed"],
    )
    assert "\nshown:" not in out


def test_a_cut_file_is_found_by_head_and_by_size(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    head = verify(receipts).head
    put(receipts, lines_of(receipts)[:-1])
    assert told(capsys, "verify", receipts)[0] == 0
    assert "no line has the hash you kept" in told(capsys, "verify", receipts, "--head", head)[1]
    code, out, _ = told(capsys, "verify", receipts, "--size", 6)
    assert (code, "it has 5 lines and had 6 when you kept its size" in out) == (1, True)


def test_calls_without_an_end_are_named(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    put(receipts, lines_of(receipts)[:-1])
    code, out, _ = told(capsys, "verify", receipts)
    assert (code, "1 call without an end" in out) == (0, True)
    assert "  line 6: refund began at 20" in out


def test_the_result_as_json(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    change(receipts, 4, lambda line: line.update(at="then"))
    code, out, _ = told(capsys, "verify", receipts, "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["size"], found["shows"]) == (1, False, 6, [])
    assert [(each["line"], each["code"]) for each in found["problems"]] == [(5, "changed")]


def test_a_sealed_file_needs_its_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, key = write(tmp_path / "sealed.jsonl", key=KEY), tmp_path / "key"
    key.write_bytes(KEY + b"\n")
    assert told(capsys, "verify", path, "--key-file", key)[0] == 0
    assert "give the key" in told(capsys, "verify", path)[1]
    assert told(capsys, "verify", path, "--key-file", tmp_path / "none")[0] == 2


# draft


def test_a_draft_of_a_receipts_file_is_one_that_kiff_takes(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    code, out, err = told(capsys, "draft", receipts, "--name", "refund-ops")
    domain = kiff.domain.load(out)
    assert (code, err, domain.name) == (0, "", "refund-ops")
    assert domain.actions["refund"].required_parameters == ("amount", "order_id")
    assert "# seen 3 times: amount number, order_id string" in out


def test_a_call_that_never_ended_was_seen_too(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    put(receipts, lines_of(receipts)[:-1])
    assert "# seen 3 times" in told(capsys, "draft", receipts)[1]


def test_what_was_redacted_has_no_type(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ledger = JSONLLedger(tmp_path / "receipts.jsonl")
    ledger.append(raw_receipt("rcpt_1", args={"pin_token": "[redacted]", "amount": 5}))
    out = told(capsys, "draft", ledger.path)[1]
    assert "# seen once: amount integer\n" in out
    assert "required_parameters: [amount, pin_token]" in out


def test_a_file_that_is_there_is_replaced_only_when_asked(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    there = receipts.with_name("kiff.yaml")
    there.write_text("filled in by hand")
    code, _, err = told(capsys, "draft", receipts, "-o", there)
    assert (code, there.read_text()) == (2, "filled in by hand")
    assert "is there already: give another name, or --force" in err
    assert told(capsys, "draft", receipts, "-o", there, "--force")[0] == 0
    assert kiff.domain.load(there.read_text()).actions.keys() == {"refund"}


def test_nothing_seen_is_no_draft(capsys: pytest.CaptureFixture[str], empty: Path) -> None:
    code, out, err = told(capsys, "draft", empty)
    assert (code, out, "holds no tool calls yet" in err) == (1, "", True)


def test_lines_that_cannot_be_read_are_counted(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    with receipts.open("a") as file:
        file.write("nonsense\n")
    code, out, err = told(capsys, "draft", receipts)
    assert (code, "refund" in out, "1 lines could not be read" in err) == (0, True, True)


# watch


def test_receipts_are_shown_one_a_line(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    code, out, err = told(capsys, "watch", receipts, "--once")
    first, *rest = out.splitlines()
    assert (code, err, first.split("\t")) == (0, "", ["time", "outcome", "tool", "agent", "execution", "approval"])
    assert [line.split("\t")[1:] for line in rest] == [["observed", "refund", "support", "succeeded", ""]] * 3


def test_receipts_as_json_are_what_the_guard_wrote(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    out = told(capsys, "watch", receipts, "--once", "--json")[1]
    settled = [line["receipt"] for line in lines_of(receipts) if line["kind"] == "settled"]
    assert [json.loads(line) for line in out.splitlines()] == settled


def test_no_receipts_yet_is_said(capsys: pytest.CaptureFixture[str], empty: Path) -> None:
    assert told(capsys, "watch", empty, "--once") == (0, "", f"kiff-guard: `{empty}` holds no receipts yet\n")


def test_what_was_executed_and_not_decided_on_does_not_look_like_a_success(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ledger = JSONLLedger(tmp_path / "receipts.jsonl")
    ledger.append(raw_receipt("rcpt_1", execution="succeeded", integrity_violation=True))
    assert "succeeded, not as decided" in told(capsys, "watch", ledger.path, "--once")[1]


def test_a_line_that_cannot_be_read_is_left_out_and_said(capsys: pytest.CaptureFixture[str], receipts: Path) -> None:
    with receipts.open("a") as file:
        file.write("nonsense\n")
    code, out, err = told(capsys, "watch", receipts, "--once")
    assert (code, len(out.splitlines()), "a line is left out" in err) == (0, 4, True)


@pytest.mark.parametrize("command", [["watch", "--once"], ["watch", "--once", "--json"], ["verify"], ["draft"]])
def test_text_of_others_is_shown_and_never_obeyed(
    capsys: pytest.CaptureFixture[str], hostile: Path, command: list[str]
) -> None:
    _, out, err = told(capsys, *command, hostile)
    assert "refund" in out
    assert (out + err).replace("\n", "").replace("\t", "").isprintable()
    assert len([line for line in out.splitlines() if "[2J" in line]) >= 1


def test_letters_that_a_terminal_cannot_show_are_shown_as_escapes(tmp_path: Path) -> None:
    ledger = JSONLLedger(tmp_path / "receipts.jsonl")
    ledger.append(raw_receipt("rcpt_1", tool="返金"))
    for command, shown in (["watch", "--once"], "\\u8fd4\\u91d1"), (["draft"], '- name: "\\u8fd4\\u91d1"'):
        line = [sys.executable, "-m", "kiff_guard.cli", *command, ledger.path]
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        told = subprocess.run(line, capture_output=True, text=True, env=environment, check=True).stdout
        assert shown in told


def test_who_reads_no_further_ends_it_quietly(receipts: Path) -> None:
    write(receipts, calls=2000, fsync=False)
    command = [sys.executable, "-m", "kiff_guard.cli", "watch", str(receipts), "--once"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.readline()
        watching.stdout.close()
        assert watching.stderr.read() == b""
    assert watching.returncode == 0
