"""No rule of a domain goes by a name that means something already, and conditions are compiled once."""

from __future__ import annotations

import pytest
from findings_cases import GOVERNED

from kiff.domain import check, load
from kiff.domain.compiled import compile
from kiff.domain.expr import INT, ExpressionError, Field, Object, String
from kiff.gate.reasons import MESSAGES
from kiff.protocol.reasons import RESERVED
from kiff.server.codes import CODES


def test_every_code_of_the_gate_and_of_the_server_is_reserved() -> None:
    assert sorted((MESSAGES.keys() | CODES.keys()) - RESERVED) == []


def test_a_domain_is_checked_and_loaded_with_one_expression() -> None:
    domain = load(GOVERNED)
    again, _ = check(GOVERNED)
    assert again is not None
    assert again.terms["SEND"].rules[0].condition is domain.terms["SEND"].rules[0].condition


def test_the_same_text_over_other_types_is_another_expression() -> None:
    whole, text = ({"e": Object({"x": Field(type_)})} for type_ in (INT, String(20)))
    assert compile("e.x == e.x", whole) is compile("e.x == e.x", {"e": Object({"x": Field(INT)})})
    assert compile("e.x == e.x", text) is not compile("e.x == e.x", whole)
    with pytest.raises(ExpressionError):
        compile("e.x > 1", text)
    assert compile("e.x > 1", whole)({"e": {"x": 2}}) is True


def test_what_is_expected_of_it_counts() -> None:
    scope = {"e": Object({"x": Field(INT)})}
    compile("e.x + 1", scope, None)
    with pytest.raises(ExpressionError):
        compile("e.x + 1", scope)
