"""The format of a kiff.yaml as one JSON Schema (2020-12), published as spec/schemas/domain-v1.json.

The one source: the published file is `schema_json()`, and `shape` reads `SCHEMA` itself.
"""

from __future__ import annotations

import json
from typing import Any


def schema_json() -> str:
    """The published text of the schema."""
    return json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _names(description: str, *, of: str = "name") -> dict[str, Any]:
    return {"type": "array", "items": _ref(of), "description": description}


_PARAMETER: dict[str, Any] = {
    "title": "parameter schema",
    "description": "What one parameter may be: a subset of JSON Schema, plus `unit`.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "type": {
            "title": "Type",
            "description": "One JSON type or several. True is not a number.",
            "anyOf": [_ref("type"), {"type": "array", "items": _ref("type"), "minItems": 1}],
        },
        "title": {"title": "Title", "description": "A label for people.", "type": "string"},
        "description": {"title": "Description", "description": "For people.", "type": "string"},
        "minimum": {"title": "Minimum", "description": "The least number allowed.", "type": "number"},
        "maximum": {"title": "Maximum", "description": "The greatest number allowed.", "type": "number"},
        "exclusiveMinimum": {"title": "Above", "description": "A bound not in it.", "type": "number"},
        "exclusiveMaximum": {"title": "Below", "description": "A bound not in it.", "type": "number"},
        "enum": {"title": "One of", "description": "The values allowed.", "type": "array", "minItems": 1},
        "const": {"title": "Exactly", "description": "The one value allowed."},
        "minLength": {"title": "Least length", "description": "Characters.", "type": "integer", "minimum": 0},
        "maxLength": {
            "title": "Greatest length",
            "description": "Characters.",
            "type": "integer",
            "minimum": 0,
        },
        "pattern": {
            "title": "Pattern",
            "description": "RE2 syntax; found anywhere in the text unless anchored with ^ and $.",
            "type": "string",
            "maxLength": 512,
        },
        "items": _ref("parameter"),
        "minItems": {"title": "Fewest items", "description": "Of a list.", "type": "integer", "minimum": 0},
        "maxItems": {"title": "Most items", "description": "Of a list.", "type": "integer", "minimum": 0},
        "properties": {
            "title": "Properties",
            "description": "Of an object; others are refused.",
            "type": "object",
            "propertyNames": _ref("parameter_name"),
            "additionalProperties": _ref("parameter"),
        },
        "required": _names("Properties an object must have.", of="parameter_name"),
        "unit": {
            "title": "Unit",
            "description": "An ISO 4217 currency; numbers with more decimals than it has are refused.",
            "type": "string",
        },
    },
}

_APPROVAL_POLICY: dict[str, Any] = {
    "title": "approval policy",
    "description": "Who may answer a held action, and how long the answer counts.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "permissions": _names("All of these are needed to review; default `<namespace>.approve`."),
        "expires": _ref("duration") | {"description": "An unanswered request ends after this; default 24h."},
        "use_within": _ref("duration") | {"description": "A grant must be used within this; default 15m."},
        "on_grant": {
            "title": "On grant",
            "description": "wait: the caller comes back with it. run: KIFF runs the original proposal.",
            "type": "string",
            "enum": ["wait", "run"],
        },
    },
}

_ACTION: dict[str, Any] = {
    "title": "action",
    "description": "The contract of one action. What is not stated is read in the strictest way.",
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": _ref("name") | {"description": "What proposals call it, e.g. REFUND_ORDER."},
        "description": {"title": "Description", "description": "For people.", "type": "string"},
        "allowed_states": _names("Where the entity must be."),
        "required_parameters": _names("Must be given, and not null.", of="parameter_name"),
        "required_permissions": _names("The caller's roles must hold all of them."),
        "risk": {
            "title": "Risk",
            "description": "How much harm the action can do when it is wrong.",
            "type": "string",
            "enum": ["low", "medium", "high"],
        },
        "approval": {
            "title": "Approval",
            "description": "Whether the contract itself asks for a person. conditional needs rules: not yet.",
            "type": "string",
            "enum": ["never", "required", "conditional"],
        },
        "executor": _ref("executor"),
        "parameters": {
            "title": "Parameters",
            "description": "Name -> schema. When given, unknown parameters are refused.",
            "type": "object",
            "propertyNames": _ref("parameter_name"),
            "additionalProperties": _ref("parameter"),
        },
        "approval_policy": _ref("approval_policy"),
        "emits": {
            "title": "Emits",
            "description": "The events an executor may report; a list means on success.",
            "anyOf": [
                _names("On success."),
                {
                    "title": "emits",
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"success": _names("On success."), "failure": _names("On failure.")},
                },
            ],
        },
        "timeout": _ref("duration") | {"description": "The executor's deadline; default 30s."},
        "lock": {
            "title": "Lock",
            "description": "entity (default): nothing else runs on the entity meanwhile. none: it may.",
            "type": "string",
            "enum": ["entity", "none"],
        },
    },
}

_TRANSITION: dict[str, Any] = {
    "title": "transition",
    "description": "What an event does to the state. No `from`: the first event. No `to`: it stays.",
    "type": "object",
    "additionalProperties": False,
    "required": ["on"],
    "properties": {
        "on": _ref("name") | {"description": "The event."},
        "from": {
            "title": "From",
            "description": "The state, or states, it starts from.",
            "anyOf": [_ref("name"), {"type": "array", "items": _ref("name"), "minItems": 1}],
        },
        "to": _ref("name") | {"description": "The state it leads to."},
    },
}

