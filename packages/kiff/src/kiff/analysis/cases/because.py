"""Why a call came out as it did: what its conditions came to, with the values they read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from msgspec import json

from kiff.analysis.boundaries.examples import plain
from kiff.analysis.cases.document import Expectation
from kiff.analysis.cases.expectation import Seen
from kiff.analysis.cases.source import Subject
from kiff.analysis.cases.structure import terms_of
from kiff.domain.expr import EvaluationError, Expression
from kiff.domain.terms import Terms
from kiff.domain.units import MINOR_DIGITS
from kiff.gate.case import Env, environment
from kiff.protocol.decision import facts_from
from kiff.protocol.proposal import Proposal
from kiff.protocol.record import Record

MOST = 8
"""How many conditions are told of."""


def because(
    subject: Subject, proposal: Proposal | None, records: Sequence[Record], expected: Expectation, seen: Seen
) -> tuple[str, ...]:
    """The conditions that are in question, a line each: `amount_above_threshold: … is true (…)`.

    Args:
        records: those of the step; what was decided in it was decided from the facts they carry.
    """
    record = next((each for each in reversed(records) if each.kind == "decision_recorded"), None)
    if proposal is None or record is None or proposal.action not in subject.domain.actions:
        return ()
    terms = terms_of(subject.domain, subject.policy, proposal.action)
    env = environment(proposal, facts_from(record.data["facts"], record.at))
    named = {*(expected.reasons or ()), *(expected.matched or ()), *seen.reasons, *seen.milder}
    known = list(_conditions(terms))
    told = [each for each in known if each[0] in named] or known
    return tuple(_line(name, condition, env) for name, condition in told[:MOST]) + tuple(_usage(record.data["facts"]))


def _conditions(terms: Terms) -> Iterator[tuple[str, Expression]]:
    if terms.precondition is not None:
        yield "condition_not_met", terms.precondition
    yield from ((bound.code, bound.condition) for bound in terms.rules)


def _line(name: str, condition: Expression, env: Env) -> str:
    label = "when" if name == "condition_not_met" else name
    try:
        value = "true" if condition(env) else "false"
    except EvaluationError as error:
        value = f"an error ({error.message})"
    leaves = ", ".join(f"{path} = {_shown(each)}" for path, each in condition.values(env).items())
    return f"{label}: {condition.text} is {value}" + (f"   ({leaves})" if leaves else "")


def _usage(facts: dict[str, Any]) -> Iterator[str]:
    for code, usage in facts.get("usage", {}).items():
        if "error" not in usage:
            scale = 10 ** MINOR_DIGITS.get(usage.get("unit", ""), 0)
            used, cap, asked = (plain(Fraction(usage[name], scale)) for name in ("used", "cap", "amount"))
            yield f"{code}: {used} of {cap} {usage.get('unit', '')}".rstrip() + f" used, {asked} asked"


def _shown(value: Any) -> str:
    return json.encode(value).decode()
