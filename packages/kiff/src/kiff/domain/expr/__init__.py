"""The condition language: a strict, typed subset of CEL, compiled to functions."""

from __future__ import annotations

from kiff.domain.expr.checker import UNKNOWN, Scope
from kiff.domain.expr.cost import MAX_COST
from kiff.domain.expr.expression import Expression, compile, examine
from kiff.domain.expr.problem import EvaluationError, ExpressionError, Problem, excerpt, rendered
from kiff.domain.expr.types import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    Decimal,
    Field,
    ListOf,
    Object,
    String,
    Type,
    Unusable,
    type_of_schema,
)

__all__ = [
    "BOOL",
    "DOUBLE",
    "DURATION",
    "Decimal",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "Field",
    "INT",
    "ListOf",
    "MAX_COST",
    "Object",
    "Problem",
    "STRING",
    "Scope",
    "String",
    "TIMESTAMP",
    "Type",
    "UNKNOWN",
    "Unusable",
    "compile",
    "examine",
    "excerpt",
    "rendered",
    "type_of_schema",
]
