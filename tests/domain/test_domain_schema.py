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

from kiff.domain import load, schema_json
from kiff.domain.loader import read
from kiff.domain.schema import SCHEMA
from kiff.domain.shape import shape

DOCUMENTS = sorted(Path(__file__).with_name("documents").glob("*.yaml"))
PUBLISHED = Path(__file__).parents[2] / "spec" / "schemas" / "domain-v1.json"
ODD = (None, True, 7, 7.0, 1.5, "", "x", "30s", "high", "x" * 200, [], ["a"], [1], {}, {"name": "A"}, {"b c": []})


def schemas(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for inner in schema.values():
            yield from schemas(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from schemas(inner)


def test_the_published_file_is_the_source() -> None:
    expected = schema_json()
    assert PUBLISHED.read_text() == expected, f"write kiff.domain.schema_json() to {PUBLISHED.name}"


def test_it_is_a_json_schema() -> None:
    jsonschema_rs.meta.validate(SCHEMA)


def test_every_field_has_a_title_and_a_description() -> None:
    for schema in schemas({"properties": {}, **SCHEMA}):
        for name, field in schema.get("properties", {}).items():
            if isinstance(field, dict):
                target = SCHEMA["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
                merged = target | field
                assert merged.get("description"), name
                assert merged.get("title") or merged.get("type") == "array", name


def test_our_patterns_are_anchored() -> None:
    for schema in schemas(SCHEMA):
        if isinstance(schema.get("pattern"), str):
            assert re.fullmatch(r"\^.*\$", schema["pattern"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_document_is_valid_and_so_is_its_normal_form(path: Path) -> None:
    validator = jsonschema_rs.Draft202012Validator(SCHEMA)
    text = path.read_text()
    assert validator.is_valid(read(text).value)
    assert validator.is_valid(json.loads(load(text).content))


def test_both_readings_agree_on_wrong_documents() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed: {seed}")
    chance = random.Random(seed)
    validator = jsonschema_rs.Draft202012Validator(SCHEMA)
    wholes = [load(path.read_text()).content for path in DOCUMENTS if path.stem in ("refund_ops", "webhooks")]
    refused = 0
    for _ in range(1000):
        document = json.loads(chance.choice(wholes))
        for _ in range(chance.randrange(1, 3)):
            spoil(document, chance)
        wrong = bool(shape(document))
        refused += wrong
        assert wrong != validator.is_valid(document), (seed, document)
    assert 300 < refused < 1000


def spoil(document: Any, chance: random.Random) -> None:
    """Change, add or drop one value somewhere."""
    around = document
    while True:
        keys = list(around) if isinstance(around, dict) else list(range(len(around)))
        inner = [k for k in keys if isinstance(around[k], dict | list) and around[k]]
        if not inner or chance.random() < 0.25:
            break
        around = around[chance.choice(inner)]
    if not keys:
        return
    key = chance.choice(keys)
    if chance.random() < 0.2:
        del around[key]
    elif chance.random() < 0.2 and isinstance(around, dict):
        around[chance.choice(("when", "b c", "type", "name", "from", "map"))] = chance.choice(ODD)
    else:
        around[key] = chance.choice(ODD)
