"""kiff.yaml, or the same contracts written in Python, to a `Domain`."""

from __future__ import annotations

from kiff.domain.document import Transition
from kiff.domain.domain import Domain, check, load
from kiff.domain.issue import Issue
from kiff.domain.parameters import ParameterCheck, compile_parameters
from kiff.domain.policy import Policy, check_policy, load_policy
from kiff.domain.policy_schema import policy_schema_json
from kiff.domain.published_schema import schema_json

__all__ = [
    "Domain",
    "Issue",
    "ParameterCheck",
    "Policy",
    "Transition",
    "check",
    "check_policy",
    "compile_parameters",
    "load",
    "load_policy",
    "policy_schema_json",
    "schema_json",
]
