"""The project agentic-ops as a user runs it: processes of its own, an outside file that these tests read themselves."""

from __future__ import annotations

import ast
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from project_cases import PATIENCE_SECONDS, TEMPLATE, Done, altered, demo, effects, finish, lines, new, start

from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WITHOUT = [
    ("tkt_001", "SEND_REPLY"),
    ("tkt_001", "SEND_REPLY"),
    ("tkt_002", "ISSUE_CREDIT"),
    ("tkt_002", "ISSUE_CREDIT"),
    ("tkt_003", "SEND_REPLY"),
    ("tkt_004", "ESCALATE"),
    ("tkt_005", "CLOSE_TICKET"),
]
WITH = [
    ("tkt_001", "SEND_REPLY"),
    ("tkt_002", "ISSUE_CREDIT"),
    ("tkt_004", "ESCALATE"),
    ("tkt_005", "CLOSE_TICKET"),
]


def next_run(told: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(ticket.replace("tkt_0", "tkt_1"), action) for ticket, action in told]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new(tmp_path)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Done]]:
    project = new(tmp_path_factory.mktemp("agentic"))
    return project, [demo(project), demo(project)]


def test_both_runs_are_as_promised_and_say_nothing_on_stderr(two_runs: tuple[Path, list[Done]]) -> None:
    for done in two_runs[1]:
        assert (done.code, done.err) == (0, ""), done


def test_the_outside_files_have_seven_effects_without_kiff_and_four_with_it(two_runs: tuple[Path, list[Done]]) -> None:
    project, _ = two_runs
    assert effects(project, without_kiff=True) == [*WITHOUT, *next_run(WITHOUT)]
    assert effects(project) == [*WITH, *next_run(WITH)]


@pytest.mark.parametrize(
    ("title", "outcome"),
    [
        ("auto-execute", "allowed"),
        ("approve-then-execute", "allowed"),
        ("block-on-missing-consent", "blocked"),
        ("escalate", "allowed"),
        ("close", "allowed"),
    ],
)
def test_each_of_the_five_outcomes_has_its_line(two_runs: tuple[Path, list[Done]], title: str, outcome: str) -> None:
    for done in two_runs[1]:
        [line] = [line for line in done.out.splitlines() if f"  {title} " in line]
        assert line.endswith(f" {outcome}")


def test_the_difference_is_said_as_a_sum(two_runs: tuple[Path, list[Done]]) -> None:
    for done in two_runs[1]:
        assert "without   7 effects, 3 that nobody allowed" in done.out
        assert "with      4 effects, each with its receipt" in done.out


def test_a_run_fits_one_screen_without_colour_codes(two_runs: tuple[Path, list[Done]]) -> None:
    for done in two_runs[1]:
        assert len(done.out.splitlines()) <= 45
        assert max(map(len, done.out.splitlines())) <= 80
        assert "\x1b" not in done.out


def test_every_effect_has_the_operation_of_an_allowed_receipt(two_runs: tuple[Path, list[Done]]) -> None:
    project, runs = two_runs
    connection = sqlite3.connect(f"file:{project / '.run' / 'kiff.db'}?mode=ro", uri=True)
    allowed = dict(connection.execute("SELECT id, json_extract(CAST(core AS TEXT), '$.decision') FROM receipts"))
    connection.close()
    shown = {receipt for done in runs for receipt in re.findall(r"rcpt_\w+", done.out)}
    assert shown == allowed.keys()
    assert sum(decision == "allowed" for decision in allowed.values()) == len(effects(project))
    keys = [effect["key"] for effect in lines(project / ".run" / "outside.jsonl")]
    assert len(set(keys)) == len(keys)


def test_a_stream_without_unicode_gets_ascii(project: Path) -> None:
    done = demo(project, environment={"PYTHONIOENCODING": "ascii"})
    assert done.code == 0
    assert "x  blocked" in done.out


def test_the_projects_own_tests_pass_with_the_standard_library(project: Path) -> None:
    done = finish(start(project, "-W", "error", "-m", "unittest"))
    assert done.code == 0, done.err
    assert re.search(r"Ran \d\d tests", done.err)


def test_it_imports_nothing_but_the_standard_library_and_kiff() -> None:
    own = {path.stem for path in TEMPLATE.glob("*.py")}
    found = {name for path in TEMPLATE.glob("*.py") for name in _imported(path)}
    assert found - sys.stdlib_module_names - own <= {"kiff"}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_the_example_is_the_project_that_the_package_carries() -> None:
    assert (ROOT / "examples" / "support-ops").samefile(TEMPLATE)


def test_fresh_removes_what_runs_left_and_nothing_else(project: Path) -> None:
    demo(project)
    (project / ".run" / "mine.txt").write_text("keep")
    done = demo(project, "--fresh")
    assert done.code == 0
    assert effects(project) == WITH
    assert (project / ".run" / "mine.txt").read_text() == "keep"


def test_a_domain_that_cannot_be_read_is_one_clear_line(project: Path) -> None:
    done = demo(altered(project, "kiff.yaml", "from: CONSENTED, to: ANSWERED", "from: CONSENTED, to: ANSWERD"))
    assert (done.code, done.out) == (1, "")
    assert "did you mean `ANSWERED`?" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_database_in_use_is_one_clear_line(project: Path) -> None:
    (project / ".run").mkdir()
    store = SqliteStore(project / ".run" / "kiff.db")
    done = demo(project)
    store.close()
    assert done.code == 1
    assert "one process at a time" in done.err
    assert "Traceback" not in done.err


