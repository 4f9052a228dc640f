"""The format of a test file as one JSON Schema (2020-12), published as spec/schemas/test-v1.json.

The one source: the loader reads `CASES` itself, and the published file is made from it.
"""

from __future__ import annotations

import json
from typing import Any

from kiff.domain.schema import SCHEMA


def cases_schema_json() -> str:
    """The published text of the schema."""
    return json.dumps(CASES, indent=2, ensure_ascii=False) + "\n"


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _object(title: str, description: str, required: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {"title": title, "description": description, "type": "object"}
    must = {"required": list(required)} if required else {}
    return shape | {"additionalProperties": False} | must | {"properties": properties}


def _free(title: str, description: str) -> dict[str, Any]:
    return {"title": title, "description": description, "type": "object"}


def _text(title: str, description: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "description": description, "type": "string", "minLength": 1, **more}


def _yes(title: str, description: str) -> dict[str, Any]:
    return {"title": title, "description": description, "type": "boolean"}


def _names(description: str, of: str = "name") -> dict[str, Any]:
    return {"description": description, "type": "array", "items": _ref(of)}


def _by_name(title: str, description: str, of: str) -> dict[str, Any]:
    of_each = {"propertyNames": _ref("name"), "additionalProperties": _ref(of)}
    return {"title": title, "description": description, "type": "object", **of_each}


def _name_or(of: str, title: str, description: str) -> dict[str, Any]:
    return {"title": title, "description": description, "anyOf": [_ref("name"), _ref(of)]}


_ACTOR = _object(
    "actor",
    "Who acts, with which roles of the domain.",
    ("type",),
    id=_ref("id") | {"description": "What KIFF knows it by; its name here, when not given."},
    type={
        "title": "Type",
        "description": "human, agent or service.",
        "type": "string",
        "enum": ["human", "agent", "service"],
    },
    roles=_names("Roles of the domain; none, when not given."),
    person=_ref("id") | {"description": "Whose decisions its own count for: of an agent, its owner."},
)

_ENTITY: dict[str, Any] = {
    "title": "entity",
    "description": "Where an entity stands when a case begins. All other keys are its attributes.",
    "type": "object",
    "properties": {
        "state": _ref("name") | {"description": "A state; when not given, nothing has happened to it yet."},
        "id": _ref("id") | {"description": "Its id; its name here, when not given."},
        "version": {
            "title": "Version",
            "description": "How many events it took in.",
            "default": 1,
            "type": "integer",
            "minimum": 0,
        },
    },
}

_CALL = _object(
    "call",
    "Somebody proposes an action on an entity.",
    ("action", "as", "on"),
    action=_ref("name") | {"description": "The action, e.g. REFUND_ORDER."},
    **{"as": _name_or("actor", "As", "Who proposes: the name of an actor, or one written out.")},
    on=_name_or("entity", "On", "On what: the name of an entity, or one written out."),
    parameters=_free("Parameters", "What the action is called with."),
    mode={
        "title": "Mode",
        "description": "execute: KIFF runs it (a stand-in answers). decide: the app does. When not given: execute, if "
        "the contract names an executor.",
        "type": "string",
        "enum": ["execute", "decide"],
    },
    at=_ref("instant") | {"description": "When; now, when not given."},
    with_approval=_yes("With approval", "Name the last approval of the case, whatever call it was asked for."),
)

_EXPECT = _object(
    "expectation",
    "What must come of a step. What is not named is not looked at.",
    outcome={
        "title": "Outcome",
        "description": "What the gate says.",
        "type": "string",
        "enum": ["allowed", "approval_required", "limit_exceeded", "blocked", "invalid"],
    },
    reasons=_names("Every reason for this outcome, the primary one first; milder ones are left out.", of="code"),
    matched=_names("Every rule whose condition held, in any order.", of="code"),
    shadow=_names("Every rule in shadow mode whose condition held, in any order.", of="code"),
    quorum=_ref("count") | {"description": "How many people the approval takes."},
    roles=_names("Whose yes the rules ask for, in any order."),
    message=_text("Message", "Part of what the caller is told."),
    error=_ref("code") | {"description": "The code with which the step is refused, e.g. proposer_is_reviewer."},
    status={
        "title": "Status",
        "description": "How the operation ended, or how the approval stands.",
        "type": "string",
        "enum": ["succeeded", "failed", "cancelled", "unknown", "pending", "granted", "denied"],
    },
    state=_ref("name") | {"description": "Where the entity is after the step."},
    attributes=_free("Attributes", "Attributes of the entity after the step."),
)

_REVIEW = _object(
    "review",
    "A person answers the last approval.",
    ("by",),
    by=_name_or("actor", "By", "Who answers."),
    reason=_text("Reason", "Why."),
)

_EVENTS = {
    "title": "Events",
    "description": "What the executor reports: names, or {type, payload}. When not given: what the contract emits.",
    "type": "array",
    "items": {
        "title": "Event",
        "description": "A name, or {type, payload}.",
        "anyOf": [
            _ref("name"),
            _object(
                "reported event",
                "An event with its payload.",
                ("type",),
                type=_ref("name"),
                payload=_free("Payload", "What it says."),
            ),
        ],
    },
}

_REPORT = _object(
    "report",
    "How the operation of the call ended.",
    ("status",),
    status={
        "title": "Status",
        "description": "How it ended.",
        "type": "string",
        "enum": ["succeeded", "failed", "unknown", "cancelled"],
    },
    message=_text("Message", "What is said about it."),
    events=_EVENTS,
    by=_name_or("actor", "By", "Who reports; whoever ran it, when not given."),
)

_EVENT = _object(
    "event",
    "Something happened to an entity.",
    ("type",),
    type=_ref("name") | {"description": "The event, e.g. ORDER_PAID."},
    payload=_free("Payload", "What it says."),
    on=_name_or("entity", "On", "To what; the entity of the last call, when not given."),
    by=_name_or("actor", "By", "Who brings it; somebody who may, when not given."),
)


def _review(title: str, description: str) -> dict[str, Any]:
    return _name_or("review", title, description)


_STEP = _object(
    "step",
    "What happens next: one thing, and what must come of it.",
    propose={
        "title": "Propose",
        "description": "again: the same call once more, with its approval. Or another call.",
        "anyOf": [_ref("again"), _ref("call")],
    },
    grant=_review("Grant", "Somebody says yes: an actor, or {by, reason}."),
    deny=_review("Deny", "Somebody says no."),
    cancel=_review("Cancel", "Whoever asked takes the question back."),
    expire=_ref("true") | {"description": "Time moves on to where the approval, or its grant, expires."},
    wait=_ref("duration") | {"description": "Time moves on, e.g. 2h; what is due on the way happens."},
    execute=_ref("report"),
    event=_ref("event"),
    expect=_ref("expectation"),
)

_GIVEN = _object(
    "given",
    "What else is so when a case begins.",
    used={
        "title": "Used",
        "description": "Limit -> how much of it is used already: for the call's key, in the unit of its max.",
        "type": "object",
        "propertyNames": _ref("code"),
        "additionalProperties": {
            "title": "Used",
            "description": "A count or an amount.",
            "type": "number",
            "minimum": 0,
        },
    },
    busy=_yes("Busy", "Another operation is in flight on the entity."),
)

_CASE = _object(
    "case",
    "A call in a fresh world, and what must come of it.",
    ("name",),
    name=_text("Name", "What it shows; no two of a file have the same.", maxLength=200),
    given=_ref("given"),
    propose=_ref("call"),
    expect=_ref("expectation"),
    then={"title": "Then", "description": "What happens after it.", "type": "array", "items": _ref("step")},
)

_MATRIX = _object(
    "matrix row",
    "One action, tried by several actors on several entities.",
    ("action", "expect"),
    action=_ref("name") | {"description": "The action."},
    parameters=_free("Parameters", "What it is called with."),
    mode=_CALL["properties"]["mode"],
    at=_CALL["properties"]["at"],
    expect={
        "title": "Expect",
        "description": "Actor -> entity -> outcome. Each is a case of its own.",
        "type": "object",
        "propertyNames": _ref("name"),
        "additionalProperties": {
            "title": "Outcomes",
            "description": "Entity -> outcome.",
            "type": "object",
            "propertyNames": _ref("name"),
            "additionalProperties": _EXPECT["properties"]["outcome"],
        },
    },
)

CASES: dict[str, Any] = {
    "$schema": SCHEMA["$schema"],
    "$id": "https://kiff.dev/schemas/test-v1.json",
    **_object(
        "test file",
        "What must come of calls: each case is decided by KIFF's own kernel, in a world of its own, without effects.",
        spec=SCHEMA["properties"]["spec"],
        domain=_text("Domain", "The kiff.yaml, from this file's folder, or the slug of the one beside it or above."),
        policy=_text("Policy", "An organisation policy that holds as well: its file, from this file's folder."),
        description={"title": "Description", "description": "For people.", "type": "string"},
        now=_ref("instant")
        | {"description": "What the time is when a case begins.", "default": "2026-06-11T13:00:00Z"},
        actors=_by_name("Actors", "Name -> who acts.", "actor"),
        entities=_by_name("Entities", "Name -> an entity as a case finds it.", "entity"),
        cases={"title": "Cases", "description": "The cases.", "type": "array", "items": _ref("case")},
        matrix={
            "title": "Matrix",
            "description": "Actions, tried by many on many.",
            "type": "array",
            "items": _ref("row"),
        },
    ),
    "$defs": {
        "name": SCHEMA["$defs"]["name"],
        "duration": SCHEMA["$defs"]["duration"],
        "id": {
            "title": "id",
            "description": "1 to 128 letters, digits, dots, colons, hyphens or underscores",
            "type": "string",
            "pattern": "^[A-Za-z0-9_.:-]{1,128}$",
        },
        "code": {
            "title": "code",
            "description": "letters, digits, dots, hyphens and underscores, e.g. amount_above_threshold",
            "type": "string",
            "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,191}$",
        },
        "instant": _text("instant", "A time with a zone, e.g. 2026-11-18T15:00:00Z.", maxLength=40),
        "count": {"title": "count", "description": "How many.", "type": "integer", "minimum": 0},
        "true": _yes("true", "true."),
        "again": {"title": "again", "description": "again.", "type": "string", "enum": ["again"]},
        "actor": _ACTOR,
        "entity": _ENTITY,
        "call": _CALL,
        "expectation": _EXPECT,
        "review": _REVIEW,
        "report": _REPORT,
        "event": _EVENT,
        "step": _STEP,
        "given": _GIVEN,
        "case": _CASE,
        "row": _MATRIX,
    },
}
