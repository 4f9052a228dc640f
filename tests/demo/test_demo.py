"""The demo as a user runs it: a process of its own, a database and a ledger file that this test reads by itself."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kiff
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

PROJECT = Path(kiff.__file__).parent / "templates" / "refund-ops"
PATIENCE_SECONDS = 120
DEBITS = {"ord_001": 4_900, "ord_002": 99_900, "ord_005": 2_000, "ord_006": 3_000}
"""What must leave in a first run, in cents."""


def start(folder: Path, *more: str, project: Path = PROJECT) -> subprocess.Popen[str]:
    command = [sys.executable, str(project / "demo.py"), "--dir", folder.name, *more]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    environment |= {"PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        command,
        cwd=folder.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err


def demo(folder: Path, *more: str, project: Path = PROJECT) -> tuple[int, str, str]:
    return finish(start(folder, *more, project=project))


def paid(folder: Path, ledger: str = "payments.jsonl") -> list[dict[str, Any]]:
    lines = (folder / "outside" / ledger).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def altered(folder: Path, file: str, before: str, after: str) -> Path:
    """A copy of the project with one change."""
    project = folder / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    text = (project / file).read_text("utf-8")
    assert text.count(before) == 1, f"`{file}` no longer has `{before}` once"
    (project / file).write_text(text.replace(before, after), "utf-8")
    return project


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[int, str, str]]:
    """What a run left, for tests to copy, and how it ended."""
    folder = tmp_path_factory.mktemp("first") / "data"
    return folder, demo(folder)


@pytest.fixture
def once(tmp_path: Path, first_run: tuple[Path, tuple[int, str, str]]) -> Path:
    """The folder of a demo that ran once."""
    return Path(shutil.copytree(first_run[0], tmp_path / "data"))


@pytest.fixture(scope="module")
def two_runs(
    tmp_path_factory: pytest.TempPathFactory, first_run: tuple[Path, tuple[int, str, str]]
) -> tuple[Path, list[tuple[int, str, str]]]:
    folder = Path(shutil.copytree(first_run[0], tmp_path_factory.mktemp("demo") / "data"))
    return folder, [first_run[1], demo(folder)]


def test_both_runs_are_as_promised_and_say_nothing_on_stderr(
    two_runs: tuple[Path, list[tuple[int, str, str]]],
) -> None:
    for code, out, err in two_runs[1]:
        assert (code, err) == (0, ""), out + err


@pytest.mark.parametrize(
    ("title", "outcome"),
    [
        ("Small refund", "allowed"),
        ("Large refund", "held"),
        ("Approval granted", "allowed"),
        ("Approval denied", "blocked"),
        ("Unpaid order", "blocked"),
        ("Retries, one id", "allowed"),
        ("Retries, all at once", "allowed"),
    ],
)
def test_each_ending_has_its_outcome_on_one_line(
    two_runs: tuple[Path, list[tuple[int, str, str]]], title: str, outcome: str
) -> None:
    for _, out, _ in two_runs[1]:
        [line] = [line for line in out.splitlines() if line[3:].startswith(f"{title}  ")]
        assert line.endswith(f" {outcome}")


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Small refund", "allowed, REFUNDED, 1 debit"),
        ("Large refund", "held, PAID, no debit"),
        ("Approval granted", "allowed, REFUNDED, 1 debit"),
        ("Approval denied", "blocked, PAID, no debit"),
        ("Unpaid order", "blocked, CREATED, no debit"),
    ],
)
def test_each_ending_is_the_same_over_http(
    two_runs: tuple[Path, list[tuple[int, str, str]]], title: str, said: str
) -> None:
    for _, out, _ in two_runs[1]:
        assert f"          ✓ {title}: {said}, as above" in out.splitlines()


def test_what_was_paid_over_http_is_in_the_ledger_of_the_server(
    two_runs: tuple[Path, list[tuple[int, str, str]]],
) -> None:
    debits = paid(two_runs[0], "server-payments.jsonl")
    first = [("ord_001", 4_900), ("ord_002", 99_900)]
    second = [(order.replace("ord_0", "ord_1"), cents) for order, cents in first]
    assert [(each["order"], each["amount_minor"]) for each in debits] == first + second


def test_the_server_leaves_a_database_that_verifies(two_runs: tuple[Path, list[tuple[int, str, str]]]) -> None:
    folder, _ = two_runs
    command = [sys.executable, "-c", "from kiff.cli.verify import command; command()", str(folder / "server/kiff.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_fits_one_screen_without_colour_codes(two_runs: tuple[Path, list[tuple[int, str, str]]]) -> None:
    for _, out, _ in two_runs[1]:
        lines = out.splitlines()
        assert len(lines) <= 53  # one more where the storm was told two reasons
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in out


def test_the_ledgers_own_file_has_one_debit_for_each_cleared_refund(
    two_runs: tuple[Path, list[tuple[int, str, str]]],
) -> None:
    second = {order.replace("ord_0", "ord_1"): cents for order, cents in DEBITS.items()}
    debits = paid(two_runs[0])
    assert [(each["order"], each["amount_minor"]) for each in debits] == [*DEBITS.items(), *second.items()]
    assert len({each["key"] for each in debits}) == len(debits)


def test_every_receipt_on_the_screen_is_in_the_database(two_runs: tuple[Path, list[tuple[int, str, str]]]) -> None:
    folder, runs = two_runs
    shown = {receipt for _, out, _ in runs for receipt in re.findall(r"rcpt_\w+", out)}
    connection = sqlite3.connect(f"file:{folder / 'kiff.db'}?mode=ro", uri=True)
    stored = {receipt for (receipt,) in connection.execute("SELECT id FROM receipts")}
    connection.close()
    assert len(shown) == 16
    assert shown <= stored


def test_the_data_are_invisible_to_git(two_runs: tuple[Path, list[tuple[int, str, str]]]) -> None:
    assert (two_runs[0] / ".gitignore").read_text() == "*\n"


def test_json_is_one_object_with_everything(tmp_path: Path) -> None:
    code, out, err = demo(tmp_path / "data", "-o", "json")
    told = json.loads(out)
    assert (code, err, told["kiff"], told["ok"], told["deviations"]) == (0, "", "v1", True, [])
    assert [ending["outcome"] for ending in told["endings"]] == [
        "allowed",
        "held",
        "allowed",
        "blocked",
        "blocked",
        "allowed",
        "allowed",
    ]
    assert told["proof"]["paid_minor"] == sum(DEBITS.values())
    assert told["proof"]["receipts_verified"] == told["proof"]["receipts"] == 18
    assert [ending["outcome"] for ending in told["over_http"]["endings"]] == [
        ending["outcome"] for ending in told["endings"][:5]
    ]
    assert told["over_http"]["receipts_verified"] == told["over_http"]["receipts"] == 7
    seqs = [record["seq"] for ending in told["endings"] for record in ending["trail"]]
    assert seqs == list(range(1, told["proof"]["records"])), "every record but the domain's activation is in a trail"


def test_the_example_is_the_project_that_the_package_carries() -> None:
    assert (Path(__file__).parents[2] / "examples" / "refund-ops").samefile(PROJECT)


def test_the_command_is_the_same_demo(tmp_path: Path) -> None:
    program = "from kiff.cli.demo import command; command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--dir", str(tmp_path), "-o", "json"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr, json.loads(done.stdout)["ok"]) == (0, "", True)


def test_fresh_removes_what_runs_left_and_nothing_else(once: Path) -> None:
    (once / "mine.txt").write_text("keep")
    code, out, _ = demo(once, "--fresh")
    assert code == 0
    assert "run 1" in out.splitlines()[0]
    assert (once / "mine.txt").read_text() == "keep"
    assert [debit["order"] for debit in paid(once)] == list(DEBITS)
    assert [debit["order"] for debit in paid(once, "server-payments.jsonl")] == list(DEBITS)[:2]


def test_a_database_in_use_is_one_clear_line(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "kiff.db")
    code, _, err = demo(tmp_path)
    store.close()
    assert code == 1
    assert "one process at a time" in err
    assert "Traceback" not in err


HANG = """        if self.path == "/debits" and asked["amount_minor"] == 99_900:
            {debit}
            with open({told!r}, "wb") as told:
                told.write(b"!")
                told.flush()
                threading.Event().wait()
