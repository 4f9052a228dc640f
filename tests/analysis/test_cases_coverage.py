"""What a suite reaches is what spoke up, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from suite_cases import DOCUMENTS, DOMAIN, HEAD, LARGE, SMALL, played, suite_of

from kiff.analysis.cases import Library, load_suite
from kiff.analysis.cases.coverage import Coverage

CALL = "{action: REFUND, as: bot, on: order, parameters: {amount: AMOUNT}}"
EVENT = "{event: {type: PAID, payload: {total: 80}, on: {id: new}}}"
REACHED = {
    f"propose: {LARGE}": {"REFUND large"},
    f"propose: {CALL.replace('AMOUNT', '121')}": {"REFUND large", "REFUND more_than_left"},
    f"propose: {SMALL}": {"MONEY_RETURNED: OPEN → the same"},
    f"propose: {LARGE.replace('60', '0')}": set(),
    f"given: {{used: {{per_agent: 20}}}}, propose: {SMALL}": {"REFUND per_agent"},
    f"given: {{used: {{in_flight: 2}}}}, propose: {SMALL}": {"REFUND in_flight"},
    f"then: [{EVENT}]": {"PAID: (nothing) → OPEN"},
    f"then: [{EVENT}, {{wait: 72h}}]": {"PAID: (nothing) → OPEN", "FORGOTTEN: OPEN → CLOSED"},
    f"then: [{EVENT}, {EVENT}]": {"PAID: (nothing) → OPEN"},
}


def coverage_of(folder: Path, cases: str, domain: str = DOMAIN, head: str = HEAD) -> Coverage:
    suite = suite_of(folder, cases, domain=domain, head=head)
    coverage = Coverage(suite.subject)
    coverage.add(played(suite))
    return coverage


@pytest.mark.parametrize("case", REACHED)
def test_what_spoke_up_is_reached(case: str, tmp_path: Path) -> None:
    coverage = coverage_of(tmp_path, f"cases:\n  - {{name: it, {case}}}\n")
    assert {item.name for item in coverage.items} - {item.name for item in coverage.missed} == REACHED[case]


def test_of_two_guarded_ways_the_one_that_was_taken_is_reached(tmp_path: Path) -> None:
    returned = "{event: {type: MONEY_RETURNED, payload: {amount: 120}, on: order}}"
    coverage = coverage_of(tmp_path, f"cases:\n  - {{name: it, then: [{returned}]}}\n")
    reached = {item.name for item in coverage.items} - {item.name for item in coverage.missed}
    assert reached == {"MONEY_RETURNED: OPEN → CLOSED"}


def test_a_precondition_is_reached_when_it_is_not_met(tmp_path: Path) -> None:
    asking = DOMAIN.replace("    risk: high\n", "    risk: high\n    when: parameters.amount < 10\n")
    for amount, missed in (("5", True), ("20", False)):
        coverage = coverage_of(
            tmp_path, f"cases:\n  - {{name: it, propose: {CALL.replace('AMOUNT', amount)}}}\n", asking
        )
        assert ("precondition" in {item.kind for item in coverage.missed}) is missed


def test_the_rules_and_limits_of_a_policy_are_looked_for_too(tmp_path: Path) -> None:
    rules = "rules:\n  - {id: large, when: parameters.amount > 10, then: deny}\n"
    rules += "  - {id: odd, when: actor.id == 'eva', then: deny}\n"
    limits = "limits:\n  - {id: slow, kind: rate, max: 1, per: 1h}\n"
    (tmp_path / "shop.yaml").write_text(f"policy: shop\n{rules}{limits}", "utf-8")
    coverage = coverage_of(tmp_path, f"policy: shop.yaml\ncases:\n  - {{name: it, propose: {SMALL}}}\n")
    of_policy = [item for item in coverage.items if item.file.name == "shop.yaml"]
    assert [(item.kind, item.name, item.line) for item in of_policy] == [
        ("rule", "large", 3),
        ("rule", "odd", 4),
        ("limit", "slow", 6),
    ]
    assert [item.name for item in of_policy if item in coverage.missed] == ["odd", "slow"]
    assert "REFUND large" in {item.name for item in coverage.missed}, "the domain's rule of that name did not speak up"


def test_percentages_and_lines(tmp_path: Path) -> None:
    coverage = coverage_of(tmp_path, f"cases:\n  - {{name: it, propose: {LARGE}}}\n")
    assert coverage.percent == pytest.approx(100 / len(coverage.items))
    lines = DOMAIN.splitlines()
    assert all(
        item.name.split()[-1] in lines[item.line - 1] for item in coverage.items if item.kind in ("rule", "limit")
    )


def test_a_domain_that_asks_nothing_is_covered(tmp_path: Path) -> None:
    bare = "domain: bare\nentity: Thing\nstates: [A]\nactions: []\n"
    assert coverage_of(tmp_path, "cases: []", bare, "").percent == 100


def test_the_annotated_domain_is_covered() -> None:
    suite = load_suite(DOCUMENTS / "annotated_test.yaml", Library())
    coverage = Coverage(suite.subject)
    coverage.add(played(suite))
    assert (coverage.missed, len(coverage.items) > 10) == ([], True)
