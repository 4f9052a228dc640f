"""A guard's receipts file: what cannot be kept refuses, what is kept stays, whoever writes beside."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from receipt_cases import KEY, change, lines_of, put, raw_receipt, write
from served import wait_for

from kiff_guard import Decision, Guard, Hold
from kiff_guard.errors import ConfigurationError, LedgerError
from kiff_guard.ledgers import JSONLLedger, lock
from kiff_guard.ledgers.verify import verify


class Allowing:
    """A KIFF that allows everything."""

    def decide(self, tenant: str, agent: str, tool: str, args: dict[str, Any]) -> Decision:
        return Decision("allowed", proposal_id="prop_1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.jsonl"


def refused(ledger: JSONLLedger, match: str) -> None:
    with pytest.raises(LedgerError, match=match):
        ledger.append(raw_receipt("rcpt_refused"))


# What cannot be kept


def test_a_call_whose_opening_cannot_be_kept_does_not_run(tmp_path: Path) -> None:
    ran: list[str] = []
    guard = Guard(Allowing(), mode="enforce", ledger=JSONLLedger(tmp_path / "no" / "receipts.jsonl"))
    with pytest.raises(Hold) as held:
        guard.evaluate("refund", {}, run=lambda: ran.append("ran"))
    assert (held.value.decision.outcome, ran) == ("error", [])


def test_the_control_runs_and_its_opening_stands_before_it(path: Path) -> None:
    seen: list[str] = []
    guard = Guard(Allowing(), mode="enforce", ledger=JSONLLedger(path))
    guard.evaluate("refund", {}, run=lambda: seen.extend(line["kind"] for line in lines_of(path)))
    assert seen == ["header", "opened"]
    assert [line["kind"] for line in lines_of(path)] == ["header", "opened", "settled"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused(
        JSONLLedger(tmp_path / "no" / "receipts.jsonl"), r"no/receipts.jsonl` cannot be made: its folder is not there"
    )


@pytest.mark.parametrize("where", [".", "/dev/null"], ids=["folder", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, where: str) -> None:
    refused(JSONLLedger(tmp_path / where), "cannot be opened|not a regular file")


def test_a_read_only_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*given: Any) -> int:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    refused(JSONLLedger(path), "cannot be opened: Read-only file system")


@pytest.mark.parametrize("text", ["", "notes of mine", "notes of mine\n", '{"seq":0}\n', "\n\n"])
def test_a_file_of_somebody_else_is_left_as_it_is(path: Path, text: str) -> None:
    path.write_text(text)
    if text:
        refused(JSONLLedger(path), "is not a receipts file of a guard")
        assert path.read_text() == text
    else:
        JSONLLedger(path).append(raw_receipt("rcpt_1"))
        assert verify(path).ok


def test_another_version_of_the_format_is_refused(path: Path) -> None:
    change(write(path), 0, lambda line: line.update(version=2), sealed_anew=True)
    refused(JSONLLedger(path), "has version 2 of the format, and this is 1")


@pytest.mark.parametrize("number", [0, 6])
def test_a_damaged_header_or_end_is_not_written_on(path: Path, number: int) -> None:
    before = write(path)
    change(before, number, lambda line: line.update(at="then"))
    held = path.read_bytes()
    refused(JSONLLedger(path), "is damaged .its hash is not that of its text")
    assert path.read_bytes() == held


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (None, KEY, "is sealed with 'sha256', this ledger with `hmac-sha256`"),
        (KEY, None, "is sealed with 'hmac-sha256', this ledger with `sha256`"),
        (KEY, KEY + b"!", "or `key` is another one"),
    ],
)
def test_another_key_is_refused(path: Path, first: bytes | None, second: bytes | None, match: str) -> None:
    write(path, key=first)
    refused(JSONLLedger(path, key=second), match)


def test_a_key_that_can_be_guessed_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`key` has 5 bytes: take at least 16"):
        JSONLLedger(path, key="short")


@pytest.mark.parametrize("held", [{1, 2}, float("nan"), b"bytes", "x" * 5_000_000], ids=["set", "nan", "bytes", "long"])
def test_a_receipt_that_cannot_be_written_is_refused_and_the_next_is_kept(path: Path, held: Any) -> None:
    ledger = JSONLLedger(path)
    with pytest.raises(LedgerError, match="cannot be written as JSON"):
        ledger.append(raw_receipt("rcpt_1", reason=held))
    ledger.append(raw_receipt("rcpt_2"))
    assert [line["receipt"]["receipt_id"] for line in lines_of(path)[1:]] == ["rcpt_2"]


FULL = """
import resource, sys
from kiff_guard.errors import LedgerError
from kiff_guard.ledgers import JSONLLedger
ledger, kept = JSONLLedger(sys.argv[1]), 0
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
try:
    while True:
        ledger.append({"receipt_id": f"rcpt_{kept}"})
        kept += 1