ONCE = "    outside().do(operation.action, operation.entity_id, operation.parameters, key=operation.id)\n"
SILENT = "    outside()\n"
MORE = ONCE.replace("operation.parameters", '{**operation.parameters, "amount": 4000}')
ASKED = "    risk: high\n    approval: required"
CONSENT = "Only with the customer's consent.\n    allowed_states: [CONSENTED]"
CONTROLS = {
    "an executor that sends twice": (
        "actions.py",
        ONCE,
        ONCE + ONCE,
        "auto-execute (tkt_001): effects: expected 1, found 2",
        "happened 2 times outside",
    ),
    "an executor that says so and does nothing": (
        "actions.py",
        ONCE,
        SILENT,
        "escalate (tkt_004): effects: expected 1, found 0",
        "was reported and never happened",
    ),
    "an executor that gives more than was granted": (
        "actions.py",
        ONCE,
        MORE,
        "effects: ISSUE_CREDIT happened to tkt_002, other than its receipt allows",
        "",
    ),
    "a domain that does not ask for consent": (
        "kiff.yaml",
        CONSENT,
        CONSENT.replace("[CONSENTED]", "[RECEIVED, CONSENTED]"),
        "block-on-missing-consent (tkt_003): effects: expected 0, found 1",
        "",
    ),
    "a domain that asks nobody about money": (
        "kiff.yaml",
        ASKED,
        ASKED.replace("required", "never"),
        "approve-then-execute (tkt_002): outcomes: expected approval_required, executed, found executed",
        "approve-then-execute (tkt_002): reviewer: expected team-lead",
    ),
    "a reviewer who may not review": (
        "principals.toml",
        'type = "human"\nroles = ["team_lead"]',
        'type = "human"\nroles = ["helpdesk"]',
        "approve-then-execute (tkt_002): effects: expected 1, found 0",
        "",
    ),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_control_a_demo_that_is_not_as_promised_names_it_and_fails(project: Path, control: str) -> None:
    file, before, after, *said = CONTROLS[control]
    done = demo(altered(project, file, before, after))
    assert done.code == 1
    assert [each for each in said if each not in done.err] == []
    assert "everything as promised" not in done.out
    assert "Traceback" not in done.err


def test_control_an_effect_that_kiff_did_not_allow_is_found(project: Path) -> None:
    assert demo(project).code == 0
    book = project / ".run" / "outside.jsonl"
    book.write_text(book.read_text() + book.read_text().splitlines()[0].replace("clr_", "clr_X") + "\n")
    done = demo(project)
    assert done.code == 1
    assert "effects: SEND_REPLY happened to tkt_001 and no receipt allows it" in done.err


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("UPDATE entities SET state = 'RECEIVED' WHERE entity = 'ticket:tkt_001'", "replay"),
        ("UPDATE records SET body = CAST(replace(body, 'helpdesk', 'helpdesc') AS BLOB) WHERE seq = 1", "log"),
    ],
)
def test_control_a_changed_database_is_found_by_the_next_run(project: Path, change: str, line: str) -> None:
    assert demo(project).code == 0
    connection = sqlite3.connect(project / ".run" / "kiff.db")
    with connection:
        assert connection.execute(change).rowcount == 1
    connection.close()
    done = demo(project)
    assert done.code == 1
    assert f"not as promised: {line}: " in done.err


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_that_was_cut_off_in_an_effect_is_shown_by_the_next_and_sent_again_by_nobody(
    project: Path, sent: signal.Signals, code: int
) -> None:
    told = project / "told"
    os.mkfifo(told)
    original = (project / "actions.py").read_text("utf-8")
    hang = f'{ONCE}    open({str(told)!r}, "wb").write(b"!")\n    __import__("threading").Event().wait()\n'
    process = start(altered(project, "actions.py", ONCE, hang), "demo.py")
    pipe = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready, _, _ = select.select([pipe], [], [], PATIENCE_SECONDS)
        assert ready, "the demo never came to its first effect"
        process.send_signal(sent)
        done = finish(process)
    finally:
        os.close(pipe)
        process.kill()
        process.communicate()
    assert done.code == code
    assert "Traceback" not in done.err

    (project / "actions.py").write_text(original, "utf-8")
    after = demo(project)
    assert (after.code, after.err) == (0, "")
    assert "ticket:tkt_001: SEND_REPLY of an earlier run was cut off" in after.out
    assert effects(project) == [("tkt_001", "SEND_REPLY"), *next_run(WITH)]


@pytest.mark.slow
def test_the_types_of_the_project_hold(tmp_path: Path) -> None:
    """It stands outside of the package, so `make lint` does not look at it."""
    copied = tmp_path / "project"
    shutil.copytree(TEMPLATE, copied, ignore=shutil.ignore_patterns("__pycache__", ".run"))
    files = [path.name for path in copied.glob("*.py")]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file", "", *files]
    done = subprocess.run(command, cwd=copied, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
