"""Whether the parts of a test file fit together, and fit the domain: the questions its schema cannot ask.

One question = one function, about a document of the right shape (see `kiff.domain.problems`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kiff.analysis.cases.document import Json
from kiff.domain import Domain
from kiff.domain.issue import Finding, Path, did_you_mean, shown
from kiff.domain.policy import Policy
from kiff.domain.terms import Terms
from kiff.errors import InvalidInput
from kiff.protocol.authority import AUTHOR
from kiff.protocol.instant import parse_rfc3339

VERBS = ("propose", "grant", "deny", "cancel", "expire", "wait", "execute", "event")
OWN = ("state", "id", "version")
"""What is no attribute of an entity."""

Named = tuple[Path, str, Any]
"""Where something is used, under which key, and what is written there."""


def structure(domain: Domain, policy: Policy | None) -> Callable[[Json], list[Finding]]:
    """What is asked about a test file of this domain."""

    def asked(document: Json) -> list[Finding]:
        return [
            *_instants(document),
            *_names(document),
            *_cases(document),
            *_steps(document),
            *_actors(document, domain),
            *_entities(document, domain),
            *_states(document, domain),
            *_actions(document, domain),
            *_limits(document, domain, policy),
        ]

    return asked


def written_cases(document: Json) -> Iterator[tuple[Path, Json]]:
    return ((("cases", i), each) for i, each in enumerate(document.get("cases", ())) if isinstance(each, dict))


def written_rows(document: Json) -> Iterator[tuple[Path, Json]]:
    return ((("matrix", i), each) for i, each in enumerate(document.get("matrix", ())) if isinstance(each, dict))


def written_steps(path: Path, case: Json) -> Iterator[tuple[Path, Json]]:
    return (((*path, "then", i), each) for i, each in enumerate(case.get("then", ())) if isinstance(each, dict))


def _calls(document: Json) -> Iterator[tuple[Path, Json, Json]]:
    """Every call with what is expected of it; rows of a matrix are calls too."""
    for path, case in written_cases(document):
        if isinstance(case.get("propose"), dict):
            yield (*path, "propose"), case["propose"], case.get("expect", {})
        for where, step in written_steps(path, case):
            if isinstance(step.get("propose"), dict):
                yield (*where, "propose"), step["propose"], step.get("expect", {})
    for path, row in written_rows(document):
        outcomes = [each for of_actor in row.get("expect", {}).values() for each in of_actor.values()]
        yield path, row, {"outcome": "invalid" if "invalid" in outcomes else ""}


def _uses(document: Json) -> Iterator[Named]:
    """Every place where an actor (`as`, `by`) or an entity (`on`) is named or written out."""
    for path, call, _ in _calls(document):
        yield from (((*path, key), key, call[key]) for key in ("as", "on") if key in call)
    for path, case in written_cases(document):
        for where, step in written_steps(path, case):
            for verb in VERBS:
                yield from _used_by(step.get(verb), (*where, verb), verb)
    for path, row in written_rows(document):
        for actor, outcomes in row.get("expect", {}).items():
            yield (*path, "expect", actor), "as", actor
            yield from (((*path, "expect", actor, entity), "on", entity) for entity in outcomes)


def _used_by(given: Any, path: Path, verb: str) -> Iterator[Named]:
    if verb in ("grant", "deny", "cancel") and isinstance(given, str):
        yield path, "by", given
    elif verb != "propose" and isinstance(given, dict):
        yield from (((*path, key), key, given[key]) for key in ("by", "on") if key in given)


def _written_actors(document: Json) -> Iterator[tuple[Path, Json]]:
    yield from ((("actors", name), each) for name, each in document.get("actors", {}).items())
    yield from ((path, given) for path, key, given in _uses(document) if key != "on" and isinstance(given, dict))


def _written_entities(document: Json) -> Iterator[tuple[Path, Json]]:
    yield from ((("entities", name), each) for name, each in document.get("entities", {}).items())
    yield from ((path, given) for path, key, given in _uses(document) if key == "on" and isinstance(given, dict))


def _instants(document: Json) -> Iterator[Finding]:
    """Is every time one, with a zone?"""
    given: list[tuple[Path, str | None]] = [(("now",), document.get("now"))]
    given += [((*path, "at"), call.get("at")) for path, call, _ in _calls(document)]
    for path, text in given:
        try:
            parse_rfc3339(text or "2026-01-01T00:00:00Z", field="it")
        except InvalidInput:
            message = f"expected a time with a zone, found {shown(text)}"
            yield Finding(path, "malformed", message, "write it like 2026-11-18T15:00:00Z")


def _names(document: Json) -> Iterator[Finding]:
    """Is every actor and every entity that is named there?"""
    for path, key, given in _uses(document):
        noun, of = ("entity", "entities") if key == "on" else ("actor", "actors")
        known = document.get(of, {})
        if isinstance(given, str) and given and given not in known:
            fix = did_you_mean(given, known) or f"add it to `{of}`"
            yield Finding(path, f"unknown_{noun}", f"{shown(given)} is not among the {of} of this file", fix)


def _cases(document: Json) -> Iterator[Finding]:
    """Does every case have a name of its own, and something that happens?"""
    seen: set[str] = set()
    for path, case in written_cases(document):
        name = case.get("name", "")
        if name in seen:
            yield Finding((*path, "name"), "duplicate_name", f"another case is called {shown(name)} already")
        seen.add(name)
        if "propose" not in case and not case.get("then"):
            message = f"nothing happens in {shown(name)}"
            yield Finding(path, "empty_case", message, "give it `propose`, or steps in `then`")
        for key in ("expect", "given"):
            if key in case and "propose" not in case:
                message = f"`{key}` is about the call of `propose`, and there is none"
                yield Finding((*path, key), "no_call", message, "write `propose`, or the `expect` of a step")


def _steps(document: Json) -> Iterator[Finding]:
    """Does every step do one thing, and look at something?"""
    for path, case in written_cases(document):
        for where, step in written_steps(path, case):
            given = [verb for verb in VERBS if verb in step]
            if len(given) > 1:
                message = f"expected one thing in a step, found {' and '.join(f'`{verb}`' for verb in given)}"
                yield Finding(where, "many_verbs", message, "make them steps of their own")
            elif not given and "expect" not in step:
                message = "expected a step, found nothing that happens"
                yield Finding(where, "empty_step", message, f"a step is one of {', '.join(VERBS)}, or an `expect`")
            elif step.get("expire") is False:
                yield Finding((*where, "expire"), "not_one_of", "expected `true`, found `false`", "remove the step")
        yield from _somewhere(path, case)


def _somewhere(path: Path, case: Json) -> Iterator[Finding]:
    """Is it told to what an event happens?"""
    is_told = "propose" in case
    for where, step in written_steps(path, case):
        event = step.get("event")
        if isinstance(event, dict) and not is_told and "on" not in event:
            message = "the event happens to no entity: there was no call before"
            yield Finding((*where, "event"), "no_entity", message, "write `on`: the name of an entity")
        is_told = is_told or isinstance(event, dict) or isinstance(step.get("propose"), dict)


def _actors(document: Json, domain: Domain) -> Iterator[Finding]:
    """Are the roles those of the domain?"""
    for path, actor in _written_actors(document):
        for index, role in enumerate(actor.get("roles", ())):
            if role and role not in domain.roles and role != AUTHOR:
                fix = did_you_mean(role, domain.roles) or f"roles of {domain.name}: {', '.join(domain.roles)}"
                yield Finding((*path, "roles", index), "unknown_role", f"the domain has no role {shown(role)}", fix)


def _entities(document: Json, domain: Domain) -> Iterator[Finding]:
    """Are the attributes those of the domain, with values that its schemas admit?"""
    for path, entity in _written_entities(document):
        attributes = {name: value for name, value in entity.items() if name not in OWN}
        unknown = [name for name in attributes if name not in domain.attributes]
        for name in unknown:
            fix = did_you_mean(name, (*domain.attributes, *OWN)) or "declare it under `attributes` of the kiff.yaml"
            yield Finding((*path, name), "unknown_attribute", f"the domain has no attribute {shown(name)}", fix)
        if "state" not in entity and attributes:
            message = "it has attributes and no state: nothing has happened to it, so it has neither"
            yield Finding(path, "missing_key", message, "write its `state`")
        known = {name: value for name, value in attributes.items() if name not in unknown}
        for _, detail in domain.attribute_check(known):
            name = str(detail["parameter"])
            found = attributes.get(name.split(".")[0].split("[")[0])
            yield Finding((*path, name), "wrong_attribute", f"expected {detail.get('expected')}, found {shown(found)}")


def _states(document: Json, domain: Domain) -> Iterator[Finding]:
    """Is every state one of the domain's?"""
    used = [((*path, "state"), entity.get("state")) for path, entity in _written_entities(document)]
    for path, case in written_cases(document):
        for where, part in ((path, case), *written_steps(path, case)):
            used.append(((*where, "expect", "state"), part.get("expect", {}).get("state")))
    for path, state in used:
        if state and state not in domain.states:
            fix = did_you_mean(state, domain.states) or f"states of {domain.name}: {', '.join(domain.states)}"
            yield Finding(path, "unknown_state", f"the domain has no state {shown(state)}", fix)


