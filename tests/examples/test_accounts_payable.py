"""The duplicate payment: ten debits without KIFF, one with it, counted in the bank's own book."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from pathlib import Path

import pytest
from examples_cases import EXAMPLES, Done, altered, copy, demo, executors, finish, hanging, kiff_command, lines, start

import kiff

pytestmark = pytest.mark.slow

PROJECT = EXAMPLES / "accounts-payable"
PAY = "    bank().pay(operation.entity_id, int(amount * 100), key=operation.id)"


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Done]]:
    data = tmp_path_factory.mktemp("accounts-payable") / "data"
    return data, [demo(PROJECT, data), demo(PROJECT, data)]


def test_both_runs_are_as_promised_and_say_nothing_on_stderr(two_runs: tuple[Path, list[Done]]) -> None:
    for number, run in enumerate(two_runs[1], 1):
        assert (run.code, run.err) == (0, ""), run.out + run.err
        assert run.out.splitlines()[0].endswith(f"run {number}")
        assert "everything as promised" in run.out


def test_a_run_fits_one_screen(two_runs: tuple[Path, list[Done]]) -> None:
    data, runs = two_runs
    for run in runs:
        shown = run.out.replace(str(data), "data").splitlines()
        assert len(shown) <= 45
        assert max(map(len, shown)) <= 100
        assert run.out.isascii() and "\x1b" not in run.out


def test_ten_debits_without_kiff_and_one_for_each_invoice_with_it(two_runs: tuple[Path, list[Done]]) -> None:
    data, _ = two_runs
    without, with_kiff = lines(data / "without-kiff.jsonl"), lines(data / "bank.jsonl")
    assert [debit["invoice"] for debit in without] == ["inv_101"] * 10 + ["inv_201"] * 10
    assert len({debit["key"] for debit in without}) == 20, "every retry had an id of its own"
    invoices = [f"inv_{run}{number:02d}" for run in (1, 2) for number in (1, 2, 3)]
    assert [debit["invoice"] for debit in with_kiff] == invoices
    assert {debit["cents"] for debit in without + with_kiff} == {1_000_000}


def test_the_screen_tells_the_difference(two_runs: tuple[Path, list[Done]]) -> None:
    for run in two_runs[1]:
        assert "10 debits, $100,000.00" in run.out
        assert run.out.count("1 debit, $10,000.00") == 3
        assert "The difference: $90,000.00" in run.out


def test_nine_calls_of_the_ten_are_blocked_each_with_its_reason_and_its_receipt(
    two_runs: tuple[Path, list[Done]],
) -> None:
    data, [run, _] = two_runs
    blocked = re.findall(r"PAY_INVOICE +blocked +state_not_allowed +(rcpt_\w+)", run.out)
    assert len(set(blocked)) == 1 + 9, "one before the approval, and nine of the ten"
    connection = sqlite3.connect(f"file:{data / 'kiff.db'}?mode=ro", uri=True)
    stored = {receipt for (receipt,) in connection.execute("SELECT id FROM receipts")}
    connection.close()
    assert set(re.findall(r"rcpt_\w+", run.out)) <= stored


def test_fresh_forgets_earlier_runs_and_nothing_else(tmp_path: Path) -> None:
    demo(PROJECT, tmp_path)
    (tmp_path / "mine.jsonl").write_text("keep")
    run = demo(PROJECT, tmp_path, "--fresh")
    assert (run.code, run.err) == (0, "")
    assert run.out.splitlines()[0].endswith("run 1")
    assert len(lines(tmp_path / "bank.jsonl")) == 3
    assert (tmp_path / "mine.jsonl").read_text() == "keep"


def test_a_folder_whose_name_cannot_be_written_and_one_that_cannot_be_made(tmp_path: Path) -> None:
    assert demo(PROJECT, tmp_path / "größe").code == 0
    (tmp_path / "file").write_text("")
    run = demo(PROJECT, tmp_path / "file")
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith("demo: ") and "Traceback" not in run.err


def test_the_domain_is_complete_and_every_executor_is_there() -> None:
    domain = kiff.load((PROJECT / "kiff.yaml").read_text("utf-8"))
    assert domain.activation_issues == ()
    assert {contract.executor_name for contract in domain.actions.values()} == executors(PROJECT)
    _, issues = kiff.check((PROJECT / "kiff.yaml").read_text("utf-8"), executors=executors(PROJECT))
    assert issues == (), "an example is one that a user can start from"


def test_the_bank_pays_the_same_request_twice(tmp_path: Path) -> None:
    """Otherwise it would be the bank, and not KIFF, that saves the money."""
    program = "from outside import bank; [bank().pay('inv_1', 5, key='same') for _ in range(2)]"
    assert finish(start(PROJECT, "-c", program, more={"BANK_FILE": str(tmp_path / "book")})).code == 0
    assert lines(tmp_path / "book") == [{"invoice": "inv_1", "cents": 5, "key": "same"}] * 2


def test_the_book_is_beside_the_project_when_nobody_says_where(tmp_path: Path) -> None:
    project = copy(PROJECT, tmp_path)
    finish(start(project, "-c", "from outside import bank; bank().pay('inv_1', 5, key='one')"))
    assert len(lines(project / "bank.jsonl")) == 1


@pytest.mark.slow
def test_the_commands_work_in_its_folder_and_the_demo_counts_what_they_did(tmp_path: Path) -> None:
    project = copy(PROJECT, tmp_path)
    commands = {
        "domains apply --as ada": 0,
        "ingest INVOICE_RECEIVED invoice:inv_1 --as erp": 0,
        "execute PAY_INVOICE invoice:inv_1 -p amount=10000 --as ap-agent": 11,
        "execute APPROVE_INVOICE invoice:inv_1 --as grace": 0,
        "execute PAY_INVOICE invoice:inv_1 -p amount=10000.01 --as ap-agent": 11,
        "execute PAY_INVOICE invoice:inv_1 -p amount=9999.99 --as ap-agent": 0,
        "execute PAY_INVOICE invoice:inv_1 -p amount=1 --as ap-agent": 11,
    }
    assert {line: kiff_command(project, line).code for line in commands} == commands
    assert [(debit["invoice"], debit["cents"]) for debit in lines(project / "bank.jsonl")] == [("inv_1", 999_999)]
    run = finish(start(project, "demo.py"))
    assert (run.code, run.err) == (0, "")
    assert "4 in the bank's book, $39,999.99" in run.out


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_that_was_cut_off_in_a_payment_is_never_paid_again(tmp_path: Path, stop: int, code: int) -> None:
    with hanging(PROJECT, tmp_path, PAY) as process:
        process.send_signal(stop)
        cut_off = finish(process)
    assert cut_off.code == code
    assert "Traceback" not in cut_off.err
    run = demo(PROJECT, tmp_path / "data")
    assert (run.code, run.err) == (0, ""), run.out + run.err
    paid = [debit["invoice"] for debit in lines(tmp_path / "data" / "bank.jsonl")]
    assert paid == ["inv_101", "inv_201", "inv_202", "inv_203"]


CONTROLS = {
    "an executor that pays twice": (
        ("actions.py", PAY, f"{PAY}\n{PAY}"),
        ("with KIFF: debits: expected 1, found 2", "was paid 2 times"),
    ),
    "an executor that does not pay": (
        ("actions.py", PAY, "    bank()"),
        ("with KIFF: debits: expected 1, found 0", "was reported and never paid"),
    ),
    "an executor that pays a cent more": (
        ("actions.py", PAY, PAY.replace("* 100", "* 100 + 1")),
        ("debits: 1000001 cents left for inv_101, and KIFF cleared ('inv_101', 1000000)",),
    ),
    "a contract that pays what is paid": (
        ("kiff.yaml", "allowed_states: [APPROVED]", "allowed_states: [APPROVED, PAID]"),
        ("with KIFF: debits: expected 1, found 10", "with KIFF: the ten calls: expected"),
    ),
    "an agent that may approve": (
        ("kiff.yaml", "ap_agent: [invoices.pay]", "ap_agent: [invoices.pay, invoices.approve]"),
        ("with KIFF: before approval: expected",),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS)
def test_control_a_demo_that_is_not_as_promised_says_so_and_fails(tmp_path: Path, control: str) -> None:
    change, said = CONTROLS[control]
    run = demo(altered(PROJECT, tmp_path, *change), tmp_path / "data")
    assert run.code == 1
    assert all(words in run.err for words in said), run.err
    assert "Traceback" not in run.err
    assert "everything as promised" not in run.out


@pytest.mark.slow
def test_control_a_payment_past_kiff_is_found_by_the_next_run(tmp_path: Path) -> None:
    demo(PROJECT, tmp_path)
    with (tmp_path / "bank.jsonl").open("a") as book:
        book.write(json.dumps({"invoice": "inv_101", "cents": 1_000_000, "key": "somebody else"}) + "\n")
    run = demo(PROJECT, tmp_path)
    assert run.code == 1
    assert "debits: 1000000 cents left for inv_101, and KIFF cleared None" in run.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("UPDATE entities SET state = 'APPROVED' WHERE entity = 'invoice:inv_101'", "replay"),
        ("UPDATE records SET body = CAST(replace(body, '10000', '10') AS BLOB) WHERE seq = 1", "log"),
    ],
)
def test_control_a_changed_database_is_found_by_the_next_run(tmp_path: Path, change: str, line: str) -> None:
    demo(PROJECT, tmp_path)
    connection = sqlite3.connect(tmp_path / "kiff.db")
    with connection:
        assert connection.execute(change).rowcount == 1
    connection.close()
    run = demo(PROJECT, tmp_path)
    assert run.code == 1
    assert f"not as promised: {line}: " in run.err
