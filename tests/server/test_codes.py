"""docs/reference/errors.md, the table of codes and the code that answers them say the same."""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiff import errors
from kiff.gate.reasons import MESSAGES
from kiff.server.codes import CODES, meaning
from kiff.server.problems import STATUS, Problem
from kiff.server.reference_pages import example, sentence

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "errors.md"
SOURCE = ROOT / "packages" / "kiff" / "src" / "kiff"
PROTOCOL = """
    unknown_action unknown_entity_type missing_parameter invalid_parameter agent_unknown agent_not_active agent_frozen
    fingerprint_mismatch state_not_allowed permission_denied condition_not_met policy_error no_mandate_issued
    mandate_limit_reached mandate_per_action_exceeded category_not_allowed merchant_not_allowed currency_not_in_mandate
    rate_limited budget_exceeded risk_band_high entity_busy approval_required approval_denied approval_expired
    approval_used approval_mismatch key_not_bound_to_agent actor_not_key_holder executor_missing executor_failed
    execution_unknown proposer_is_reviewer ambiguous_entity overloaded
""".split()  # noqa: SIM905 (thirty names read better as a paragraph)
"""The reasons of the protocol, but for the ids of rules, which are the domain's own."""
INTRO = """\
# Codes

Every error, and every refusal by the gate, carries a `code`. A code never changes its meaning; new ones may come. A
code that is not on this page is the id of a rule in the domain. A running server shows this page at `/v1/docs/errors`,
and the member `docs` of every error leads there.

The body of an error has `error` (a sentence that is the same for a code), `code`, `message` (a sentence about this
case), `trace_id`, `docs`, and members of its own. With `Accept: application/problem+json` it also has those of
RFC 9457: `type`, `title`, `status`, `detail`.

`POST /v1/proposals/decide` answers what the gate refuses with 200 and an `outcome` (`blocked` or
`approval_required`), or with 400 (`invalid`) or 429 (`limit_exceeded`); the statuses below are those of every other
route. Whatever the status, its body carries `outcome` and `reasons`, and never `allowed` beside an error.

| code | status | meaning |
|---|---|---|
"""


def page() -> str:
    """The page as the table has it."""
    rows = (f"| [`{code}`](#{code}) | {STATUS[code]} | {meaning(code)} |" for code in CODES)
    return INTRO + "\n".join(rows) + "\n\n" + "\n".join(section(code) for code in CODES)


def section(code: str) -> str:
    known = CODES[code]
    lines = [f"## {code}", "", f"{sentence(code)} HTTP {STATUS[code]}.", ""]
    if known.later:
        lines += [f"*Comes with {known.later}; nothing answers it yet.*", ""]
    lines += [f"**When.** {known.when}", "", f"**What to do.** {known.fix}", "", "```json", example(code), "```", ""]
    return "\n".join(lines)


def test_the_page_is_what_the_table_says() -> None:
    """With KIFF_WRITE_DOCS=1 the page takes over what the table says; read the difference before it is kept."""
    if os.environ.get("KIFF_WRITE_DOCS"):
        PAGE.write_text(page(), "utf-8")
    assert PAGE.read_text("utf-8") == page(), "write it anew with KIFF_WRITE_DOCS=1"


def test_every_code_has_a_section_and_every_section_is_of_a_code() -> None:
    assert re.findall(r"^## (\w+)$", PAGE.read_text("utf-8"), re.MULTILINE) == sorted(STATUS)


def test_every_reason_of_the_protocol_is_explained() -> None:
    assert sorted(set(PROTOCOL) - CODES.keys()) == []


def leaves() -> Iterator[str]:
    """The codes of the error tree."""
    for _, each in inspect.getmembers(errors, inspect.isclass):
        if issubclass(each, errors.KiffError):
            yield each.code


def test_every_error_of_the_tree_has_a_status() -> None:
    found = set(leaves())
    assert "store_corrupt" in found
    assert sorted(found - STATUS.keys()) == ["unanswered"], "a client says this, when no answer came"


def test_every_reason_of_the_gate_has_a_status() -> None:
    assert sorted(MESSAGES.keys() - STATUS.keys()) == ["allowed"]


def written(text: str) -> Iterator[str]:
    """The codes that source text answers with: `reason=`, `code_hint=`, and the first argument of the two below."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
        named = [each.value for each in node.keywords if each.arg in ("reason", "code_hint")]
        first = node.args[:1] if name in ("HttpError", "Objection") else []
        for value in (*named, *first):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def test_every_code_that_is_answered_has_a_status() -> None:
    folders = ("domain", "gate", "protocol", "runtime", "server")
    paths = [path for folder in folders for path in (SOURCE / folder).rglob("*.py")]
    found = {code: path.name for path in paths for code in written(path.read_text("utf-8"))}
    assert "approval_not_needed" in found
    assert {code: where for code, where in found.items() if code not in STATUS} == {}


def test_a_code_without_a_status_would_be_seen() -> None:
    text = "raise Forbidden('no', reason='made_up')\nraise HttpError('odd', 'no')\nInvalidInput('x', code_hint='hint')"
    assert list(written(text)) == ["made_up", "odd", "hint"]


def test_a_sentence_stands_in_one_place() -> None:
    assert [code for code, known in CODES.items() if bool(known.meaning) == (code in MESSAGES)] == []


@pytest.mark.parametrize("code", CODES)
def test_the_members_of_an_example_have_the_types_of_an_error(code: str) -> None:
    known = set(Problem.__struct_fields__)
    assert not known & {"status", "type", "title", "detail"}, "RFC 9457 has them"
    assert CODES[code].when.endswith(".")
    assert CODES[code].fix.endswith(".")
