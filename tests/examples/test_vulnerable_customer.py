"""One event halts a team of agents: counted in the mailroom's own book, and read from the log by this test itself."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from examples_cases import EXAMPLES, Done, altered, copy, demo, executors, finish, hanging, kiff_command, lines, start

import kiff

pytestmark = pytest.mark.slow

PROJECT = EXAMPLES / "vulnerable-customer"
TEAM = {"SEND_REMINDER", "OFFER_UPGRADE", "RAISE_LIMIT"}
REACH = "    mailroom().reach(operation.entity_id, operation.action, key=operation.id)"


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Done]]:
    data = tmp_path_factory.mktemp("vulnerable-customer") / "data"
    return data, [demo(PROJECT, data), demo(PROJECT, data)]


def log(data: Path, customer: str) -> list[dict[str, Any]]:
    connection = sqlite3.connect(f"file:{data / 'kiff.db'}?mode=ro", uri=True)
    records = [json.loads(body) for (body,) in connection.execute("SELECT body FROM records ORDER BY seq")]
    connection.close()
    return [record for record in records if record["entity"] == f"customer:{customer}"]


def halt(records: list[dict[str, Any]]) -> tuple[int, int]:
    """Between which records the customer was protected: the two that moved the state."""
    [flag] = [r["seq"] for r in records if r["kind"] == "state_changed" and r["data"]["to"] == "PROTECTED"]
    [lift] = [r["seq"] for r in records if r["kind"] == "state_changed" and r["data"]["from"] == "PROTECTED"]
    return flag, lift


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


@pytest.mark.parametrize("customer", ["cus_101", "cus_201"])
def test_no_call_of_an_agent_is_cleared_from_the_flag_to_its_lifting(
    two_runs: tuple[Path, list[Done]], customer: str
) -> None:
    records = log(two_runs[0], customer)
    flag, lift = halt(records)
    cleared = [r["data"]["action"] for r in records if r["kind"] == "action_validated" and flag < r["seq"] < lift]
    assert cleared == ["CARE_CALL", "LIFT_PROTECTION"]
    asked = [r for r in records if r["kind"] == "decision_recorded" and r["actor"]["type"] == "agent"]
    while_protected = [r["data"] for r in asked if flag < r["seq"] < lift and r["data"]["action"] in TEAM]
    assert len(while_protected) >= 3 * 5 + 3
    assert {data["reasons"][0]["code"] for data in while_protected} == {"state_not_allowed"}
    assert all(data["receipt"]["id"] for data in while_protected)


@pytest.mark.parametrize(("flagged", "other"), [("cus_101", "cus_102"), ("cus_201", "cus_202")])
def test_no_effect_reached_the_flagged_customer_but_the_care_call_and_the_other_one_was_served(
    two_runs: tuple[Path, list[Done]], flagged: str, other: str
) -> None:
    data, _ = two_runs
    flag, lift = halt(log(data, flagged))
    cleared = {
        record["data"]["operation_id"]: record["seq"]
        for customer in (flagged, other)
        for record in log(data, customer)
        if record["kind"] == "action_validated"
    }
    effects = [each for each in lines(data / "mailroom.jsonl") if each["key"] in cleared]
    meanwhile = [each for each in effects if flag < cleared[each["key"]] < lift]
    assert [each["effect"] for each in meanwhile if each["customer"] == flagged] == ["CARE_CALL"]
    assert [each for each in meanwhile if each["customer"] == other] != []
    after = Counter(each["effect"] for each in effects if each["customer"] == flagged and cleared[each["key"]] > lift)
    assert after == dict.fromkeys(TEAM, 1)


def test_every_effect_has_one_clearance_of_its_own(two_runs: tuple[Path, list[Done]]) -> None:
    data, _ = two_runs
    customers = ("cus_101", "cus_102", "cus_201", "cus_202")
    cleared = {
        record["data"]["operation_id"]
        for customer in customers
        for record in log(data, customer)
        if record["kind"] == "action_validated" and record["data"]["action"] != "LIFT_PROTECTION"
    }
    keys = [each["key"] for each in lines(data / "mailroom.jsonl")]
    assert len(keys) == len(set(keys))
    assert set(keys) == cleared


def test_a_care_call_and_the_lifting_take_two_people(two_runs: tuple[Path, list[Done]]) -> None:
    for run in two_runs[1]:
        assert len(re.findall(r"mira +grants it herself +proposer_is_reviewer", run.out)) == 2
        assert len(re.findall(r"noor +grants it", run.out)) == 2
        assert re.search(r"sales-agent +LIFT_PROTECTION +blocked +permission_denied", run.out)
        assert re.search(r"sales-agent +reports the lifting +permission_denied", run.out)


def test_fresh_forgets_earlier_runs_and_nothing_else(tmp_path: Path) -> None:
    demo(PROJECT, tmp_path)
    (tmp_path / "mine.jsonl").write_text("keep")
    run = demo(PROJECT, tmp_path, "--fresh")
    assert (run.code, run.err) == (0, "")
    assert run.out.splitlines()[0].endswith("run 1")
    assert {each["customer"] for each in lines(tmp_path / "mailroom.jsonl")} == {"cus_101", "cus_102"}
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


def test_no_agent_may_report_events_or_lift_the_protection() -> None:
    domain = kiff.load((PROJECT / "kiff.yaml").read_text("utf-8"))
    for role in ("collections", "sales", "credit"):
        assert not domain.permits((role,), "events.ingest")
        assert not domain.permits((role,), "care.lift")


def test_the_mailroom_does_the_same_request_twice(tmp_path: Path) -> None:
    program = "from outside import mailroom; [mailroom().reach('cus_1', 'X', key='same') for _ in range(2)]"
    assert finish(start(PROJECT, "-c", program, more={"MAILROOM_FILE": str(tmp_path / "book")})).code == 0
    assert lines(tmp_path / "book") == [{"customer": "cus_1", "effect": "X", "key": "same"}] * 2


@pytest.mark.slow
def test_the_commands_work_in_its_folder(tmp_path: Path) -> None:
    project = copy(PROJECT, tmp_path)
    commands = {
        "domains apply --as ada": 0,
        "ingest CUSTOMER_JOINED customer:dora --as contact-centre": 0,
        "execute RAISE_LIMIT customer:dora -p amount=250 --as credit-agent": 0,
        "ingest VULNERABILITY_FLAGGED customer:dora --as contact-centre": 0,
        "execute SEND_REMINDER customer:dora --as collections-agent": 11,
        "execute CARE_CALL customer:dora --as mira": 10,
    }
    assert {line: kiff_command(project, line).code for line in commands} == commands
    assert kiff_command(project, "ingest VULNERABILITY_LIFTED customer:dora --as sales-agent").code != 0
    assert [each["effect"] for each in lines(project / "mailroom.jsonl")] == ["RAISE_LIMIT"]


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_that_was_cut_off_in_an_effect_leaves_the_next_one_whole(tmp_path: Path, stop: int, code: int) -> None:
    with hanging(PROJECT, tmp_path, REACH) as process:
        process.send_signal(stop)
        cut_off = finish(process)
    assert cut_off.code == code
    assert "Traceback" not in cut_off.err
    run = demo(PROJECT, tmp_path / "data")
    assert (run.code, run.err) == (0, ""), run.out + run.err
    assert [each["customer"] for each in lines(tmp_path / "data" / "mailroom.jsonl")].count("cus_101") == 1


FLAG = "{on: VULNERABILITY_FLAGGED, from: ACTIVE, to: PROTECTED}"
CONTROLS = {
    "a flag that leaves the state as it is": (
        ("kiff.yaml", FLAG, FLAG.replace(", to: PROTECTED", "")),
        ("the flag: expected PROTECTED, found ACTIVE", "customer:cus_101 is flagged since #"),
    ),
    "an agent's action that is allowed in PROTECTED": (
        (
            "kiff.yaml",
            "allowed_states: [ACTIVE]\n    required_parameters: [amount]",
            "allowed_states: [ACTIVE, PROTECTED]\n    required_parameters: [amount]",
        ),
        ("halt: RAISE_LIMIT was cleared at #", "effects of the team on a protected customer: expected 0"),
    ),
    "a care call that asks nobody": (
        (
            "kiff.yaml",
            "approval: required\n    executor: care.place_call",
            "approval: never\n    executor: care.place_call",
        ),
        ("CARE_CALL of one person: expected approval_required, found allowed", "halt: CARE_CALL was cleared at #"),
    ),
    "an agent that may report events": (
        ("kiff.yaml", "sales: [sales.offer]", "sales: [sales.offer, events.ingest]"),
        ("an agent reports the lifting: refused with: expected permission_denied, found nothing",),
    ),
    "an executor that does it twice": (
        ("actions.py", REACH, f"{REACH}\n{REACH}"),
        ("reached its customer 2 times",),
    ),
    "an executor that does nothing": (
        ("actions.py", REACH, "    mailroom()"),
        ("was reported and reached nobody",),
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
def test_control_an_effect_past_kiff_is_found_by_the_next_run(tmp_path: Path) -> None:
    demo(PROJECT, tmp_path)
    with (tmp_path / "mailroom.jsonl").open("a") as book:
        book.write(json.dumps({"customer": "cus_101", "effect": "OFFER_UPGRADE", "key": "somebody else"}) + "\n")
    run = demo(PROJECT, tmp_path)
    assert run.code == 1
    assert "effects: OFFER_UPGRADE reached cus_101, and KIFF did not clear it" in run.err
