"""The published schema is the one the loader reads, and a full JSON Schema implementation agrees with our reading."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from kiff.domain import check, load, schema_json
from kiff.domain.loader import read
from kiff.domain.published_schema import examples, published, said
from kiff.domain.schema import SCHEMA
from kiff.domain.schema_example import EXAMPLE
from kiff.domain.shape import shape

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(Path(__file__).with_name("documents").glob("*.yaml"))
EVERYWHERE = sorted(
    path
    for pattern in (
        "examples/*/kiff.yaml",
        "packages/kiff/src/kiff/templates/*/kiff.yaml",
        "spec/scenarios/domains/*.yaml",
    )
    for path in ROOT.glob(pattern)
)
PUBLISHED = ROOT / "spec" / "schemas" / "domain-v1.json"
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
    """With KIFF_WRITE_DOCS=1 the file takes over what the schema says; read the difference before it is kept."""
    if os.environ.get("KIFF_WRITE_DOCS"):
        PUBLISHED.write_text(schema_json(), "utf-8")
    assert PUBLISHED.read_text("utf-8") == schema_json(), "write it anew with KIFF_WRITE_DOCS=1"


def test_it_is_a_json_schema() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    jsonschema_rs.meta.validate(published())


def test_what_an_editor_is_given_refuses_what_we_refuse() -> None:
    validator = jsonschema_rs.Draft202012Validator(json.loads(PUBLISHED.read_text("utf-8")))
    assert validator.is_valid(EXAMPLE)
    assert not validator.is_valid(EXAMPLE | {"states": "PAID"})
    assert not validator.is_valid(EXAMPLE | {"stats": []})


def test_there_is_nothing_to_say_about_the_example_document() -> None:
    assert check(json.dumps(EXAMPLE))[1] == ()


def properties(schema: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every property in a schema."""
    for key, inner in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if key == "properties" and schema.get("type") == "object":
            yield from ((*at, key, name) for name in inner)
        if isinstance(inner, dict | list):
            yield from properties(inner, (*at, key))


def test_every_property_has_an_example_that_fits_it() -> None:
    found = examples()
    assert sorted(map(str, properties(SCHEMA))) == sorted(map(str, found))
    known = {"$defs": SCHEMA["$defs"] | {"whole": {key: SCHEMA[key] for key in SCHEMA if key not in ("$id", "$defs")}}}
    anything = set()
    for pointer, values in found.items():
        where = pointer if pointer[0] == "$defs" else ("$defs", "whole", *pointer)
        validator = jsonschema_rs.Draft202012Validator(known | {"$ref": "#/" + "/".join(map(str, where))})
        assert values
        assert all(validator.is_valid(value) for value in values), pointer
        if validator.is_valid({"no such": [None]}):
            anything.add(pointer[-1])
    assert anything == {"const", "default"}, "every other one refuses something"


KEPT_AS_WRITTEN = ("parameter", "schedule")
"""What a domain says in their words it keeps in their words."""


@pytest.mark.slow
def test_a_default_is_what_is_meant_when_a_key_is_left_out() -> None:
    seen = set()
    for pointer, path, _ in said(EXAMPLE):
        schema = at(SCHEMA, pointer)
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] | schema if "$ref" in schema else schema
        if "default" in schema and pointer[1] not in KEPT_AS_WRITTEN:
            stated, silent = json.loads(json.dumps(EXAMPLE)), json.loads(json.dumps(EXAMPLE))
            at(stated, path[:-1])[path[-1]] = schema["default"]
            del at(silent, path[:-1])[path[-1]]
            assert (
                load(json.dumps(stated)) == load(json.dumps(silent)) != load(json.dumps(stated | {"version": "v3"}))
            ), path
            seen.add(pointer[-1])
    assert {"spec", "lock", "timeout", "quorum", "mode", "over", "ttl", "tolerance", "binds", "evidence"} <= seen


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


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


@pytest.mark.parametrize("path", [*DOCUMENTS, *EVERYWHERE], ids=lambda path: "-".join(path.parts[-2:]))
def test_every_document_is_valid_and_so_is_its_normal_form(path: Path) -> None:
    validator = jsonschema_rs.Draft202012Validator(SCHEMA)
    text = path.read_text()
    assert validator.is_valid(read(text).value)
    if path.parent.name != "broken-domain":  # wrong all over, and in the right shape
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