_ADAPTER: dict[str, Any] = {
    "title": "adapter",
    "description": "Where events come from.",
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "source", "kind"],
    "properties": {
        "name": _ref("name"),
        "source": _ref("name") | {"description": "The system, e.g. stripe."},
        "kind": _ref("name") | {"description": "How it reaches us, e.g. webhook."},
        "signature": {
            "title": "Signature",
            "description": "How its webhooks are signed. The secret stands elsewhere.",
            "type": "string",
            "enum": ["stripe", "standard", "hmac-sha256"],
        },
        "tolerance": _ref("duration") | {"description": "How old a signed time may be; default 5m."},
        "map": _ref("adapter_map"),
    },
}

_ADAPTER_MAP: dict[str, Any] = {
    "title": "adapter map",
    "description": "Where things are in the JSON body of a webhook. What is not named here is not kept.",
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "type", "entity", "events"],
    "properties": {
        "id": _ref("body_path") | {"description": "The id of the event."},
        "type": _ref("body_path") | {"description": "The source's name for what happened."},
        "entity": _ref("body_path") | {"description": "The id of the entity."},
        "occurred_at": _ref("body_path") | {"description": "When: seconds since the epoch, or RFC 3339."},
        "payload": {
            "title": "Payload",
            "description": "Name -> where its value is; left out when it is not there.",
            "type": "object",
            "propertyNames": _ref("parameter_name"),
            "additionalProperties": _ref("body_path"),
        },
        "events": {
            "title": "Events",
            "description": "The source's type -> our event; other types are ignored.",
            "type": "object",
            "propertyNames": _ref("source_type"),
            "additionalProperties": _ref("name"),
        },
    },
}


def _text(title: str, description: str, pattern: str) -> dict[str, Any]:
    return {"title": title, "description": description, "type": "string", "pattern": pattern}


SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://kiff.dev/schemas/domain-v1.json",
    "title": "kiff.yaml",
    "description": "One governed entity: events, states and transitions, and a contract per action.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "spec": {
            "title": "Format",
            "description": "The version of this format; absent means kiff/v1.",
            "type": "string",
            "enum": ["kiff/v1"],
        },
        "domain": _ref("slug") | {"description": "The name of the domain, e.g. refund-ops."},
        "version": _ref("name") | {"description": "e.g. v2; absent means a name made from the content."},
        "description": {"title": "Description", "description": "For people.", "type": "string"},
        "entity": _ref("entity_type") | {"description": "The type of thing that is governed, e.g. Order."},
        "events": _names("Everything that can happen to the entity."),
        "states": _names("Everything the entity can be."),
        "final": _names("States where stopping is intended."),
        "transitions": {
            "title": "Transitions",
            "description": "The state machine.",
            "type": "array",
            "items": _ref("transition"),
        },
        "actions": {
            "title": "Actions",
            "description": "What may be proposed.",
            "type": "array",
            "items": _ref("action"),
        },
        "permissions": {
            "title": "permissions",
            "description": "Who may do what.",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "roles": {
                    "title": "Roles",
                    "description": "Role -> the permissions it holds.",
                    "type": "object",
                    "propertyNames": _ref("name"),
                    "additionalProperties": _names("Permissions."),
                }
            },
        },
        "audit": {
            "title": "audit",
            "description": "Noted only: where the log is kept is decided by the deployment.",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "store": _ref("name") | {"description": "e.g. in-memory."},
                "trace_propagation": {
                    "title": "Trace propagation",
                    "description": "Carry trace ids through.",
                    "type": "boolean",
                },
            },
        },
        "adapters": {
            "title": "Adapters",
            "description": "Where events come from.",
            "type": "array",
            "items": _ref("adapter"),
        },
    },
    "$defs": {
        "name": _text(
            "name",
            "a letter, then up to 63 letters, digits, dots, hyphens or underscores",
            "^[A-Za-z][A-Za-z0-9_.-]{0,63}$",
        ),
        "entity_type": _text(
            "entity type",
            "a letter, then up to 63 letters, digits, hyphens or underscores",
            "^[A-Za-z][A-Za-z0-9_-]{0,63}$",
        ),
        "slug": _text(
            "domain name",
            "a lower-case letter, then up to 62 lower-case letters, digits or hyphens",
            "^[a-z][a-z0-9-]{0,62}$",
        ),
        "parameter_name": _text(
            "parameter name",
            "a letter or underscore, then up to 63 letters, digits, dots, hyphens or underscores",
            "^[A-Za-z_][A-Za-z0-9_.-]{0,63}$",
        ),
        "executor": _text(
            "executor name",
            "a registered executor: up to 128 letters, digits, dots, colons, hyphens or underscores",
            "^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$",
        ),
        "duration": _text(
            "duration",
            "a whole number and s, m, h or d, e.g. 30s or 15m",
            "^[1-9][0-9]{0,8}[smhd]$",
        ),
        "body_path": _text(
            "path into the body",
            "up to 16 names or list positions joined by dots, e.g. data.object.id",
            r"^[A-Za-z0-9_$@:-]{1,64}(\.[A-Za-z0-9_$@:-]{1,64}){0,15}$",
        ),
        "source_type": _text(
            "type of a source",
            "1 to 128 visible ASCII characters, e.g. charge.refunded",
            "^[!-~]([ -~]{0,126}[!-~])?$",
        ),
        "type": {
            "title": "type",
            "description": "A JSON type.",
            "type": "string",
            "enum": ["string", "number", "integer", "boolean", "object", "array", "null"],
        },
        "parameter": _PARAMETER,
        "approval_policy": _APPROVAL_POLICY,
        "action": _ACTION,
        "transition": _TRANSITION,
        "adapter": _ADAPTER,
        "adapter_map": _ADAPTER_MAP,
    },
}
