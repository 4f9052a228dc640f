"""Cases at thresholds: on both sides, true as they stand, and enough to notice a threshold that moved."""

from __future__ import annotations

from pathlib import Path

import pytest
from suite_cases import ANNOTATED, DOCUMENTS, SMALL, failures, suite_of

from kiff.analysis.boundaries.candidate import as_test, ask
from kiff.analysis.boundaries.candidates import candidates
from kiff.analysis.cases import Library, load_suite
from kiff.analysis.cases.boundary import boundaries
from kiff.analysis.cases.mutation import score
from kiff.analysis.cases.source import Subject
from kiff.analysis.cases.writing import appended, flow, new_file
from kiff.domain import loader
from kiff.errors import InvalidInput

pytestmark = pytest.mark.slow

CASES = f"cases:\n  - {{name: it, propose: {SMALL}}}\n"


def test_each_side_of_a_threshold_is_a_case(tmp_path: Path) -> None:
    found = {each.name: each.verdict.outcome for each in boundaries(suite_of(tmp_path, CASES).subject)}
    assert {name: found[name] for name in found if name.split()[1] == "amount" and float(name.split()[2]) > 10} == {
        "REFUND amount 49.99": "allowed",
        "REFUND amount 50": "allowed",
        "REFUND amount 50.01": "approval_required",
    }
    assert (found["REFUND 19 used of per_agent"], found["REFUND 20 used of per_agent"]) == ("allowed", "limit_exceeded")
    assert (found["REFUND 1 used of in_flight"], found["REFUND 2 used of in_flight"]) == ("allowed", "limit_exceeded")


def test_the_thresholds_of_a_policy_are_found_too(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(
        "policy: shop\nrules:\n  - {id: night, when: parameters.amount > 7, then: deny}\n", "utf-8"
    )
    subject = suite_of(tmp_path, f"policy: shop.yaml\n{CASES}").subject
    found = {each.name: each.verdict.reasons for each in boundaries(subject)}
    assert (found["REFUND amount 7"], found["REFUND amount 7.01"]) == ((), ("night",))
    assert "REFUND amount 7.01" not in {each.name for each in boundaries(suite_of(tmp_path, CASES).subject)}


def test_the_cases_are_true_as_they_are_written(tmp_path: Path) -> None:
    subject = Subject(*Library().domain(ANNOTATED))
    file = tmp_path / "edges_test.yaml"
    file.write_text(new_file(str(ANNOTATED), None, [each.written for each in boundaries(subject)]), "utf-8")
    suite = load_suite(file, Library())
    assert (failures(suite), len(suite.cases) > 15) == ({}, True)
    left = score(suite.subject, [(suite.now, case) for case in suite.cases]).survivors
    assert not any("became" in mutant.change and "`parameters." in mutant.change for mutant in left)


def test_cases_are_added_once_and_the_rest_stays(tmp_path: Path) -> None:
    subject = suite_of(tmp_path, CASES).subject
    new = [each.written for each in boundaries(subject)]
    text = (tmp_path / "some_test.yaml").read_text("utf-8")
    after, added = appended(text, new)
    assert (added, after.startswith(text)) == (len(new), True)
    assert appended(after, new) == (after, 0)
    (tmp_path / "some_test.yaml").write_text(after, "utf-8")
    assert failures(load_suite(tmp_path / "some_test.yaml", Library())) == {}


@pytest.mark.parametrize("text", ["cases: [{name: a}]\n", "cases:\n  - {name: a}\nnow: x\n", "now: x\n"])
def test_a_file_that_cannot_be_added_to_is_left_alone(text: str) -> None:
    with pytest.raises(InvalidInput, match="last key"):
        appended(text, [{"name": "b", "propose": {"action": "A", "as": "b", "on": "c"}}])


@pytest.mark.parametrize("value", ["true", "", "a: b", "a # b", "- a", "12", "null", "{a}", "it's", "é", "a  b", " a"])
def test_a_text_is_read_back_as_it_was(value: str) -> None:
    written = {"key": [value, {"x": value}], "n": 1.5, "t": True, "z": None}
    assert loader.read(f"it: {flow(written)}").value == {"it": written}


def test_what_other_tools_write_as_a_test_comes_out_as_they_say(tmp_path: Path) -> None:
    library = Library()
    domain, _ = library.domain(ANNOTATED)
    file = tmp_path / "found_test.yaml"
    compared = 0
    for action in domain.actions:
        for candidate in candidates(domain, action, limit=30):
            if domain.attribute_check(candidate.attributes):
                continue  # the file refuses what no event could set
            file.write_text(flow(as_test(domain, candidate, ask(domain, candidate), "it")), "utf-8")
            assert failures(load_suite(file, library, domain=ANNOTATED)) == {}, candidate
            compared += 1
    assert compared > 50


def test_the_suite_on_disk_can_be_added_to() -> None:
    text = (DOCUMENTS / "reference.yaml").read_text("utf-8")
    after, added = appended(text, [{"name": "b", "propose": {"action": "A", "as": "agent", "on": "paid"}}])
    assert (added, after[len(text.rstrip()) :]) == (1, "\n  - name: b\n    propose: {action: A, as: agent, on: paid}\n")
