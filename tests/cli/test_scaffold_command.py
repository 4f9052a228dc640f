"""`kiff scaffold`: code that runs, says what kiff.yaml says, and leaves alone what somebody has edited."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from scaffold_cases import documents, imported

import kiff as package
from kiff import load
from kiff.cli.exits import Exit
from kiff.cli.scaffolding import scaffolding
from kiff.cli.scaffolding.examples import example_call
from kiff.cli.scaffolding.names import function_names
from kiff.cli.scaffolding.source import WIDTH, source

pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parents[1]
REFUND_OPS = Path(package.__file__).parent / "templates" / "refund-ops" / "kiff.yaml"
DOMAINS = [
    REFUND_OPS,
    TESTS / "domain" / "documents" / "refund_ops.yaml",
    *sorted((TESTS.parent / "spec" / "scenarios" / "domains").glob("*.yaml")),
]
FILES = ["domain.py", "actions.py", "policy.py", "test_domain.py"]
EVERYTHING = ("test_domain.py", "domain.py", "actions.py", "policy.py", "kiff.yaml")


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nothing but a kiff.yaml, which is the current one."""
    here = folder / "project"
    here.mkdir()
    (here / "kiff.yaml").write_bytes(REFUND_OPS.read_bytes())
    monkeypatch.chdir(here)
    return here


