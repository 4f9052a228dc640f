"""The published schema is the one the loader reads, and a full JSON Schema implementation agrees with our reading."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from suite_cases import DOCUMENTS

from kiff.analysis.cases import cases_schema_json
from kiff.analysis.cases.schema import CASES
from kiff.domain.loader import read
from kiff.domain.shape import shape

pytestmark = pytest.mark.slow

PUBLISHED = Path(__file__).resolve().parents[2] / "spec" / "schemas" / "test-v1.json"
ODD = (None, True, 7, 7.0, 1.5, "", "x", "again", "allowed", "x" * 300, [], ["a"], [1], {}, {"name": "A"}, {"b c": []})


def schemas(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for inner in schema.values():
            yield from schemas(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from schemas(inner)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def test_the_published_file_is_the_source() -> None:
    assert PUBLISHED.read_text("utf-8") == cases_schema_json(), f"write cases_schema_json() to {PUBLISHED.name}"


def test_it_is_a_json_schema() -> None:
    jsonschema_rs.meta.validate(json.loads(PUBLISHED.read_text("utf-8")))


def test_every_field_has_a_title_and_a_description() -> None:
    for schema in schemas(CASES):
        for name, field in schema.get("properties", {}).items() if "title" in schema else ():
            target = CASES["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
            merged = target | field
            assert merged.get("description"), name
            assert merged.get("title") or merged.get("type") == "array", name


def test_our_patterns_are_anchored() -> None:
    assert all(
        re.fullmatch(r"\^.*\$", each["pattern"]) for each in schemas(CASES) if isinstance(each.get("pattern"), str)
    )


def test_it_reads_documents_as_a_full_implementation_does() -> None:
    seed = 20_261_118
    print(f"seed {seed}")
    chance, validator = random.Random(seed), jsonschema_rs.validator_for(CASES)
    whole = read((DOCUMENTS / "annotated_test.yaml").read_text("utf-8")).value
    assert (shape(whole, CASES), validator.is_valid(whole)) == ([], True)
    everywhere = list(places(whole))
    refused = 0
    for _ in range(400):
        document = changed(whole, chance.choice(everywhere), chance.choice(ODD))
        valid = validator.is_valid(document)
        refused += not valid
        assert (not shape(document, CASES)) == valid
    assert 50 < refused < 400
