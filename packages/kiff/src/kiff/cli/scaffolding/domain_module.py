"""domain.py: what can happen to the entity, what it can be, and the domain put together."""

from __future__ import annotations

import json
from typing import Any

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
    }
    return {name: value for name, value in parts.items() if value}


def _transitions(domain: Domain) -> list[Call]:
    """One per event and target, with all its starts, in the order in which the states are declared."""
    order: dict[str | None, int] = {state: index for index, state in enumerate((None, *domain.states))}
    grouped: dict[tuple[str, str, bool], list[str]] = {}
    for (start, event), end in sorted(domain.transitions.items(), key=lambda row: order[row[0][0]]):
        starts = grouped.setdefault((event, end, start is None), [])
        starts += [start] if start else []
    return [_transition(event, end, starts) for (event, end, _), starts in grouped.items()]


def _transition(event: str, end: str, starts: list[str]) -> Call:
    named: dict[str, Any] = {"on": event}
    if starts:
        named["from_"] = starts[0] if len(starts) == 1 else tuple(starts)
    return Call("Transition", named=named | ({} if starts == [end] else {"to": end}))
