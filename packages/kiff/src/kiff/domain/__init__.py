"""kiff.yaml, or the same contracts written in Python, to a `Domain`."""

from __future__ import annotations

from kiff.domain.document import Transition
from kiff.domain.domain import Domain, check, load
from kiff.domain.issue import Issue
from kiff.domain.parameters import ParameterCheck, compile_parameters
from kiff.domain.schema import schema_json

__all__ = [
    "Domain",
    "Issue",
    "ParameterCheck",
    "Transition",
    "check",
    "compile_parameters",
    "load",
    "schema_json",
]
