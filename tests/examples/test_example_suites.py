"""The test files of the examples pass, reach everything, and would notice every small change."""

from __future__ import annotations

import pytest
from examples_cases import EXAMPLES

from kiff.analysis.cases import Library, load_suite, play
from kiff.analysis.cases.coverage import Coverage
from kiff.analysis.cases.mutation import score

FILES = sorted(EXAMPLES.glob("*/*_test.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_it_passes_and_nothing_goes_unnoticed(file) -> None:  # type: ignore[no-untyped-def]
    suite = load_suite(file, Library())
    results = [play(suite.subject, suite.now, case) for case in suite.cases]
    assert [each.failure for each in results if each.failure is not None] == []
    coverage = Coverage(suite.subject)
    coverage.add(results)
    assert coverage.missed == []
    left = score(suite.subject, [(suite.now, case) for case in suite.cases]).survivors
    assert [(mutant.line, mutant.change) for mutant in left] == []


def test_every_example_with_a_domain_that_governs_has_one() -> None:
    assert {file.parent.name for file in FILES} >= {
        "accounts-payable",
        "one-refund-tool",
        "refund-ops",
        "support-ops",
        "vulnerable-customer",
    }
