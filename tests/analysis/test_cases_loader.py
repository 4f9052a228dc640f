"""A test file that says something else than its author may think is refused, with the line."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from suite_cases import ANNOTATED, DOCUMENTS, DOMAIN, HEAD, SMALL, problems_of, suite_of

from kiff.analysis.cases import Library, Unloadable, load_suite

pytestmark = pytest.mark.slow

FIRST = HEAD.count("\n") + 1
"""The line after the head."""

REFUSED = {
    "an unknown key": (f"cases:\n  - {{name: it, propose: {SMALL}, expects: {{}}}}", "unknown_key", 1),
    "an unknown outcome": (
        f"cases:\n  - {{name: it, propose: {SMALL}, expect: {{outcome: refused}}}}",
        "not_one_of",
        1,
    ),
    "an actor who is not there": (
        f"cases:\n  - {{name: it, propose: {SMALL.replace('bot', 'bto')}}}",
        "unknown_actor",
        1,
    ),
    "an entity that is not there": (
        f"cases:\n  - {{name: it, propose: {SMALL.replace('order', 'orders')}}}",
        "unknown_entity",
        1,
    ),
    "an action of another domain": (
        f"cases:\n  - {{name: it, propose: {SMALL.replace('REFUND', 'REFUNDS')}}}",
        "unknown_action",
        1,
    ),
    "a reviewer who is not there": (
        f"cases:\n  - name: it\n    propose: {SMALL}\n    then:\n      - {{grant: eva}}",
        "unknown_actor",
        4,
    ),
    "a step that does two things": (
        f"cases:\n  - name: it\n    propose: {SMALL}\n    then:\n      - {{grant: ada, expire: true}}",
        "many_verbs",
        4,
    ),
    "a step that does nothing": (
        f"cases:\n  - name: it\n    propose: {SMALL}\n    then:\n      - {{}}",
        "empty_step",
        4,
    ),
    "time that does not pass": (
        f"cases:\n  - name: it\n    propose: {SMALL}\n    then:\n      - {{expire: false}}",
        "not_one_of",
        4,
    ),
    "a case in which nothing happens": ("cases:\n  - {name: it}", "empty_case", 1),
    "an expectation of no call": ("cases:\n  - {name: it, expect: {}, then: [{wait: 1h}]}", "no_call", 1),
    "two cases of one name": (
        f"cases:\n  - {{name: it, propose: {SMALL}}}\n  - {{name: it, propose: {SMALL}}}",
        "duplicate_name",
        2,
    ),
    "an event of nothing": ("cases:\n  - {name: it, then: [{event: {type: PAID}}]}", "no_entity", 1),
    "a state the domain does not have": (
        f"cases:\n  - {{name: it, propose: {SMALL}, expect: {{state: OPENED}}}}",
        "unknown_state",
        1,
    ),
    "a limit the action does not have": (
        f"cases:\n  - {{name: it, given: {{used: {{per_day: 1}}}}, propose: {SMALL}}}",
        "unknown_limit",
        1,
    ),
    "a time without a zone": (
        f"cases:\n  - {{name: it, propose: {SMALL.replace(' on:', ' at: 2026-11-18, on:')}}}",
        "malformed",
        1,
    ),
    "a cell of nobody": ("matrix:\n  - {action: REFUND, expect: {eva: {order: allowed}}}", "unknown_actor", 1),
    "a cell of no outcome": ("matrix:\n  - {action: REFUND, expect: {bot: {order: yes}}}", "not_one_of", 1),
}
IN_THE_HEAD = {
    "a role the domain does not have": ("roles: [agent]", "roles: [agents]", "unknown_role"),
    "an attribute the domain does not have": ("total: 120", "totals: 120", "unknown_attribute"),
    "a value its schema does not admit": ("total: 120", "total: 120.001", "wrong_attribute"),
    "attributes of what has not begun": ("state: OPEN, ", "", "missing_key"),
    "a kind of actor that there is not": ("type: agent", "type: robot", "not_one_of"),
    "a time that is none": ("2026-11-18T15:00:00Z", "yesterday", "malformed"),
}

SLIPS = (("{", "["), (": ", ": 1, "), ("}", "}}"), ("as:", "on:"), (":", ""))


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text, code, line = REFUSED[name]
    assert problems_of(tmp_path, text) == [("some_test.yaml", code, FIRST + line)]


@pytest.mark.parametrize("name", IN_THE_HEAD)
def test_actors_and_entities_are_those_of_the_domain(name: str, tmp_path: Path) -> None:
    before, after, code = IN_THE_HEAD[name]
    assert before in HEAD
    text = f"cases:\n  - {{name: it, propose: {SMALL}}}"
    assert [found[1] for found in problems_of(tmp_path, text, head=HEAD.replace(before, after))] == [code]
    assert problems_of(tmp_path, text) == []


@pytest.mark.parametrize(("text", "code"), [("", "wrong_type"), ("- a", "wrong_type"), ("a: [", "not_yaml")])
def test_what_is_no_test_file_is_said_to_be_none(text: str, code: str, tmp_path: Path) -> None:
    assert [found[:2] for found in problems_of(tmp_path, "", head=text)] == [("some_test.yaml", code)]


def test_a_domain_with_errors_is_shown_with_its_own_lines(tmp_path: Path) -> None:
    found = problems_of(tmp_path, "cases: []", domain=DOMAIN.replace("[OPEN]\n", "[OPENED]\n"))
    assert found == [("kiff.yaml", "unknown_state", DOMAIN[: DOMAIN.index("allowed_states")].count("\n") + 1)]


def test_a_domain_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "some_test.yaml").write_text("domain: there/kiff.yaml", "utf-8")
    with pytest.raises(Unloadable) as caught:
        load_suite(tmp_path / "some_test.yaml", Library())
    [(file, issue)] = caught.value.issues
    assert (file, issue.code) == (tmp_path / "there" / "kiff.yaml", "no_file")


def test_a_slug_finds_the_kiff_yaml_of_that_name_above_another(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "kiff.yaml").write_text(DOMAIN, "utf-8")
    (inner / "kiff.yaml").write_text(DOMAIN.replace("domain: refunds", "domain: others"), "utf-8")
    (inner / "a_test.yaml").write_text("domain: refunds", "utf-8")
    (inner / "b_test.yaml").write_text("{}", "utf-8")
    library = Library()
    names = [load_suite(inner / file, library).subject.domain.name for file in ("a_test.yaml", "b_test.yaml")]
    assert names == ["refunds", "others"]
    (inner / "a_test.yaml").write_text("domain: nobody", "utf-8")
    with pytest.raises(Unloadable, match="no_domain"):
        load_suite(inner / "a_test.yaml", library)


def test_a_matrix_is_a_case_for_each_cell(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "matrix:\n  - {action: REFUND, expect: {bot: {order: allowed}, ada: {order: blocked}}}")
    assert [case.name for case in suite.cases] == ["REFUND by bot on order", "REFUND by ada on order"]


def test_the_files_on_disk_load(tmp_path: Path) -> None:
    shutil.copy(ANNOTATED, tmp_path / "kiff.yaml")
    shutil.copy(DOCUMENTS / "reference.yaml", tmp_path / "refund_ops_test.yaml")
    assert len(load_suite(tmp_path / "refund_ops_test.yaml", Library()).cases) == 3
    assert len(load_suite(DOCUMENTS / "annotated_test.yaml", Library()).cases) > 50


def test_whatever_is_written_nothing_but_problems_comes_out(tmp_path: Path) -> None:
    seed, library = 20_261_118, Library()
    print(f"seed {seed}")
    chance = random.Random(seed)
    lines = (DOCUMENTS / "annotated_test.yaml").read_text("utf-8").splitlines()
    file = tmp_path / "some_test.yaml"
    counts = [0, 0]
    for _ in range(30):
        changed = [lines[i] for i in range(len(lines)) if chance.random() > 0.01]
        at = chance.randrange(len(changed))
        changed[at] = changed[at].replace(
            *chance.choice((("{", "["), (": ", ": 1, "), ("}", "}}"), ("as:", "on:"), (":", "")))
        )
        file.write_text("\n".join(changed), "utf-8")
        try:
            load_suite(file, library, domain=ANNOTATED)
            counts[0] += 1
        except Unloadable as error:
            assert error.issues
            counts[1] += 1
    assert min(counts) > 0