def unittest_of(folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-W", "error", "-m", "unittest", "-v"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


def statuses(ran: Any) -> dict[str, str]:
    return {file["path"]: file["status"] for file in json.loads(ran.out)["files"]}


def test_a_draft_is_refused_with_all_that_it_lacks(kiff: Any, folder: Path) -> None:
    draft = (TESTS / "domain" / "documents" / "stage4.yaml").read_text()
    (folder / "kiff.yaml").write_text(draft)
    ran = kiff("scaffold")
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    lacking = [issue.path for issue in load(draft).activation_issues]
    assert len(lacking) > 3
    assert all(path in ran.err for path in lacking)
    assert not (folder / "domain.py").exists()


@pytest.mark.parametrize(
    ("name", "text", "code"), [("nowhere.yaml", None, "invalid"), ("wrong.yaml", "domain: [", "invalid_domain")]
)
def test_what_cannot_be_read_is_refused(name: str, text: str | None, code: str, kiff: Any, folder: Path) -> None:
    if text is not None:
        (folder / name).write_text(text)
    ran = kiff("scaffold", name)
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    assert f"[{code}]" in ran.err


def test_a_folder_where_a_file_should_be_is_refused_before_anything_is_written(kiff: Any, project: Path) -> None:
    (project / "test_domain.py").mkdir()
    assert kiff("scaffold").code == Exit.FAILED
    assert not (project / "domain.py").exists()


def test_an_edited_file_is_kept_and_the_difference_shown(kiff: Any, project: Path) -> None:
    kiff("scaffold")
    edited = (project / "actions.py").read_text().replace("Unfinished(", "NotImplementedError(")
    (project / "actions.py").write_text(edited)
    ran = kiff("scaffold")
    assert ran.code == Exit.FAILED
    assert "kept\tactions.py" in ran.out
    assert '-    raise NotImplementedError("refund.issue_refund is not written yet")' in ran.out
    assert '+    raise Unfinished("refund.issue_refund is not written yet")' in ran.out
    assert (project / "actions.py").read_text() == edited


def test_a_new_action_shows_in_the_difference(kiff: Any, project: Path) -> None:
    kiff("scaffold")
    text = REFUND_OPS.read_text()
    (project / "kiff.yaml").write_text(text.replace("  - name: AUTO_REFUND", NEW_ACTION + "  - name: AUTO_REFUND"))
    ran = kiff("scaffold", "--json")
    assert statuses(ran) == {
        "domain.py": "unchanged",
        "actions.py": "kept",
        "policy.py": "unchanged",
        "test_domain.py": "kept",
    }
    actions = json.loads(ran.out)["files"][1]["diff"]
    assert '+        name="HOLD_ORDER",' in actions
    assert "+def hold(operation: Operation) -> dict[str, Any]:" in actions
    assert "\n-" not in actions.replace("\n---", "")


NEW_ACTION = """\
  - name: HOLD_ORDER
    allowed_states: [PAID]
    required_permissions: [orders.refund]
    risk: low
    approval: never
    executor: orders.hold
"""


def test_what_is_no_text_is_shown_and_not_obeyed(kiff: Any, project: Path) -> None:
    (project / "policy.py").write_bytes(b"--\t\x1b[31m\xff")
    ran = kiff("scaffold")
    assert "\x1b" not in ran.out
    assert "\\x1b[31m\\xff\n\\ No newline at end of file\n" in ran.out
    assert (project / "policy.py").read_bytes() == b"--\t\x1b[31m\xff"


def test_a_link_that_leads_nowhere_is_not_written_over(kiff: Any, project: Path) -> None:
    (project / "policy.py").symlink_to("elsewhere.py")
    assert kiff("scaffold").code == Exit.FAILED
    assert (project / "policy.py").is_symlink()
    assert not (project / "elsewhere.py").exists()


def test_a_dry_run_writes_nothing_and_says_the_same(kiff: Any, project: Path) -> None:
    before = sorted(project.iterdir())
    dry = kiff("scaffold", "--dry-run", "--json")
    assert sorted(project.iterdir()) == before
    assert dry.out == kiff("scaffold", "--json").out


def test_the_second_run_finds_everything_unchanged(kiff: Any, project: Path) -> None:
    first = kiff("scaffold", "--json")
    assert statuses(first) == dict.fromkeys(FILES, "created")
    before = sorted(project.iterdir())
    second = kiff("scaffold", "--json")
    assert (first.code, second.code) == (Exit.DONE, Exit.DONE)
    assert statuses(second) == dict.fromkeys(FILES, "unchanged")
    assert sorted(project.iterdir()) == before, "nothing else is left behind"


def test_elsewhere_the_tests_still_find_the_kiff_yaml(kiff: Any, project: Path) -> None:
    assert kiff("scaffold", ".", "--to", "code/generated").code == Exit.DONE
    assert (
        'Path(__file__).parent / "../../kiff.yaml"' in (project / "code" / "generated" / "test_domain.py").read_text()
    )
    assert unittest_of(project / "code" / "generated").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_written_tests_pass(path: Path, tmp_path: Path) -> None:
    written(path.read_text(), tmp_path)
    ran = unittest_of(tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "OK\n" in ran.stderr, "nothing is skipped"
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == sorted(EVERYTHING)


@pytest.mark.slow
def test_pytest_runs_the_written_tests_too(tmp_path: Path) -> None:
    written(REFUND_OPS.read_text(), tmp_path)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        str(tmp_path),
    ]
    ran = subprocess.run([*argv, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


EDITS = [
    (
        "domain.py",
        'from_="CREATED", to="PAID"',
        'from_="CREATED", to="REFUNDED"',
        "test_python_and_yaml_are_one_domain",
    ),
    ("domain.py", 'from_="CREATED", to="PAID"', 'from_="CREATED", to="REFUNDED"', "start_in_its_states"),
    ("actions.py", 'allowed_states=("PAID",)', 'allowed_states=("PAID", "CREATED")', "refused_in_every_other_state"),
    ("actions.py", "Approval.REQUIRED", "Approval.NEVER", "test_nobody_grants_what_they_proposed"),
    ("actions.py", '("orders.refund",)', "()", "test_an_action_is_refused_without_its_roles"),
    ("actions.py", '("amount", "reason")', '("amount",)', "test_an_action_needs_each_of_its_parameters"),
    ("actions.py", '"refund.issue_refund": issue_refund,', "", "test_every_executor_is_registered"),
    ("kiff.yaml", "risk: medium", "risk: low", "test_python_and_yaml_are_one_domain"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old", "new", "failing"), EDITS)
def test_control_a_change_makes_a_written_test_fail(
    name: str, old: str, new: str, failing: str, tmp_path: Path
) -> None:
    written(REFUND_OPS.read_text(), tmp_path)
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    ran = unittest_of(tmp_path)
    failed = [line for line in ran.stderr.splitlines() if line.startswith(("FAIL: ", "ERROR: "))]
    assert any(failing in line for line in failed), ran.stderr


def written(text: str, folder: Path) -> None:
    (folder / "kiff.yaml").write_text(text)
    for name, made in scaffolding(load(text), "kiff.yaml").items():
        (folder / name).write_text(made)


def test_a_stub_fails_and_says_that_it_is_not_written(tmp_path: Path) -> None:
    with imported(scaffolding(load(REFUND_OPS.read_text()), "kiff.yaml"), tmp_path) as modules:
        executors = modules["actions.py"].EXECUTORS
        assert list(executors) == ["orders.mark_paid", "refund.issue_refund"]
        with pytest.raises(package.Unfinished, match=r"refund\.issue_refund is not written yet"):
            executors["refund.issue_refund"](None)


@given(text=documents())
def test_any_domain_is_the_same_in_python(text: str) -> None:
    domain = load(text)
    assert domain.activation_issues == ()
    sources = scaffolding(domain, "kiff.yaml")
    assert sources == scaffolding(load(text), "kiff.yaml")
    with imported(sources, Path()) as modules:
        assert domain == modules["domain.py"].DOMAIN
        named = {contract.executor_name for contract in domain.actions.values()} - {""}
        assert modules["actions.py"].EXECUTORS.keys() == named
        assert len({function.__name__ for function in modules["actions.py"].EXECUTORS.values()}) == len(named)


@pytest.mark.slow
@settings(max_examples=12)
@given(text=documents())
def test_the_written_tests_of_any_domain_pass(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "kiff.yaml").write_text(text)
    with imported(scaffolding(load(text), "kiff.yaml"), folder) as modules:
        suite = unittest.TestLoader().loadTestsFromModule(modules["test_domain.py"])
        told = io.StringIO()
        result = unittest.TextTestRunner(told).run(suite)
    assert result.wasSuccessful(), told.getvalue()
    assert bool(result.skipped) == bool(modules["test_domain.py"].LEFT)


@pytest.mark.slow
@settings(max_examples=12)
@given(text=documents())
def test_the_code_of_any_domain_is_clean(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    written(text, folder)
    for argv in (["format", "--check", "--diff"], ["check", "--select", "E,F,W,I,B,UP,PIE,SIM,RUF100"]):
        command = [sys.executable, "-m", "ruff", *argv, "--isolated", "--no-cache", f"--line-length={WIDTH}", "."]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


EXAMPLES = [
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 100, "unit": "USD"}, 1),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.02, "unit": "USD"}, 0.01),
    ({"type": "integer", "minimum": 7}, 7),
    ({"type": "string", "enum": ["b", "a"]}, "b"),
    ({"type": "string", "maxLength": 3}, "exa"),
    ({"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"}, "AAA-0000"),
    ({"type": "string", "pattern": "^[^@\\s]+@[a-z]+\\.(com|org)$"}, "a@a.com"),
    ({"type": "string", "pattern": "^[a-z]+$", "minLength": 5}, "aaaaa"),
    ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
    ({"type": "object", "required": ["id"], "properties": {"id": {"const": 5}}}, {"id": 5}),
    ({}, "example"),
]


@pytest.mark.parametrize(("schema", "value"), EXAMPLES)
def test_a_value_is_read_off_its_schema(schema: dict[str, Any], value: object) -> None:
    assert example_call(with_parameter(schema), "MARK_PAID") == ({"payment": value}, [])


@pytest.mark.parametrize("pattern", ["^\\p{Greek}$", "(?i)^x$", "a\\bb", "^[[:upper:]]$"])
def test_a_pattern_that_is_not_read_leaves_the_value_to_the_author(pattern: str, tmp_path: Path) -> None:
    domain = with_parameter({"type": "string", "pattern": pattern})
    assert example_call(domain, "MARK_PAID") == ({}, ["payment"])
    (tmp_path / "kiff.yaml").write_bytes(domain.content)
    for name, made in scaffolding(domain, "kiff.yaml").items():
        (tmp_path / name).write_text(made)
    ran = unittest_of(tmp_path)
    assert "skipped 'MARK_PAID: no value was found that fits payment: write one'" in ran.stderr


def with_parameter(schema: dict[str, Any]) -> package.Domain:
    document = json.loads(load(REFUND_OPS.read_text()).content)
    document["actions"][0] |= {"required_parameters": ["payment"], "parameters": {"payment": schema}}
    return load(json.dumps(document))


def test_states_that_no_events_lead_to_are_said_to_be_left_out(tmp_path: Path) -> None:
    text = REFUND_OPS.read_text().replace("states: [CREATED, PAID", "states: [LOST, CREATED, PAID")
    made = scaffolding(load(text.replace("allowed_states: [CREATED]", "allowed_states: [LOST]")), "kiff.yaml")
    assert "# No events lead to LOST, so nothing here tries them." in made["test_domain.py"]
    assert 'LEFT: dict[str, str] = {"MARK_PAID": "no events lead to LOST"}' in made["test_domain.py"]


NAMED = {
    "refund.issue": "issue",
    "pos.issue": "pos_issue",
    "pos-issue": "pos_issue_2",
    "lambda": "lambda_2",
    "a.print": "a_print",
    "x.2fast": "_2fast",
    "_": "executor",
    "l": "l_2",
    "x.Any": "x_Any",
}


def test_functions_are_named_after_the_end_and_keep_their_names() -> None:
    assert function_names(NAMED, taken=["Any"]) == NAMED
    first = dict(list(NAMED.items())[:3])
    assert function_names(first, taken=["Any"]) == first, "what comes later renames nothing"


@pytest.mark.parametrize(
    "text", ['"""', "'", "'\"", "a\\", "\n\r\t\0", "\u202e\u2028\x85", "x" * 300, "é " * 90, '"' * 300]
)
def test_a_text_is_one_literal_whatever_it_holds(text: str) -> None:
    code = source({"text": text}, indent=4, before=4)
    assert eval(code) == {"text": text}
    assert all(line.isprintable() for line in code.split("\n"))
    assert max(map(len, code.split("\n"))) <= WIDTH
