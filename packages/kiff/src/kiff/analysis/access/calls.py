"""What one version of a domain lets through that another does not, each with a call that shows it.

Both gates are asked about the same calls: those at which either of them turns (`boundaries`). What is found is so;
that nothing was found is no proof (`kiff.analysis.prove` gives one).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal, NamedTuple

from msgspec import Struct, json, structs

from kiff.analysis.access.carried import cap, carried
from kiff.analysis.access.review_terms import unmet, weaker_review
from kiff.analysis.boundaries.candidate import Candidate, as_test, ask
from kiff.analysis.boundaries.candidates import candidates
from kiff.domain import Domain
from kiff.domain.terms import Terms
from kiff.errors import InvalidInput
from kiff.gate.quorum import asked_for
from kiff.protocol.decision import Decision

Kind = Literal["new_access", "approvable", "fewer_people", "weaker_review"]
KINDS: tuple[Kind, ...] = ("new_access", "approvable", "fewer_people", "weaker_review")
"""Worst first: it runs and did not; a person may let it through and nobody could; fewer or other people are asked;
a yes is held to less."""
CALLS = 2_000
"""How many calls of one action are tried."""
MOST_CALLS = 20_000
"""How many calls of all actions together."""


class Access(Struct, frozen=True):
    """One way in which `after` lets through more than `before`.

    Args:
        reason: the reason code that stood against it before, or why people were asked.
        before, after: what the two gates answer.
        message: the change in a sentence.
    """

    kind: Kind
    action: str
    reason: str
    message: str
    before: Decision
    after: Decision
    candidate: Candidate


class Pair(NamedTuple):
    """One call under both versions."""

    candidate: Candidate
    before: Decision
    after: Decision


def access(before: Domain, after: Domain, *, calls: int = CALLS, most: int = MOST_CALLS) -> list[Access]:
    """Everything that was found, worst first; one for each reason.

    Args:
        calls: how many calls of one action are tried.
        most: of all actions together.

    Raises:
        InvalidInput: they govern different entity types.
    """
    comparable(before, after)
    changed = changed_actions(before, after)
    calls = min(calls, most // max(len(changed), 1))
    found = [each for action in changed for each in access_to(before, after, action, calls=calls)]
    return sorted(found, key=lambda each: KINDS.index(each.kind))


def changed_actions(before: Domain, after: Domain) -> list[str]:
    """The actions of `after` that can be decided otherwise: with the same words in the same world, none is."""
    old, new = json.decode(before.content), json.decode(after.content)
    written = {each["name"]: each for each in old["actions"]}
    same_world = all(old.get(part) == new.get(part) for part in _WORLD) and before.schedules == after.schedules
    changed = (each["name"] for each in new["actions"] if not same_world or written.get(each["name"]) != each)
    return list(dict.fromkeys((*changed, *(name for name in after.actions if _asks_else(before, after, name)))))


def _asks_else(before: Domain, after: Domain, action: str) -> bool:
    """Whether an action has other rules or limits, wherever they come from."""
    if action not in before.terms:
        return True
    old, new = ((*terms.rules, *terms.limits) for terms in (before.terms[action], after.terms[action]))
    return [each[:2] for each in old] != [each[:2] for each in new]


_WORLD = ("states", "attributes", "permissions")
"""What every action of a domain reads, beside its schedules."""


def comparable(before: Domain, after: Domain) -> None:
    """
    Raises:
        InvalidInput: they govern different entity types.
    """
    if before.entity_type != after.entity_type:
        message = f"expected two versions for one entity type, found `{before.entity}` and `{after.entity}`"
        raise InvalidInput(message, field="entity")


def access_to(before: Domain, after: Domain, action: str, *, calls: int = CALLS) -> list[Access]:
    """The same for one action of `after`."""
    tried = list(candidates(after, action, limit=calls, besides=(before,)))
    pairs = [pair(before, after, each) for each in tried]
    pairs += [pair(before, after, each) for each in _strained(before, after, pairs)]
    return [*told(pairs), *_review(before, after, pairs)]


def pair(before: Domain, after: Domain, candidate: Candidate) -> Pair:
    """What both gates say to one call.

    A parameter that `before` has no word for is left out there: that it came to be is no access by itself. Counts
    that a limit of `after` cannot have taken over are nothing there.
    """
    old, new = candidate, candidate
    contract = before.actions.get(candidate.action)
    if contract is not None and contract.parameters is not None:
        known = {*contract.required_parameters, *contract.parameters}
        old = structs.replace(old, parameters={k: v for k, v in candidate.parameters.items() if k in known})
    if contract is not None and candidate.used:
        terms = before.terms[candidate.action], after.terms[candidate.action]
        new = structs.replace(new, used=carried(*terms, candidate.used))
    return Pair(candidate, ask(before, old), ask(after, new))


def told(pairs: Iterable[Pair]) -> list[Access]:
    """The fewest calls that show everything in which `after` lets through more. Simple causes are told, not unions."""
    loose = [(kind, each) for each in pairs if (kind := loosened(each.before, each.after)) is not None]
    loose.sort(key=lambda told: (KINDS.index(told[0]), *_intricacy(told[1].before)))  # otherwise as they came
    found: dict[_Cause, Access] = {}
    for kind, each in loose:
        causes = _causes(each, kind)
        if not any(_shown_by(cause, causes) for cause in found):
            found[causes[0]] = _access(kind, each)
    return list(found.values())


def _intricacy(decision: Decision) -> tuple[bool, int]:
    """What has fewer reasons is told first; that something could not be told, last."""
    return any(each.code == "policy_error" for each in decision.objections), len(decision.objections)


def loosened(before: Decision, after: Decision) -> Kind | None:
    """How the second answer lets more through than the first."""
    if after.outcome == "allowed":
        return None if before.outcome == "allowed" else "new_access"
    if after.outcome != "approval_required" or before.outcome == "allowed":
        return None
    if before.outcome != "approval_required":
        return "approvable"
    return "fewer_people" if unmet(before.demands, after.demands) else None


class _Cause(NamedTuple):
    """A reason, and what of the call it turned on; nothing, where it is the reason alone that counts."""

    code: str
    of: frozenset[str] = frozenset()


def _causes(each: Pair, kind: Kind) -> list[_Cause]:
    """What stood against it before."""
    if kind == "fewer_people":
        return [_Cause(demand.rule) for demand in unmet(each.before.demands, each.after.demands)]
    still = {objection.code for objection in each.after.objections}
    found = []
    for objection in each.before.objections:
        match objection.code:
            case "permission_denied":
                found.append(_Cause(objection.code, frozenset(each.candidate.roles)))
            case "state_not_allowed":
                found.append(_Cause(objection.code, frozenset((each.candidate.state,))))
            case "invalid_parameter" | "missing_parameter":
                found.append(_Cause(objection.code, frozenset((str(objection.detail["parameter"]),))))
            case "policy_error":
                found.append(_Cause(objection.code, frozenset((str(objection.detail["rule"]),))))
            case code if objection.outcome != "approval_required" or code not in still:
                found.append(_Cause(code))
    return found or [_Cause(each.before.reason)]


def _shown_by(known: _Cause, causes: list[_Cause]) -> bool:
    """Whether a call shows nothing but what a simpler one showed. A rule that fails is that rule."""
    same = any(known.code == cause.code and known.of <= cause.of for cause in causes)
    rule = "when" if known.code == "condition_not_met" else known.code
    return same or any(cause.code == "policy_error" and rule in cause.of for cause in causes)


def _access(kind: Kind, each: Pair) -> Access:
    demands = unmet(each.before.demands, each.after.demands) if kind == "fewer_people" else ()
    reason = demands[0].rule if demands else each.before.reason
    return Access(kind, each.candidate.action, reason, _said(kind, reason, each), *each[1:], each.candidate)


def _said(kind: Kind, reason: str, each: Pair) -> str:
    action, state = each.candidate.action, each.candidate.state
    detail = each.before.objections[0].detail if each.before.objections else {}
    about = detail.get("parameter") or detail.get("rule")
    reason = f"{reason} `{about}`" if about and reason == each.before.reason else reason
    if kind == "new_access":
        return f"`{action}` runs in {state} where it was {_PAST[each.before.outcome]}: {reason}"
    if kind == "approvable":
        return f"a person may let `{action}` through in {state} where it was refused: {reason}"
    old, new = (asked_for(answer.demands) for answer in (each.before, each.after))
    fewer = f"{new} of {old} people are asked" if new < old else "other people may say yes"
    return f"`{action}` asks for less in {state}: {fewer}, as `{reason}` demanded"


_PAST = {
    "approval_required": "held for a person",
    "limit_exceeded": "over a cap",
    "blocked": "blocked",
    "invalid": "refused",
}


def _strained(before: Domain, after: Domain, pairs: list[Pair]) -> Iterator[Candidate]:
    """Calls that go through in both versions, with a limit of `before` used up, or another operation on the entity."""
    both = [each.candidate for each in pairs if each.before.outcome == each.after.outcome == "allowed"]
    both += [each.candidate for each in pairs if each.before.outcome == each.after.outcome == "approval_required"]
    for candidate in islice(both, 4):
        yield structs.replace(candidate, busy=True)
        terms: Terms = before.terms[candidate.action]
        for bound in terms.limits:
            for used in dict.fromkeys((cap(bound), max(cap(bound) - 1, 0))):
                yield structs.replace(candidate, used={bound.code: used})


def _review(before: Domain, after: Domain, pairs: list[Pair]) -> Iterator[Access]:
    """Where both ask a person, what the yes is held to."""
    for each in pairs:
        if each.before.outcome == each.after.outcome == "approval_required":
            action = each.candidate.action
            for said in weaker_review(before, after, action):
                message = f"the approval of `{action}` is held to less: {said}"
                yield Access("weaker_review", action, each.before.reason, message, *each[1:], each.candidate)
            return


def access_json(before: Domain, found: Access) -> dict[str, Any]:
    """As commands and the wire tell it. `case` is a test file: it expects what `before` answers; `after` fails it."""
    test = as_test(before, found.candidate, found.before, f"{found.action}: {found.reason}")
    return {
        "kind": found.kind,
        "action": found.action,
        "reason": found.reason,
        "message": found.message,
        "before": _answer(found.before),
        "after": _answer(found.after),
        "case": test,
    }


def _answer(decision: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {"outcome": decision.outcome, "reasons": [each.code for each in decision.objections]}
    return told | ({"people": asked_for(decision.demands)} if decision.demands else {})
