"""The policy on docs/reference/policies.md is one, and means what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from kiff import check_policy
from kiff.domain.policy_schema import POLICY

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "policies.md").read_text("utf-8")
[EXAMPLE] = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_example_has_no_issues_and_the_name_that_the_page_says() -> None:
    policy, issues = check_policy(EXAMPLE)
    assert issues == ()
    assert policy is not None
    assert policy.version == "inventory-v2"


def test_every_word_of_a_match_is_on_the_page() -> None:
    words = POLICY["$defs"]["match"]["properties"]
    assert {word for word in words if f"`{word}`" not in PAGE} == set()
