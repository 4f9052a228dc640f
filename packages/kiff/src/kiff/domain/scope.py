"""What a condition can speak of, and of which type each part is."""

from __future__ import annotations

from collections.abc import Mapping

from kiff.domain.document import Json
from kiff.domain.expr import BOOL, INT, TIMESTAMP, Field, ListOf, Object, type_of_schema
from kiff.domain.expr.types import String, Type, Unusable

Scope = Mapping[str, Type]

_ACTOR = Object(
    {
        "id": Field(String(128)),
        "type": Field(String(16, ("human", "agent", "service"))),
        "roles": Field(ListOf(String(128), 64)),
    }
)


def entity_type_of(document: Json) -> Object:
    """`entity`: what every entity has, and the attributes that the document declares."""
    states = tuple(state for state in document.get("states", ()) if state)
    known = {"id": Field(String(128)), "version": Field(INT), "state": Field(String(64, states))}
    return Object(known | _fields(document.get("attributes", {})))


def transition_scope(document: Json, event: str, *, first: bool = False) -> Scope:
    """What the guard of a transition, and the values it sets, may read.

    Args:
        first: it begins an entity: there is no state yet, and of its attributes only what has a default.
    """
    entity = entity_type_of(document)
    if first:
        schemas = document.get("attributes", {})
        fields = {name: field for name, field in entity.fields.items() if name != "state"}
        entity = Object({name: _unless_default(field, schemas.get(name)) for name, field in fields.items()})
    payload = document.get("payloads", {}).get(event, {})
    return {"entity": entity, "event": Object(_fields(payload)), "now": TIMESTAMP}


def type_of_attribute(document: Json, name: str) -> Type | None:
    """What a value for it must be; None when its schema allows more than one type."""
    found = type_of_schema(document.get("attributes", {}).get(name))
    return None if isinstance(found, Unusable) else found


def action_scope(document: Json, action: Json, *, open: bool = False) -> Scope:
    """What the conditions of an action may read.

    Args:
        open: the conditions are written for many actions: has() may ask about parameters and attributes that this one
            does not declare, and what stands under it is meant for the others.
    """
    entity = entity_type_of(document)
    schedules = {name: Field(BOOL) for name in document.get("schedules", {})}
    return {
        "parameters": Object(_parameters(action), open=open, one_of_many=open),
        "entity": Object(entity.fields, open=open, one_of_many=open),
        "actor": _ACTOR,
        "schedule": Object(schedules),
        "now": TIMESTAMP,
    }


def _parameters(action: Json) -> dict[str, Field]:
    """A required parameter is there; one that is only described may not be."""
    required = action.get("required_parameters", ())
    described = action.get("parameters", {})
    names = dict.fromkeys((*(name for name in required if name), *described))
    return {
        name: Field(
            type_of_schema(described.get(name)), name not in required, bool(described.get(name, {}).get("sensitive"))
        )
        for name in names
    }


def _unless_default(field: Field, schema: Json | None) -> Field:
    return field if schema is None or "default" in schema else field._replace(optional=True)


def _fields(schemas: Mapping[str, Json]) -> dict[str, Field]:
    return {name: Field(type_of_schema(each), bool(each.get("optional"))) for name, each in schemas.items()}