except LedgerError as error:
    print(kept, error.errno, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.append({"receipt_id": "rcpt_last"})
"""


def test_a_full_disk_refuses_and_leaves_no_half_line(path: Path) -> None:
    pytest.importorskip("resource", reason="limits on the size of a file are a thing of POSIX")
    told = subprocess.run([sys.executable, "-c", FULL, str(path)], check=True, capture_output=True, text=True).stdout
    kept, number, _ = told.split(maxsplit=2)
    assert (int(number), "cannot be written: File too large" in told) == (errno.EFBIG, True)
    found = verify(path)
    assert (found.ok, found.receipts, found.notes) == (True, int(kept) + 1, [])


def test_after_a_failed_fsync_nothing_is_believed_until_it_is_opened_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_1"))
    fails = pytest.MonkeyPatch()
    fails.setattr(os, "fsync", _io_error)
    refused(ledger, "cannot be made durable: Input/output error")
    fails.undo()
    refused(ledger, "cannot be made durable")
    ledger.close()
    ledger.append(raw_receipt("rcpt_2"))
    assert verify(path).ok


def _io_error(*given: Any) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


# What happens to the file


def test_a_file_that_is_moved_away_is_noticed_and_begun_anew(path: Path) -> None:
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_1"))
    path.rename(path.with_name("moved"))
    refused(ledger, "was moved, removed or replaced")
    ledger.append(raw_receipt("rcpt_2"))
    assert [verify(each).receipts for each in (path, path.with_name("moved"))] == [1, 1]


def test_a_file_that_is_cut_is_not_written_on(path: Path) -> None:
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_1"))
    ledger.append(raw_receipt("rcpt_2"))
    put(path, lines_of(path)[:-1])
    refused(ledger, "shorter than it was")


def test_lines_that_somebody_puts_in_are_not_written_on(path: Path) -> None:
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_1"))
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines(keepends=True)[-1])
    refused(ledger, "line 3 is damaged .it does not go on where the one before ends")


def test_it_is_read_by_its_owner_only(path: Path) -> None:
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_closed_ledger_opens_again_where_it_was(path: Path) -> None:
    for _ in range(3):
        write(path, calls=1)
    assert (verify(path).ok, verify(path).receipts) == (True, 3)


def test_text_of_others_is_ascii_in_the_file_and_itself_when_read(path: Path) -> None:
    hostile = "\x1b[2J\u202e\x7f\u2028\ud800\n"
    JSONLLedger(path).append(raw_receipt("rcpt_1", tool=hostile))
    assert path.read_bytes().replace(b"\n", b"").decode("ascii").isprintable()
    assert lines_of(path)[1]["receipt"]["tool"] == hostile


# A crash


@pytest.mark.slow
@pytest.mark.parametrize("line", [0, 2])
def test_a_half_written_line_is_set_aside_wherever_it_was_cut(path: Path, line: int) -> None:
    whole = write(path, calls=1).read_bytes().splitlines(keepends=True)
    for cut in range(1, len(whole[line])):
        torn = whole[line][:cut]
        path.write_bytes(b"".join(whole[:line]) + torn)
        ledger = JSONLLedger(path, fsync=False)
        ledger.append(raw_receipt("rcpt_later"))
        ledger.close()
        [kept] = map(Path, ledger.set_aside)
        note = lines_of(path)[line or 1]
        assert (kept.read_bytes(), kept.name) == (torn, note["kept_in"])
        assert (note["kind"], note["bytes"], verify(path).problems) == ("set_aside", cut, [])
        kept.unlink()


def test_what_a_crash_left_is_said_aloud(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with write(path).open("ab") as file:
        file.write(b'{"seq":7,')
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_1"))
    assert caplog.messages == [f"a half-written line of `{path}`, left by a crash, is kept in `{ledger.set_aside[0]}`"]
    assert stat.S_IMODE(os.stat(ledger.set_aside[0]).st_mode) == 0o600


def test_a_line_another_process_left_half_is_set_aside_by_the_one_that_goes_on(path: Path) -> None:
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_1"))
    with path.open("ab") as file:
        file.write(b'{"seq":2,"kin')
    ledger.append(raw_receipt("rcpt_2"))
    assert (verify(path).ok, verify(path).receipts, len(ledger.set_aside)) == (True, 2, 1)


# Many at once


def test_threads_that_wait_share_one_fsync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_0"))
    real, synced, held, going = os.fsync, [], threading.Event(), threading.Event()

    def slow(file: int) -> None:
        synced.append(file)
        held.set()
        assert going.wait(10)
        real(file)

    monkeypatch.setattr(os, "fsync", slow)
    threads = [threading.Thread(target=ledger.append, args=(raw_receipt(f"rcpt_{n}"),)) for n in range(1, 9)]
    threads[0].start()
    assert held.wait(10)
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: len(ledger._waiting) == 7)
    going.set()
    for thread in threads:
        thread.join()
    assert len(synced) == 2
    assert verify(path).receipts == 9


def test_without_fsync_nothing_waits_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", _io_error)
    write(path, fsync=False)
    assert verify(path).receipts == 3


def test_a_failure_reaches_every_thread_that_waited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_0"))
    monkeypatch.setattr(os, "write", _io_error)
    told: list[LedgerError] = []

    def keep(number: int) -> None:
        try:
            ledger.append(raw_receipt(f"rcpt_{number}"))
        except LedgerError as error:
            told.append(error)

    _together([lambda n=n: keep(n) for n in range(8)])
    assert (len(told), len({id(error) for error in told})) == (8, 8)
    assert {error.errno for error in told} == {errno.EIO}


WRITER = """
import sys, threading
from kiff_guard.ledgers import JSONLLedger
path, name, threads, calls = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if "file" in sys.argv:
    from kiff_guard.ledgers import lock
    lock.WAY = lock.LockFile()
ledger = JSONLLedger(path, fsync=False)
def work(thread):
    for number in range(calls):
        receipt = {"receipt_id": f"rcpt_{name}_{thread}_{number}", "tool": "refund"}
        ledger.open(receipt)
        ledger.append(receipt)
workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
print("ready", flush=True)
sys.stdin.readline()
for worker in workers: worker.start()
for worker in workers: worker.join()
"""


@pytest.mark.parametrize("way", ["system", "file"])
def test_eight_threads_in_each_of_three_processes_write_one_chain(path: Path, way: str) -> None:
    calls = 25
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, str(n), "8", str(calls), way], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(3)
    ]
    for each in writers:
        assert each.stdout is not None
        assert each.stdout.readline() == b"ready\n"
    for each in writers:
        each.communicate(b"go\n")
    assert [each.returncode for each in writers] == [0, 0, 0]
    found = verify(path)
    assert (found.problems, found.receipts, found.unsettled) == ([], 3 * 8 * calls, [])
    assert [line["seq"] for line in lines_of(path)] == list(range(found.size + 1))


def test_two_ledgers_of_one_process_write_one_chain(path: Path) -> None:
    ledgers = [JSONLLedger(path, fsync=False) for _ in range(4)]
    _together([lambda each=each: [each.append(raw_receipt(f"r{id(each)}_{n}")) for n in range(50)] for each in ledgers])
    assert (verify(path).ok, verify(path).receipts) == (True, 200)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system with fork")
def test_a_forked_child_writes_beside_its_parent(path: Path) -> None:
    child_too = """
import os, sys
from kiff_guard.ledgers import JSONLLedger
ledger = JSONLLedger(sys.argv[1])
ledger.append({"receipt_id": "before"})
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        for number in range(20):
            ledger.append({"receipt_id": f"{child}_{number}"})
        os._exit(0)
    children.append(pid)
for number in range(20):
    ledger.append({"receipt_id": f"parent_{number}"})
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
"""
    subprocess.run([sys.executable, "-c", child_too, str(path)], check=True, timeout=60)
    assert (verify(path).problems, verify(path).receipts) == ([], 101)


def test_a_file_that_another_process_keeps_locked_is_waited_for_and_not_for_ever(path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="locks of the system are a thing of POSIX")
    write(path)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(JSONLLedger(path, lock_timeout_seconds=0.05), "another process keeps .* locked")
    JSONLLedger(path).append(raw_receipt("rcpt_1"))


def test_a_lock_file_that_was_left_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WAY", lock.LockFile())
    write(path)
    assert sorted(each.name for each in path.parent.iterdir()) == ["receipts.jsonl"]
    left = path.with_name("receipts.jsonl.lock")
    left.touch()
    refused(JSONLLedger(path, lock_timeout_seconds=0.05), "receipts.jsonl.lock` is there: .* remove that file")
    left.unlink()
    JSONLLedger(path).append(raw_receipt("rcpt_1"))


def test_a_write_that_is_interrupted_is_told_as_one_that_failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = JSONLLedger(path)
    ledger.append(raw_receipt("rcpt_1"))
    real = os.write

    def interrupted(file: int, data: Any) -> int:
        real(file, bytes(data)[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "write", interrupted)
        ledger.append(raw_receipt("rcpt_2"))
    ledger.append(raw_receipt("rcpt_3"))
    assert [line["receipt"]["receipt_id"] for line in lines_of(path)[1:]] == ["rcpt_1", "rcpt_3"]
    assert verify(path).ok


def _together(jobs: list[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_line_has_the_members_of_its_kind_in_their_order(path: Path) -> None:
    first, *rest = write(path, calls=1).read_text().splitlines()
    assert list(json.loads(first)) == ["seq", "kind", "at", "format", "version", "file", "seal", "hash"]
    assert [list(json.loads(line)) for line in rest] == [["seq", "kind", "at", "receipt", "prev", "hash"]] * 2