def _actions(document: Json, domain: Domain) -> Iterator[Finding]:
    """Is every action one of the domain's, unless a case shows that another one is none?"""
    for path, call, expect in _calls(document):
        action = call.get("action")
        if action and action not in domain.actions and expect.get("outcome") != "invalid":
            fix = did_you_mean(action, domain.actions) or f"actions of {domain.name}: {', '.join(domain.actions)}"
            yield Finding((*path, "action"), "unknown_action", f"the domain has no action {shown(action)}", fix)


def _limits(document: Json, domain: Domain, policy: Policy | None) -> Iterator[Finding]:
    """Is every limit of `given` one of the action that is called?"""
    for path, case in written_cases(document):
        action = case.get("propose", {}).get("action")
        used = case.get("given", {}).get("used", {})
        if action in domain.actions and used:
            limits = {bound.code: bound.limit for bound in terms_of(domain, policy, action).limits}
            for code in used:
                where = (*path, "given", "used", code)
                if code not in limits:
                    fix = did_you_mean(code, limits) or f"limits of {action}: {', '.join(limits) or 'none'}"
                    yield Finding(where, "unknown_limit", f"{shown(action)} has no limit {shown(code)}", fix)


def terms_of(domain: Domain, policy: Policy | None, action: str) -> Terms:
    """What an action asks, with what the policy adds."""
    return domain.terms[action] if policy is None else policy.over(domain, action)
