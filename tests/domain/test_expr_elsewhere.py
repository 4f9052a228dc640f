"""A condition over many declarations: what stands under a has() of a field that one lacks is meant for the others."""

from __future__ import annotations

import pytest

from kiff.domain.expr import (
    BOOL,
    INT,
    UNKNOWN,
    EvaluationError,
    ExpressionError,
    Field,
    Object,
    Type,
    compile,
    examine,
)

HERE: dict[str, Type] = {
    "parameters": Object({"count": Field(INT)}, open=True, one_of_many=True),
    "entity": Object({"vip": Field(BOOL)}, open=True),
}


def asked(text: str, **parameters: object) -> object:
    return compile(text, HERE)({"parameters": {"count": 1} | parameters, "entity": {"vip": True}})


@pytest.mark.parametrize(
    "text",
    [
        "parameters.amount > 50",
        "parameters.amount > 50 && has(parameters.amount)",
        "has(parameters.count) && parameters.amount > 50",
        "has(parameters.amount) || parameters.amount > 50",
        "!has(parameters.amount) && parameters.amount > 50",
    ],
)
def test_what_no_has_guards_must_be_declared(text: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile(text, HERE)
    assert [problem.code for problem in refused.value.problems] == ["unknown_name"]


def test_an_open_object_of_one_declaration_is_as_strict_as_ever() -> None:
    with pytest.raises(ExpressionError, match="no field `extra`"):
        compile("has(entity.extra) && entity.extra > 50", HERE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("has(parameters.amount) && parameters.amount > 50", False),
        ("!has(parameters.amount) || parameters.amount > 50", True),
        ("(has(parameters.amount) ? parameters.amount : parameters.count) == 1", True),
        ("(!has(parameters.amount) ? parameters.count : parameters.amount) == 1", True),
        ("has(parameters.amount) && has(parameters.fee) && parameters.amount > parameters.fee", False),
    ],
)
def test_a_field_of_others_is_not_there(text: str, value: bool) -> None:
    assert asked(text) is value


def test_one_that_is_there_all_the_same_has_no_value() -> None:
    with pytest.raises(EvaluationError, match="not declared here"):
        asked("has(parameters.amount) && parameters.amount > 50", amount=60)


def test_what_is_declared_is_read_as_ever() -> None:
    assert asked("has(parameters.count) && parameters.count > 5", count=6) is True


def test_examine_says_nothing_about_what_is_not_known() -> None:
    scope = {**HERE, "entity": UNKNOWN}
    assert examine("entity.whatever.deep[0].exists(x, x.y > 3) && parameters.count > 1", scope) == ()


def test_examine_says_what_is_wrong_anywhere() -> None:
    scope = {**HERE, "entity": UNKNOWN}
    found = examine("entity.total > 5 && parameters.count == 'x' && nothing", scope)
    assert [problem.code for problem in found] == ["type_mismatch", "unknown_name"]
    assert [problem.code for problem in examine("entity.total >", scope)] == ["syntax_error"]