"""


@pytest.fixture
def hangs(tmp_path: Path) -> Iterator[Callable[[bool], subprocess.Popen[str]]]:
    """Starts a demo whose ledger never answers the granted refund, and waits until that is so."""
    started: list[subprocess.Popen[str]] = []

    def begin(pays: bool) -> subprocess.Popen[str]:
        told = tmp_path / "told"
        os.mkfifo(told)
        here = "        entry = {"
        debit = 'self.server.debit({"key": self.headers.get("Idempotency-Key"), **asked})' if pays else "pass"
        project = altered(tmp_path, "payments.py", here, HANG.format(debit=debit, told=str(told)) + here)
        pipe = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
        try:
            process = start(tmp_path / "data", project=project)
            started.append(process)
            ready, _, _ = select.select([pipe], [], [], PATIENCE_SECONDS)
        finally:
            os.close(pipe)
        assert ready, "the demo never came to the granted refund"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for_the_ledger_to_end(folder: Path) -> None:
    """It holds a lock on its file for as long as it lives."""
    with (folder / "outside" / "payments.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


@pytest.mark.slow
@pytest.mark.parametrize(("pays", "settled"), [(True, "succeeded"), (False, "failed")])
def test_after_a_kill_in_the_middle_nothing_is_lost_or_paid_twice(
    tmp_path: Path, hangs: Callable[[bool], subprocess.Popen[str]], pays: bool, settled: str
) -> None:
    process = hangs(pays)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for_the_ledger_to_end(tmp_path / "data")
    cut_off = [debit["order"] for debit in paid(tmp_path / "data")]
    assert cut_off == ["ord_001", "ord_002"][: 1 + pays]

    code, out, err = demo(tmp_path / "data", "-o", "json")
    told = json.loads(out)
    assert (code, err, told["run"]) == (0, "", 2)
    assert [(each["entity"], each["status"]) for each in told["settled"]] == [("order:ord_002", settled)]
    assert [debit["order"] for debit in paid(tmp_path / "data")] == [
        *cut_off,
        "ord_101",
        "ord_102",
        "ord_105",
        "ord_106",
    ]


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_ends_the_ledger_first(
    tmp_path: Path, hangs: Callable[[bool], subprocess.Popen[str]]
) -> None:
    process = hangs(True)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    with (tmp_path / "data" / "outside" / "payments.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    code, out, _ = demo(tmp_path / "data")
    assert code == 0
    assert "order:ord_002 ended unknown" in out


TWICE = """        pay(ledger, debit, key=operation.id)
        answer = pay(ledger, debit, key=operation.id)"""

CONTROLS = {
    "an executor that pays twice": (
        "executors.py",
        "        answer = pay(ledger, debit, key=operation.id)",
        TWICE,
        "Small refund: debits: expected 1, found 2",
    ),
    "an executor that does not pay": (
        "executors.py",
        "        answer = pay(ledger, debit, key=operation.id)",
        "        answer = dict(debit)",
        "ledger: operation clr_",
    ),
    "a ledger that takes a cent more": (
        "payments.py",
        "**asked}",
        '**asked, "amount_minor": asked["amount_minor"] + 1}',
        "ledger: cents paid by the ledger: expected 109800, found 109804",
    ),
    "a ledger that pays without being asked by KIFF": (
        "payments.py",
        "        self.server.debit(entry)",
        '        self.server.debit(entry)\n        self.server.debit(entry | {"key": "somebody else"})',
        "and the receipts say None",
    ),
    "a contract that asks nobody": (
        "kiff.yaml",
        "    approval: required",
        "    approval: never",
        "Large refund: outcome: expected held, found allowed",
    ),
    "a key that may do less than its holder in this process": (
        "over_http.py",
        '"agent", None, None, "ops_agent", True)',
        '"agent", None, None, "", True)',
        "over HTTP: Small refund: outcome: allowed here, blocked over HTTP",
    ),
    "a server that has no executor": (
        "over_http.py",
        "executors=registry(ledger.address)",
        "executors={}",
        "over HTTP: Small refund: reasons: expected ('allowed',), found ('executor_missing',)",
    ),
    "somebody else who pays at the server's ledger": (
        "over_http.py",
        "        number = 0",
        '        __import__("executors").pay(ledger.address, {"order": "ord_9", "amount_minor": 1}, key="me")\n'
        "        number = 0",
        "over HTTP: $0.01 left for ord_9 and the receipts say None",
    ),
    "a wrong expected total": (
        "demo.py",
        "PROMISED_CENTS = 4_900",
        "PROMISED_CENTS = 4_901",
        "ledger: cents allowed by receipts: expected 109801, found 109800",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS)
def test_control_a_demo_that_is_not_as_promised_says_so_and_fails(tmp_path: Path, control: str) -> None:
    file, before, after, said = CONTROLS[control]
    code, out, err = demo(tmp_path / "data", project=altered(tmp_path, file, before, after))
    assert code == 1
    assert said in err
    assert "Traceback" not in err
    assert "everything as promised" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entities SET state = 'PAID' WHERE entity = 'order:ord_001'",
        "UPDATE credentials SET roles = 'admin'",
        "UPDATE members SET roles = 'ops_operator,auditor,admin' WHERE id = 'ops-human'",
    ],
)
def test_control_a_changed_database_of_the_server_is_found_by_the_next_run(once: Path, change: str) -> None:
    connection = sqlite3.connect(once / "server" / "kiff.db")
    with connection:
        assert connection.execute(change).rowcount > 0
    connection.close()
    code, _, err = demo(once)
    assert code == 1
    assert "not as promised: over HTTP: " in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("UPDATE entities SET state = 'PAID' WHERE entity = 'order:ord_001'", "replay"),
        ("UPDATE receipts SET core = CAST(replace(core, 'ord_001', 'ord_009') AS BLOB) WHERE seq = 5", "receipts"),
        ("UPDATE records SET body = CAST(replace(body, 'stripe', 'stripf') AS BLOB) WHERE seq = 1", "log"),
    ],
)
def test_control_a_changed_database_is_found_by_the_next_run(once: Path, change: str, line: str) -> None:
    connection = sqlite3.connect(once / "kiff.db")
    with connection:
        assert connection.execute(change).rowcount == 1
    connection.close()
    code, _, err = demo(once)
    assert code == 1
    assert f"not as promised: {line}: " in err
