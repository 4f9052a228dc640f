"""Mutants are what their names say, and a suite kills those that it would notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from suite_cases import DOCUMENTS, DOMAIN, LARGE, SMALL, suite_of

from kiff.analysis.cases import Library, Suite, load_suite
from kiff.analysis.cases.mutant import mutants
from kiff.analysis.cases.mutation import Score, score
from kiff.analysis.cases.rewritten import rewritten
from kiff.domain.expr import BOOL, Field, Object, compile, type_of_schema

pytestmark = pytest.mark.slow

SCOPE = {
    "parameters": Object(
        {
            "amount": Field(type_of_schema({"type": "number", "unit": "USD"})),
            "yen": Field(type_of_schema({"type": "number", "unit": "JPY"})),
            "count": Field(type_of_schema({"type": "integer"})),
            "ratio": Field(type_of_schema({"type": "number"})),
            "kind": Field(type_of_schema({"type": "string", "maxLength": 10})),
            "urgent": Field(type_of_schema({"type": "boolean"})),
        }
    )
}
REWRITTEN = {
    "parameters.amount > 50": ("{} >= 50", "{} <= 50", "{} > 50.01", "{} > 49.99"),
    "parameters.yen >= 50": ("{} > 50", "{} < 50", "{} >= 51", "{} >= 49"),
    "parameters.count < 3": ("{} <= 3", "{} >= 3", "{} < 4", "{} < 2"),
    "parameters.ratio <= 0.5": ("{} < 0.5", "{} > 0.5", "{} <= 0.51", "{} <= 0.49"),
    "parameters.kind == 'a'": ("{} != 'a'",),
    "!parameters.urgent": ("{}",),
    "parameters.count == -1": ("{} != -1", "{} == 0", "{} == -2"),
}


def survivors(found: Score) -> set[tuple[str, str]]:
    return {(mutant.name, mutant.change) for mutant in found.survivors}


def scored(suite: Suite) -> Score:
    return score(suite.subject, [(suite.now, case) for case in suite.cases])


@pytest.mark.parametrize("text", REWRITTEN)
def test_a_condition_is_off_by_one_step_or_one_operator(text: str) -> None:
    name = text.split()[0].removeprefix("!")
    found = {after for _, after in rewritten(compile(text, SCOPE, BOOL))}
    assert found == {each.format(name) for each in REWRITTEN[text]}


def test_parentheses_and_equal_operators_are_told_apart() -> None:
    text = "(parameters.count) > (1) && (parameters.count > 2 || parameters.urgent)"
    found = {after for _, after in rewritten(compile(text, SCOPE, BOOL))}
    assert text.replace("&&", "||") in found
    assert text.replace("> (1)", ">= (1)") in found
    assert text.replace("> 2", "<= 2") in found


def test_every_mutant_is_another_domain_that_loads(tmp_path: Path) -> None:
    subject = suite_of(tmp_path, "cases: []").subject
    found = list(mutants(subject))
    digests = {mutant.subject.domain.digest for mutant in found}
    assert len(digests) == len(found) > 12
    assert subject.domain.digest not in digests


def test_what_is_changed_is_said_with_its_line(tmp_path: Path) -> None:
    found = {mutant.change: mutant for mutant in mutants(suite_of(tmp_path, "cases: []").subject)}
    lines = DOMAIN.splitlines()
    for change, part in (
        ("the rule was removed", "large"),
        ("max: 2 became 4", "in_flight"),
        ("CLOSED was allowed too", ""),
    ):
        assert part in lines[found[change].line - 1]
    assert lines[found["orders.refund was not asked for"].line - 1] == "    required_permissions: [orders.refund]"


def test_quorums_roles_and_denials_are_weakened(tmp_path: Path) -> None:
    rules = "then: require_approval, quorum: 2, roles: [lead]}"
    strict = DOMAIN.replace("> 50, then: require_approval}", f"> 50, {rules}")
    found = {mutant.change for mutant in mutants(suite_of(tmp_path, "cases: []", domain=strict).subject)}
    assert {
        "then: deny became require_approval",
        "quorum: 2 became 1",
        "anybody's yes counted, not only that of lead",
    } <= found


def test_nothing_notices_when_nothing_is_asked(tmp_path: Path) -> None:
    found = scored(suite_of(tmp_path, "cases: []"))
    assert (found.killed, found.percent) == (0, 0)


def test_a_case_kills_what_it_would_notice_and_nothing_else(tmp_path: Path) -> None:
    def call(amount: str) -> str:
        return LARGE.replace("60", amount)

    at = f"  - {{name: at, propose: {call('50')}, expect: {{outcome: allowed}}}}\n"
    above = f"  - {{name: above, propose: {call('50.01')}, expect: {{outcome: approval_required}}}}\n"
    rule = "`parameters.amount > 50` became `parameters.amount"
    one = survivors(scored(suite_of(tmp_path, f"cases:\n{at}")))
    both = survivors(scored(suite_of(tmp_path, f"cases:\n{at}{above}")))
    assert {change for name, change in one if change.startswith(rule)} == {f"{rule} > 50.01`"}
    assert not any(change.startswith(rule) for _, change in both)
    assert both < one


def test_rules_of_a_policy_are_changed_too(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(
        "policy: shop\nrules:\n  - {id: night, when: parameters.amount > 10, then: deny}\n", "utf-8"
    )
    case = f"cases:\n  - {{name: it, propose: {SMALL}, expect: {{outcome: blocked}}}}\n"
    suite = suite_of(tmp_path, f"policy: shop.yaml\n{case}")
    own = [mutant for mutant in mutants(suite.subject) if mutant.file.name == "shop.yaml"]
    assert {mutant.line for mutant in own} == {3}
    left = {change for name, change in survivors(scored(suite)) if name == "night"}
    assert left == {
        f"`parameters.amount > 10` became `parameters.amount {changed}`" for changed in (">= 10", "> 10.01", "> 9.99")
    }


def test_the_suite_of_the_annotated_domain_notices_everything() -> None:
    found = scored(load_suite(DOCUMENTS / "annotated_test.yaml", Library()))
    assert (survivors(found), found.total > 40) == (set(), True)
