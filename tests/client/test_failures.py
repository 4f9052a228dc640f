"""Codes and errors: one table, made of the tree."""

from __future__ import annotations

import pytest

from kiff import errors
from kiff.client.failures import ERRORS, failure
from kiff.errors import KiffError
from kiff.gate.reasons import MESSAGES
from kiff.server.problems import STATUS


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_the_code_of_a_class_is_that_class(code: str) -> None:
    error = failure(STATUS.get(code, 500), {"code": code, "message": "why"}, None)
    assert error is not None
    assert type(error) is ERRORS[code]
    assert (error.code, error.message) == (code, "why")


def test_every_class_of_the_tree_has_its_code() -> None:
    tree = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, KiffError)}
    assert tree == set(ERRORS.values())


@pytest.mark.parametrize("code", sorted(set(STATUS) - set(ERRORS)))
def test_every_other_code_of_the_wire_is_an_error_of_its_status_and_keeps_its_code(code: str) -> None:
    error = failure(STATUS[code], {"code": code, "message": "why", "field": "x"}, None)
    assert error is not None and error.code == code
    assert type(error) is not KiffError or STATUS[code] in (408, 500, 502)


@pytest.mark.parametrize("code", sorted(code for code in MESSAGES if STATUS.get(code) == 403))
def test_what_may_not_be_done_is_forbidden_with_its_reason(code: str) -> None:
    error = failure(403, {"code": code, "message": "why"}, None)
    assert isinstance(error, errors.Forbidden) and error.detail["reason"] == code


def test_the_detail_comes_along(seconds: int = 3) -> None:
    body = {"error": "e", "code": "conflict", "message": "why", "docs": "d", "trace_id": "trace_1", "state": "PAID"}
    error = failure(409, body, seconds)
    assert error is not None
    assert error.detail == {"trace_id": "trace_1", "state": "PAID", "retry_after_seconds": 3}


def test_the_issues_of_a_domain_are_issues() -> None:
    issue = {"code": "c", "path": "states", "line": 3, "message": "m", "fix": "", "level": "error"}
    error = failure(422, {"code": "invalid_domain", "message": "why", "issues": [issue]}, None)
    assert isinstance(error, errors.InvalidDomain) and error.issues[0].line == 3


@pytest.mark.parametrize("body", [None, [], "no", {}, {"code": "conflict"}, {"code": 1, "message": "m"}])
def test_what_is_no_error_of_ours_is_none(body: object) -> None:
    assert failure(500, body, None) is None
