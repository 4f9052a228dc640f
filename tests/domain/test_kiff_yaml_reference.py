"""docs/reference/kiff-yaml.md says what the schema says, and all of its examples load."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from kiff_yaml_page import block, covering, page, sections

from kiff.domain import check
from kiff.domain.loader import read
from kiff.domain.schema import SCHEMA
from kiff.domain.schema_example import EXAMPLE

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "kiff-yaml.md"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_page_is_what_the_schema_says() -> None:
    """With KIFF_WRITE_DOCS=1 the page takes over what the schema says; read the difference before it is kept."""
    if os.environ.get("KIFF_WRITE_DOCS"):
        PAGE.write_text(page(), "utf-8")
    assert PAGE.read_text("utf-8") == page(), "write it anew with KIFF_WRITE_DOCS=1"


def test_the_whole_document_is_checked_as_it_is_printed() -> None:
    whole = BLOCK.findall(PAGE.read_text("utf-8"))[-1]
    domain, issues = check(whole)
    assert domain is not None
    assert issues == ()
    assert read(whole).value == EXAMPLE


def test_every_key_has_its_row_and_stands_in_the_example_of_its_section() -> None:
    text = PAGE.read_text("utf-8")
    for section in sections():
        heading = "The document" if section.schema is SCHEMA else section.title
        body = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
        assert re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE) == list(section.schema["properties"])
        said = set().union(*covering(section))
        assert said >= section.schema["properties"].keys(), heading


def test_the_parts_are_parts_of_the_whole_as_they_are_printed() -> None:
    printed = [read(text).value for text in BLOCK.findall(PAGE.read_text("utf-8"))[1:-1]]
    shown = [covering(section) for section in sections() if section.schema is not SCHEMA]
    assert printed == [each if len(each) > 1 else each[0] for each in shown]


def test_every_link_leads_somewhere() -> None:
    text = PAGE.read_text("utf-8")
    there = set(re.findall(r'<a id="([\w-]+)">', text))
    there |= {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= there


def test_what_is_printed_is_what_was_meant() -> None:
    odd = {"a": ["!x", "- y", "1", "null", "a: b", "", " z", "x # y", "it's"], "b": {"c": [{"d": "e" * 120}]}}
    assert read("\n".join(block(odd))).value == odd
