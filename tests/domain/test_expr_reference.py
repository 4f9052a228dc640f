"""The reference of the condition language: its examples are run, its tables say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kiff.domain.expr import (
    BOOL,
    INT,
    MAX_COST,
    TIMESTAMP,
    EvaluationError,
    ExpressionError,
    Field,
    ListOf,
    Object,
    String,
    Type,
    checker,
    compile,
    problem,
    rendered,
    syntax,
    type_of_schema,
)
from kiff.protocol.instant import parse_rfc3339

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "conditions.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def scope() -> dict[str, Type]:
    declared = YAML(typ="safe").load(blocks("yaml")[0])
    parameters, attributes = (
        {name: Field(type_of_schema(schema), schema.get("optional", False)) for name, schema in declared[key].items()}
        for key in ("parameters", "attributes")
    )
    known = {"id": Field(String(128)), "state": Field(String(64)), "version": Field(INT)}
    actor = {"id": Field(String(128)), "type": Field(String(16)), "roles": Field(ListOf(String(64), 64))}
    return {
        "parameters": Object(parameters),
        "entity": Object(known | attributes),
        "actor": Object(actor),
        "schedule": Object({"office": Field(BOOL)}),
        "now": TIMESTAMP,
    }


def facts() -> dict[str, Any]:
    env: dict[str, Any] = json.loads(blocks("json")[0])
    return env | {"now": parse_rfc3339(env["now"], field="now")}


def examples() -> list[tuple[str, str]]:
    lines = [line for block in blocks("cel") for line in block.splitlines()]
    return [tuple(line.rsplit(" // ", 1)) for line in lines]  # type: ignore[misc]


@pytest.mark.parametrize(("text", "wanted"), examples())
def test_an_example_gives_what_the_page_says(text: str, wanted: str) -> None:
    expression = compile(text.strip(), scope(), None)
    if wanted == "error":
        with pytest.raises(EvaluationError):
            expression(facts())
    else:
        assert json.dumps(expression(facts())) == wanted


REFUSED = re.findall(r"^\| `(\w+)` \| [^|]+ \| `([^|]+)` \|$", PAGE.partition("## What is refused")[2], re.M)


@pytest.mark.parametrize(("code", "text"), REFUSED)
def test_a_refused_example_is_refused_with_its_code(code: str, text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile(text, scope())
    assert [each.code for each in caught.value.problems] == [code]


def test_the_page_has_every_code() -> None:
    said = re.sub(r"\s+", " ", problem.Problem.__doc__ or "")
    codes = re.findall(r"[a-z]+(?:_[a-z]+)+", said.partition("code:")[2].partition("message:")[0])
    assert sorted({code for code, _ in REFUSED}) == sorted(codes)


def test_the_page_shows_a_problem_as_it_is_rendered() -> None:
    text, shown = blocks("text")[0].split("\n", 1)
    with pytest.raises(ExpressionError) as caught:
        compile(text, scope())
    assert rendered(caught.value.problems[0], text) == shown.rstrip("\n")


def test_the_page_names_every_function() -> None:
    known = {*checker._FUNCTIONS, *checker._METHODS}
    assert known == set(re.findall(r"(?:\.|`)([a-zA-Z]+)\(", PAGE.partition("## Functions")[2].partition("```")[0]))


def test_the_page_has_the_bounds_of_the_code() -> None:
    bounds = f"{MAX_COST:,} steps at worst, {syntax.MAX_LENGTH:,} characters, or {syntax.MAX_DEPTH} levels"
    assert bounds in PAGE
