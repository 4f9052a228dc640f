"""`kiff test`: what fails is shown with its line, and nothing that cannot be told counts as passed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from kiff.cli.exits import Exit
from kiff.runtime.runtime import Runtime

HANGING = """
import sys, time
import kiff.cli.testing.run as run
from kiff.cli import main

def play(*_):
    print("playing", flush=True)
    time.sleep(60)

run.play = play
sys.argv = ["kiff", "test"]
main()
"""
NARROW = ("maximum: 100,", "maximum: 40,")


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text("utf-8")
    assert before in text
    file.write_text(text.replace(before, after), "utf-8")


def test_a_case_that_fails_says_what_was_expected_and_found(kiff: Any, folder: Path) -> None:
    edit(folder / "kiff.yaml", *NARROW)
    ran = kiff("test")
    assert (ran.code, ran.err) == (Exit.FAILED, "3 cases: 2 passed, 1 failed\n")
    assert ran.out.splitlines()[:3] == [
        "orders_test.yaml:8  failed  a small refund runs",
        '    outcome  expected "allowed"',
        '             found    "invalid"',
    ]


def test_cases_that_pass_are_named_only_when_asked_for(kiff: Any, folder: Path) -> None:
    quiet, told = kiff("test"), kiff("test", "--verbose")
    assert (quiet.code, quiet.out, quiet.err) == (Exit.DONE, "", "3 cases: 3 passed\n")
    assert told.out.splitlines()[0] == "orders_test.yaml:8  passed  a small refund runs"
    assert len(told.out.splitlines()) == 3


def test_a_file_that_cannot_be_loaded_is_no_case_that_fails(kiff: Any, folder: Path) -> None:
    (folder / "other_test.yaml").write_text("domain: refund-ops\ncase: []\n", "utf-8")
    ran = kiff("test")
    assert ran.code == Exit.UNLOADABLE
    assert ran.err == "1 file cannot be loaded\n3 cases: 3 passed\n"
    assert ran.out.splitlines() == [
        "other_test.yaml:2  error  unknown_key  case",
        "    `case` is not a key of a test file",
        "    fix  did you mean `cases`?",
    ]


def test_a_domain_that_cannot_be_loaded_is_said_once(kiff: Any, folder: Path) -> None:
    edit(folder / "kiff.yaml", "states: [CREATED, PAID,", "states: [CREATED, SETTLED,")
    (folder / "other_test.yaml").write_text("domain: refund-ops\n", "utf-8")
    ran = kiff("test")
    assert ran.code == Exit.UNLOADABLE
    assert ran.out.count("kiff.yaml:10  error  unknown_state") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no test files here: name one, or write a *_test.yaml beside the kiff.yaml\n"),
        ("{}", "the files have no cases\n"),
    ],
)
def test_nothing_to_play_is_no_success(text: str, said: str, kiff: Any, folder: Path) -> None:
    (folder / "orders_test.yaml").unlink()
    if text:
        (folder / "empty_test.yaml").write_text(text, "utf-8")
    ran = kiff("test")
    assert (ran.code, ran.out, ran.err) == (Exit.FAILED, "", said)


def test_a_text_that_no_case_has_in_its_name_is_no_success(kiff: Any, folder: Path) -> None:
    assert kiff("test", "-k", "LARGE").err == "1 case: 1 passed\n"
    ran = kiff("test", "-k", "huge")
    assert (ran.code, ran.err) == (Exit.FAILED, "no case has that text in its name\n")


def test_a_path_where_nothing_is_ends_with_one_line(kiff: Any, folder: Path) -> None:
    ran = kiff("test", "nowhere")
    assert (ran.code, ran.err.splitlines()[0]) == (Exit.FAILED, "error: there is no file at `nowhere`   [invalid]")


def test_folders_are_searched_but_not_those_of_others(kiff: Any, folder: Path) -> None:
    text = (folder / "orders_test.yaml").read_text("utf-8")
    for name in ("deep/er", ".hidden", "node_modules", "venv"):
        (folder / name).mkdir(parents=True)
        (folder / name / "orders_test.yaml").write_text(text, "utf-8")
    (folder / "venv" / "pyvenv.cfg").touch()
    assert kiff("test").err == "6 cases: 6 passed\n"
    assert kiff("test", "deep").err == "3 cases: 3 passed\n"


def test_a_draft_is_held_against_the_cases_of_the_version_that_governs(kiff: Any, folder: Path) -> None:
    assert kiff("test", "--domain", "wider.yaml").code == Exit.FAILED
    assert kiff("test", "--domain", "nowhere.yaml").code == Exit.UNLOADABLE


def test_a_policy_can_be_put_over_it(kiff: Any, folder: Path) -> None:
    rule = "{id: nothing, match: {action: AUTO_REFUND}, when: 'true', then: deny}"
    (folder / "strict.yaml").write_text(f"policy: strict\nrules: [{rule}]\n", "utf-8")
    ran = kiff("test", "--policy", "strict.yaml", "--coverage")
    assert ran.code == Exit.FAILED
    assert "under strict-" in ran.err


def test_coverage_lists_what_no_case_reaches_and_can_be_demanded(kiff: Any, folder: Path) -> None:
    ran = kiff("test", "--coverage")
    assert ran.code == Exit.DONE
    assert ran.out.splitlines()[0] == "kiff.yaml:9  not reached  transition ORDER_PLACED: (nothing) → CREATED"
    assert "coverage of refund-ops-v2: 33% (1 of 3)" in ran.err
    assert [kiff("test", "--min-coverage", each).code for each in ("34", "33")] == [Exit.FAILED, Exit.DONE]


def test_mutation_lists_what_goes_unnoticed_and_can_be_demanded(kiff: Any, folder: Path) -> None:
    ran = kiff("test", "--mutate")
    assert ran.code == Exit.DONE
    assert "not noticed  MARK_PAID\n    PAID was allowed too" in ran.out
    assert "may be equivalent" in ran.err
    assert kiff("test", "--min-score", "99").code == Exit.FAILED
    assert kiff("test", "--min-score", "0").code == Exit.DONE


def test_there_is_no_score_of_cases_that_fail(kiff: Any, folder: Path) -> None:
    edit(folder / "kiff.yaml", *NARROW)
    ran = kiff("test", "--min-score", "0")
    assert ran.code == Exit.FAILED
    assert ran.err.endswith("no mutation score: the cases have to pass first\n")


def test_thresholds_become_cases_that_pass(kiff: Any, folder: Path) -> None:
    rule = "    rules:\n      - {id: large, when: parameters.amount > 50, then: require_approval}\n"
    edit(folder / "kiff.yaml", "    approval: required\n", f"    approval: conditional\n{rule}")
    write = ("test", "--boundaries", "--write", "edges_test.yaml")
    printed = kiff("test", "--boundaries")
    assert (printed.code, printed.err, printed.out.count("REFUND_ORDER amount")) == (Exit.DONE, "", 3)
    assert kiff(*write).err == "3 cases added to edges_test.yaml: read them\n"
    assert (folder / "edges_test.yaml").read_text("utf-8") == printed.out
    assert kiff("test", "edges_test.yaml").err == "3 cases: 3 passed\n"
    assert kiff(*write).err.startswith("0 cases added")


def test_without_thresholds_nothing_is_written(kiff: Any, folder: Path) -> None:
    ran = kiff("test", "--boundaries", "--write", "edges_test.yaml")
    assert (ran.code, ran.err.startswith("no threshold")) == (Exit.DONE, True)
    assert not (folder / "edges_test.yaml").exists()


def test_where_to_write_is_asked_for_only_with_what(kiff: Any, folder: Path) -> None:
    ran = kiff("test", "--write", "edges_test.yaml")
    assert (ran.code, "--boundaries" in ran.err) == (Exit.USAGE, True)


def test_junit_names_every_case_and_what_failed(kiff: Any, folder: Path) -> None:
    edit(folder / "kiff.yaml", *NARROW)
    edit(folder / "orders_test.yaml", "a small refund runs", '"a small refund \\e[2J runs"')
    kiff("test", "--junit", "report.xml")
    [suite] = Xml.parse(folder / "report.xml").getroot()
    assert {name: suite.attrib[name] for name in ("name", "tests", "failures")} == {
        "name": "orders_test.yaml",
        "tests": "3",
        "failures": "1",
    }
    failed = [case for case in suite if len(case)]
    assert [(case.attrib["line"], case.attrib["name"]) for case in failed] == [("8", "a small refund \\x1b[2J runs")]
    assert 'expected "allowed"' in (failed[0][0].text or "")


def test_json_has_every_case_and_every_difference(kiff: Any, folder: Path) -> None:
    edit(folder / "kiff.yaml", *NARROW)
    said = json.loads(kiff("test", "-o", "json", "--coverage").out)
    assert (said["ok"], said["passed"], said["failed"], said["coverage"][0]["total"]) == (False, 2, 1, 3)
    failed = next(case for case in said["cases"] if not case["passed"])
    assert failed["differences"][0] == {"what": "outcome", "expected": "allowed", "found": "invalid"}
    lines = [json.loads(line) for line in kiff("test", "-o", "jsonl").out.splitlines()]
    assert lines == [{"kiff": "v1", **case} for case in said["cases"]]


def test_text_of_the_author_cannot_move_the_cursor(kiff: Any, folder: Path) -> None:
    edit(folder / "orders_test.yaml", "a small refund runs", '"\\e[2J"')
    for output in ("text", "auto", "json"):
        assert "\x1b" not in kiff("test", "-v", "-o", output).out


def test_no_runtime_is_opened_and_nothing_is_left(kiff: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(folder.iterdir())
    monkeypatch.setattr(Runtime, "__init__", lambda *_, **__: pytest.fail("a runtime was opened"))
    assert kiff("test", "--coverage", "--mutate").code == Exit.DONE
    assert sorted(folder.iterdir()) == before


def test_ctrl_c_ends_it_with_one_word(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "playing\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (Exit.INTERRUPTED, "interrupted")
