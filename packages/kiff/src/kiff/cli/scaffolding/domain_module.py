"""domain.py: what can happen to the entity, what it can be, and the domain put together."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from kiff.cli.scaffolding.source import Call, Name, assigned
from kiff.domain import Domain

_HEAD = '''\
"""{entity}: what can happen to it and what it can be. Written by `kiff scaffold`; yours to edit."""

from __future__ import annotations

from kiff import Domain, Transition

from actions import ACTIONS
from policy import ROLES
'''


def domain_module(domain: Domain) -> str:
    """The source of domain.py."""
    final = [assigned("FINAL", domain.final)] if domain.final else []
    parts = [
        _HEAD.format(entity=domain.entity),
        assigned("EVENTS", domain.events),
        assigned("STATES", domain.states),
        *final,
        assigned("TRANSITIONS", tuple(_transitions(domain))),
        "",
        assigned("DOMAIN", Call("Domain", named=_parts(domain), spread=True)),
    ]
    return "\n".join(parts) + "\n"


def _parts(domain: Domain) -> dict[str, Any]:
    """The arguments of `Domain`; what only its content holds is read there."""
    content = json.loads(domain.content)
    parts = {
        "name": domain.name,
        "version": content.get("version"),
        "entity": domain.entity,
        "description": domain.description,
        "events": Name("EVENTS"),
        "states": Name("STATES"),
        "final": Name("FINAL") if domain.final else None,
        "transitions": Name("TRANSITIONS"),
        "actions": Name("ACTIONS"),
        "roles": Name("ROLES"),
        "audit": content.get("audit"),
        "adapters": tuple(content["adapters"]),
        "attributes": content.get("attributes"),
        "payloads": content.get("payloads"),
        "timeouts": tuple(content.get("timeouts", ())),
        "schedules": content.get("schedules"),
        "grants": tuple(content["permissions"].get("grants", ())),
        "separate": tuple(map(tuple, content["permissions"].get("separate", ()))),
    }
    return {name: value for name, value in parts.items() if value}


def _transitions(domain: Domain) -> list[Call]:
    """One per event, target, guard and what is set, with all its starts, in the order in which states are declared."""
    order: dict[str | None, int] = {state: index for index, state in enumerate((None, *domain.states))}
    grouped: dict[_Same, list[str]] = {}
    for (start, event), ways in sorted(domain.transitions.items(), key=lambda row: order[row[0][0]]):
        for way in ways:
            given = tuple((name, value.text) for name, value in way.set)
            same = _Same(event, way.to, way.when.text if way.when else "", given, start is None)
            starts = grouped.setdefault(same, [])
            starts += [start] if start else []
    return [_transition(same, starts) for same, starts in grouped.items()]


class _Same(NamedTuple):
    """What transitions share that are written as one."""

    event: str
    end: str
    when: str
    set: tuple[tuple[str, str], ...]
    first: bool


def _transition(same: _Same, starts: list[str]) -> Call:
    named: dict[str, Any] = {"on": same.event}
    if starts:
        named["from_"] = starts[0] if len(starts) == 1 else tuple(starts)
    if starts != [same.end]:
        named["to"] = same.end
    guarded = {"when": same.when, "set": dict(same.set)}
    return Call("Transition", named=named | {name: value for name, value in guarded.items() if value})
