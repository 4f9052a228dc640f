"""What an author says must always hold, as a line of text, and whether it does.

    parameters.amount > 50 => withheld
    REFUND_ORDER: entity.currency != "USD" => blocked
    no path to REFUNDED without approval            (or: REFUNDED needs approval)

A condition holds for every action that has what it names, or for the one that is named. It is about calls that fit
their schemas, from states where the action may start, by callers who may propose it, with nothing else going on and
nothing counted towards limits: whatever else there is can only withhold more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct, json

from kiff.analysis.boundaries.candidate import Candidate, as_test, ask, env_of
from kiff.analysis.boundaries.candidates import candidates
from kiff.analysis.prove.paths import unapproved_path
from kiff.analysis.prove.remark import Remark
from kiff.analysis.prove.rules import REALS, unknown
from kiff.analysis.prove.showing import Proved, Undecided
from kiff.analysis.prove.smt import SECONDS, Term
from kiff.analysis.prove.study import Study, says
from kiff.analysis.prove.translate import truth
from kiff.domain import Domain
from kiff.domain.expr import Expression, ExpressionError, compile
from kiff.domain.issue import shown
from kiff.domain.scope import action_scope
from kiff.errors import InvalidInput
from kiff.protocol.decision import Decision

Expected = Literal["allowed", "withheld", "approval_required", "blocked"]
EXPECTED: tuple[Expected, ...] = ("allowed", "withheld", "approval_required", "blocked")
BROKEN = "invariant_broken"
_PATH = re.compile(r"no\s+path\s+to\s+(\S+)\s+without\s+approval|(\S+)\s+needs\s+approval")
_NAMED = re.compile(r"([A-Za-z][\w.-]*)\s*:(.*)", re.S)


class Invariant(Struct, frozen=True):
    """
    Args:
        text: as it was written.
        state: that is never reached without an approval; empty for a condition.
        action: the one it is about; empty for every action that has what the condition names.
        condition: the expression.
        expected: what a call gets for which it is true.
    """

    text: str
    state: str = ""
    action: str = ""
    condition: str = ""
    expected: Expected = "withheld"


def parse(text: str) -> Invariant:
    """
    Raises:
        InvalidInput: it is no invariant.
    """
    text = " ".join(text.split())
    if found := _PATH.fullmatch(text):
        return Invariant(text, state=found[1] or found[2])
    condition, arrow, expected = (part.strip() for part in text.rpartition("=>"))
    if not arrow or expected not in EXPECTED or not condition:
        message = f"`{text}` is no invariant: expected `condition => {' | '.join(EXPECTED)}`"
        raise InvalidInput(f"{message}, or `no path to STATE without approval`", field="invariant")
    named = _NAMED.fullmatch(condition)
    if named is None:
        return Invariant(text, condition=condition, expected=expected)
    return Invariant(text, action=named[1], condition=named[2].strip(), expected=expected)


def prove(domain: Domain, invariant: Invariant, seconds: float = SECONDS) -> list[Remark]:
    """What there is to say about an invariant: nothing, when it is proved.

    Raises:
        InvalidInput: it does not fit the domain; or z3 is not installed.
    """
    if invariant.state:
        return unapproved_path(domain, invariant.state, seconds)
    results = (_proved(domain, *each, invariant, seconds) for each in asked(domain, invariant))
    return [each for each in results if each is not None]


def broken_by(domain: Domain, invariant: Invariant, *, calls: int = 1_000) -> list[Remark]:
    """The same by trying calls, without a solver: what is found is so; nothing found is no proof.

    Raises:
        InvalidInput: it does not fit the domain, or is about a path, which takes a solver.
    """
    if invariant.state:
        raise InvalidInput(f"{_quoted(invariant)} takes a proof: `kiff check --prove`", field="invariant")
    found = []
    for action, expression in asked(domain, invariant):
        tried = candidates(domain, action, limit=calls, asking=(expression,))
        broken = next((each for each in tried if breaks(domain, invariant, expression, each)), None)
        if broken is not None:
            found.append(_remark(domain, invariant, broken))
    return found


def asked(domain: Domain, invariant: Invariant) -> Iterator[tuple[str, Expression]]:
    """The actions that an invariant is about, each with its condition.

    Raises:
        InvalidInput: there is no such action, or the condition fits none.
    """
    document = json.decode(domain.content)
    actions = {each["name"]: each for each in document["actions"]}
    if invariant.action and invariant.action not in actions:
        raise InvalidInput(f"expected an action of the domain, found {shown(invariant.action)}", field="invariant")
    names = [invariant.action] if invariant.action else list(actions)
    wrong: list[str] = []
    found = 0
    for name in names:
        try:
            expression = compile(invariant.condition, action_scope(document, actions[name]))
        except ExpressionError as error:
            wrong.append(str(error))
            continue
        found += 1
        yield name, expression
    if not found:
        raise InvalidInput(f"{_quoted(invariant)} fits no action: {_first(wrong)}", field="invariant")


def _first(wrong: Sequence[str]) -> str:
    return wrong[0] if wrong else "the domain has none"


def breaks(domain: Domain, invariant: Invariant, expression: Expression, candidate: Candidate) -> bool:
    """Whether a call shows that an invariant does not hold."""
    if candidate.state not in domain.actions[candidate.action].allowed_states or candidate.used or candidate.busy:
        return False
    decision = ask(domain, candidate)
    if any(each.outcome == "invalid" or each.code == "permission_denied" for each in decision.objections):
        return False
    return says(expression, env_of(domain, candidate)) == "true" and not is_as(invariant.expected, decision)


def _quoted(invariant: Invariant) -> str:
    return f"`{invariant.text}`"


def is_as(expected: Expected, decision: Decision) -> bool:
    """Whether a decision is what was expected: `blocked` is one that no person can let through."""
    if expected == "withheld":
        return decision.outcome != "allowed"
    if expected == "blocked":
        return decision.outcome not in ("allowed", "approval_required")
    return decision.outcome == expected


def _proved(domain: Domain, action: str, expression: Expression, invariant: Invariant, seconds: float) -> Remark | None:
    study = Study(domain, action, seconds, (expression,))
    said = truth(expression.node, study.world)
    formula = study.world.z3.And(said.true, study.call.unburdened, _otherwise(study, invariant.expected))
    found = study.possible(formula, lambda probe: breaks(domain, invariant, expression, probe.candidate), when=False)
    if isinstance(found, Proved):
        return None
    if isinstance(found, Undecided):
        return unknown(BROKEN, (), f"{_quoted(invariant)} holds for {shown(action)}", found)
    return _remark(domain, invariant, found, REALS if study.world.has_numbers else "")


def _otherwise(study: Study, expected: Expected) -> Term:
    z3, call = study.world.z3, study.call
    if expected == "withheld":
        return call.allowed
    met = {"allowed": call.allowed, "approval_required": call.held, "blocked": call.refused}
    return z3.Not(met[expected])


def _remark(domain: Domain, invariant: Invariant, candidate: Candidate, more: str = "") -> Remark:
    decision = ask(domain, candidate)
    reason = f"{_quoted(invariant)} does not hold: {shown(candidate.action)} is {decision.outcome}"
    example = as_test(domain, candidate, decision, f"breaks: {invariant.text}")
    return Remark(BROKEN, "error", (), reason + more, "tighten the rules, or mend the invariant", example)
