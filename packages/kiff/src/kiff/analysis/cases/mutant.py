"""Small changes to a domain or a policy, each of which lets through what it should not, or withholds what it should.

A suite that passes all the same does not prove what was changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from kiff.analysis.cases.document import Json
from kiff.analysis.cases.rewritten import rewritten
from kiff.analysis.cases.source import Source, Subject, Unloadable, domain_of, policy_of
from kiff.analysis.cases.structure import terms_of
from kiff.domain.document import expanded
from kiff.domain.expr import Expression
from kiff.domain.issue import Path as Place

_GONE: Any = object()
Change = tuple[Place, str, Json]
"""Where, what was changed, and the document after it."""


class Mutant(Struct, frozen=True):
    """One change.

    Args:
        name: what was changed: `REFUND_ORDER amount_above_threshold`.
        line: in the file.
        change: e.g. `> 50 became > 50.01`.
        action: the only action whose calls can tell; None for any.
    """

    name: str
    file: Path
    line: int
    change: str
    subject: Subject
    action: str | None = None


def mutants(subject: Subject) -> Iterator[Mutant]:
    """Every mutant that loads, in the order of the files: first of the domain, then of the policy."""
    for index, action in enumerate(subject.source.document.get("actions", ())):
        place: Place = ("actions", index)
        for where, change, document in _of_action(subject, place, action):
            changed = _domain(document)
            if changed is not None and changed.digest != subject.domain.digest:
                name = " ".join(filter(None, (action["name"], _part(action, where[2:]))))
                line = subject.source.lines[where]
                yield Mutant(name, subject.source.file, line, change, subject._replace(domain=changed), action["name"])
    if subject.policy_source is not None:
        yield from _of_policy(subject, subject.policy_source)


def _domain(document: Json) -> Any:
    try:
        return domain_of(document)
    except Unloadable:
        return None


def _of_policy(subject: Subject, source: Source) -> Iterator[Mutant]:
    for where, change, document in _of_parts(source.document, (), source.document, _policy_conditions(subject)):
        try:
            changed = policy_of(document)
        except Unloadable:
            continue
        if subject.policy is None or changed.digest != subject.policy.digest:
            name, line = _part(source.document, where), source.lines[where]
            yield Mutant(name, source.file, line, change, subject._replace(policy=changed))


def _policy_conditions(subject: Subject) -> dict[str, Expression]:
    """Rule -> its condition, over the first action of the domain that it is about."""
    found: dict[str, Expression] = {}
    for action, own in subject.domain.terms.items():
        for bound in terms_of(subject.domain, subject.policy, action).rules[len(own.rules) :]:
            found.setdefault(bound.rule.id, bound.condition)
    return found


def _part(around: Json, place: Place) -> str:
    """The id of the rule or limit that a place is in."""
    match place:
        case ("rules" | "limits" as key, int(index), *_):
            return str(around[key][index]["id"])
    return ""


def _of_action(subject: Subject, place: Place, action: Json) -> Iterator[Change]:
    document, terms = subject.source.document, subject.domain.terms[action["name"]]
    if terms.precondition is not None:
        yield from _conditions(document, (*place, "when"), terms.precondition)
        without = _put(document, (*place, "otherwise"), _GONE)
        yield (*place, "when"), "`when` was removed", _put(without, (*place, "when"), _GONE)
    conditions = {bound.rule.id: bound.condition for bound in terms.rules}
    yield from _of_parts(document, place, action, conditions)
    yield from _of_approval(document, place, action)
    allowed = expanded(document)["actions"][place[1]].get("allowed_states", ())
    for state in (each for each in subject.domain.states if each not in allowed and "allowed_states" in action):
        where = (*place, "allowed_states")
        yield where, f"{state} was allowed too", _put(document, where, [*action["allowed_states"], state])
    permissions = action.get("required_permissions", [])
    for index, permission in enumerate(permissions):
        where = (*place, "required_permissions", index)
        rest = [each for each in permissions if each != permission]
        yield where, f"{permission} was not asked for", _put(document, where[:-1], rest)


def _of_approval(document: Json, place: Place, action: Json) -> Iterator[Change]:
    if action.get("approval") == "required":
        where = (*place, "approval")
        yield where, "approval: required became never", _put(document, where, "never")
    quorum = action.get("approval_policy", {}).get("quorum", 1)
    if quorum > 1:
        where = (*place, "approval_policy", "quorum")
        yield where, f"quorum: {quorum} became {quorum - 1}", _put(document, where, quorum - 1)


def _of_parts(document: Json, place: Place, around: Json, conditions: dict[str, Expression]) -> Iterator[Change]:
    """Of the rules and limits of an action, or of a policy."""
    for index, rule in enumerate(around.get("rules", ())):
        where = (*place, "rules", index)
        if rule["id"] in conditions:
            yield from _conditions(document, (*where, "when"), conditions[rule["id"]])
        yield from _of_rule(document, where, rule)
    for index, limit in enumerate(around.get("limits", ())):
        where = (*place, "limits", index)
        doubled = limit["max"] * 2 or 1
        change = f"max: {limit['max']} became {doubled}"
        yield (*where, "max"), change, _put(document, (*where, "max"), doubled)
        yield where, "the limit was removed", _put(document, where, _GONE)


def _of_rule(document: Json, where: Place, rule: Json) -> Iterator[Change]:
    yield where, "the rule was removed", _put(document, where, _GONE)
    if rule["then"] == "deny":
        change = "then: deny became require_approval"
        yield (*where, "then"), change, _put(document, (*where, "then"), "require_approval")
    if rule.get("quorum", 1) > 1:
        change = f"quorum: {rule['quorum']} became {rule['quorum'] - 1}"
        yield (*where, "quorum"), change, _put(document, (*where, "quorum"), rule["quorum"] - 1)
    if rule.get("roles"):
        change = "anybody's yes counted, not only that of " + ", ".join(rule["roles"])
        yield (*where, "roles"), change, _put(document, (*where, "roles"), _GONE)


def _conditions(document: Json, where: Place, condition: Expression) -> Iterator[Change]:
    for change, text in rewritten(condition):
        yield where, change, _put(document, where, text)


def _put(value: Any, place: Place, new: Any) -> Any:
    """A copy with one thing in it changed, or taken out; what is not there is not taken out."""
    if not place:
        return new
    step, *rest = place
    copy: Any = value.copy()
    if rest:
        copy[step] = _put(copy.get(step, {}) if isinstance(copy, dict) else copy[step], tuple(rest), new)
    elif new is not _GONE:
        copy[step] = new
    elif isinstance(value, list) or step in copy:
        del copy[step]
    return copy
