"""The format of a kiff.yaml as one JSON Schema (2020-12), published as spec/schemas/domain-v1.json.

The one source: `shape` reads `SCHEMA` itself, and the published file is made from it (`published_schema`).
"""

from __future__ import annotations

from typing import Any


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
        "items": _ref("parameter") | {"description": "What each item of a list may be."},
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
        "default": {"title": "Default", "description": "Of an attribute: its value until an event sets it."},
        "optional": {
            "title": "Optional",
            "description": "Of an attribute or a field of a payload: it may be missing, so conditions ask has() first.",
            "default": False,
            "type": "boolean",
        },
        "sensitive": {
            "title": "Sensitive",
            "description": "Of a parameter: a salted commitment in the log, the value in the vault.",
            "default": False,
            "type": "boolean",
        },
    },
}

_RULE: dict[str, Any] = {
    "title": "rule",
    "description": "An objection under a condition. Order never matters: deny is stronger than require_approval.",
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "when", "then"],
    "properties": {
        "id": _ref("name") | {"description": "The reason on the receipt, e.g. amount_above_threshold."},
        "when": _ref("condition") | {"description": "When it objects, e.g. parameters.amount > 50."},
        "then": {
            "title": "Then",
            "description": "deny: it does not run. require_approval: a person is asked.",
            "type": "string",
            "enum": ["deny", "require_approval"],
        },
        "quorum": _ref("quorum"),
        "roles": _names("Whose yes counts for this rule: a reviewer with one of these roles; all, when not given."),
        "message": {
            "title": "Message",
            "description": "What the receipt's reader is told.",
            "type": "string",
            "maxLength": 300,
        },
        "mode": {
            "title": "Mode",
            "description": "enforce, or shadow: evaluated and recorded, not enforced.",
            "default": "enforce",
            "type": "string",
            "enum": ["enforce", "shadow"],
        },
    },
}

_LIMIT: dict[str, Any] = {
    "title": "limit",
    "description": "A cap that holds at every instant, counted in the decision's own commit.",
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "kind", "max"],
    "properties": {
        "id": _ref("name") | {"description": "e.g. refunds_per_agent."},
        "kind": {
            "title": "Kind",
            "description": "rate: calls over time. budget: a sum in a window. concurrency: operations in flight.",
            "type": "string",
            "enum": ["rate", "budget", "concurrency"],
        },
        "max": {"title": "Max", "description": "How many, or how much.", "type": "number", "minimum": 0},
        "per": _ref("window") | {"description": "Over how long: 1h; of a budget also hour, day, week or month."},
        "burst": {
            "title": "Burst",
            "description": "Of a rate: how many at once; max, when not given.",
            "type": "integer",
            "minimum": 1,
        },
        "timezone": _ref("timezone")
        | {
            "description": "Of a calendar budget: where its day begins.",
            "default": "UTC",
        },
        "amount": _ref("condition") | {"description": "Of a budget: what is added up, e.g. parameters.amount."},
        "key": _ref("condition") | {"description": "Whom it counts for, e.g. actor.id; one for all, when not given."},
        "over": {
            "title": "Over",
            "description": "deny, or require_approval: a person may let it over the cap.",
            "default": "deny",
            "type": "string",
            "enum": ["deny", "require_approval"],
        },
    },
}

_LOCK: dict[str, Any] = {
    "title": "lock",
    "description": "Something else than the entity that one operation holds at a time.",
    "type": "object",
    "additionalProperties": False,
    "required": ["key"],
    "properties": {
        "key": _ref("condition") | {"description": "What is held: a text or a whole number, e.g. entity.customer."},
        "ttl": _ref("duration") | {"description": "How long the app has when it runs the tool.", "default": "60s"},
    },
}

_SCHEDULE: dict[str, Any] = {
    "title": "schedule",
    "description": "A time window; `schedule.<name>` in conditions.",
    "type": "object",
    "additionalProperties": False,
    "required": ["hours"],
    "properties": {
        "timezone": _ref("timezone") | {"description": "An IANA time zone.", "default": "UTC"},
        "days": {
            "title": "Days",
            "description": "Every day, when not given.",
            "type": "array",
            "minItems": 1,
            "items": _ref("weekday"),
        },
        "hours": _ref("hours") | {"description": "When it is open, e.g. 08:00-20:00; 22:00-06:00 goes over midnight."},
        "except": {
            "title": "Except",
            "description": "Days on which it is closed.",
            "type": "array",
            "items": _ref("date"),
        },
    },
}

_TIMEOUT: dict[str, Any] = {
    "title": "timeout",
    "description": "An event that comes by itself when the entity stays in a state.",
    "type": "object",
    "additionalProperties": False,
    "required": ["in", "after", "emit"],
    "properties": {
        "in": _ref("name") | {"description": "The state, or a group of them."},
        "after": _ref("duration") | {"description": "How long after it came into the state."},
        "emit": _ref("name") | {"description": "The event."},
    },
}

_GRANT: dict[str, Any] = {
    "title": "grant",
    "description": "Permissions that a role has only under a condition.",
    "type": "object",
    "additionalProperties": False,
    "required": ["role", "permissions", "when"],
    "properties": {
        "role": _ref("name") | {"description": "The role."},
        "permissions": _names("What it holds then."),
        "when": _ref("condition") | {"description": "What must be true."},
    },
}

_APPROVAL_POLICY: dict[str, Any] = {
    "title": "approval policy",
    "description": "Who may answer a held action, and how long the answer counts.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "permissions": _names("All of these are needed to review; default `<namespace>.approve`."),
        "expires": _ref("duration") | {"description": "An unanswered request ends after this.", "default": "24h"},
        "use_within": _ref("duration") | {"description": "A grant must be used within this.", "default": "15m"},
        "on_grant": {
            "title": "On grant",
            "description": "wait: the caller comes back with it. run: KIFF runs the original proposal.",
            "default": "wait",
            "type": "string",
            "enum": ["wait", "run"],
        },
        "quorum": _ref("quorum"),
        "human_only": {
            "title": "Human only",
            "description": "true: people answer. false: services may, agents never.",
            "default": True,
            "type": "boolean",
        },
        "binds": {
            "title": "Binds",
            "description": "What a grant fits: parameters (always), and entity.version: void once the entity moved.",
            "default": ["parameters"],
            "type": "array",
            "items": {"title": "bound", "type": "string", "enum": ["parameters", "entity.version"]},
        },
        "evidence": {
            "title": "Evidence",
            "description": "What a reviewer must bring. key: any. session: signed in. passkey: later.",
            "default": "key",
            "type": "string",
            "enum": ["session", "key", "passkey"],
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
            "description": "Whether the contract itself asks for a person; conditional: its rules say.",
            "type": "string",
            "enum": ["never", "required", "conditional"],
        },
        "executor": _ref("executor")
        | {"description": "What does it: a registered name, a signed request, or a tool of an MCP server."},
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
                    "description": "The events an executor may report.",
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "success": _names("When the effect happened."),
                        "failure": _names("When it did not."),
                    },
                },
            ],
        },
        "timeout": _ref("duration") | {"description": "The executor's deadline.", "default": "30s"},
        "when": _ref("condition") | {"description": "What must be true besides; else it is blocked."},
        "otherwise": _ref("name") | {"description": "The action to suggest when `when` does not hold."},
        "rules": {
            "title": "Rules",
            "description": "What is denied, and what a person is asked about.",
            "type": "array",
            "items": _ref("rule"),
        },
        "limits": {"title": "Limits", "description": "Caps.", "type": "array", "items": _ref("limit")},
        "compensate": _ref("name") | {"description": "The action that undoes a success, proposed like any other."},
        "lock": {
            "title": "Lock",
            "description": "entity: nothing else runs on it meanwhile. none: it may. Or what else to hold.",
            "default": "entity",
            "anyOf": [{"title": "lock", "type": "string", "enum": ["entity", "none"]}, _LOCK],
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
        "when": _ref("condition") | {"description": "What must be true; guards of one event exclude each other."},
        "set": {
            "title": "Set",
            "description": "Attribute -> its new value, an expression over `event` and `entity`.",
            "type": "object",
            "propertyNames": _ref("parameter_name"),
            "additionalProperties": _ref("condition"),
        },
    },
}

_ADAPTER: dict[str, Any] = {
    "title": "adapter",
    "description": "Where events come from.",
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "source", "kind"],
    "properties": {
        "name": _ref("name") | {"description": "What it is called, e.g. stripe-webhook."},
        "source": _ref("name") | {"description": "The system, e.g. stripe."},
        "kind": _ref("name") | {"description": "How it reaches us, e.g. webhook."},
        "signature": {
            "title": "Signature",
            "description": "How its webhooks are signed. The secret stands elsewhere.",
            "type": "string",
            "enum": ["stripe", "standard", "hmac-sha256"],
        },
        "tolerance": _ref("duration") | {"description": "How old a signed time may be.", "default": "5m"},
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


_PART = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_BYTE = "(0|[1-9][0-9]{0,2})"
_HOST = f"(({_PART}\\.)*[A-Za-z]([A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?|{_BYTE}(\\.{_BYTE}){{3}})"
"""A name, or four numbers as usually written: what ends in any other number resolvers read in ways of their own."""
_HTTPS = f"https://{_HOST}(:[1-9][0-9]{{0,4}})?(/[A-Za-z0-9._~/-]{{0,512}})?"
_MCP = "mcp://[a-z0-9][a-z0-9_-]{0,62}/[A-Za-z0-9_.-]{1,128}"


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
            "description": "The version of this format.",
            "default": "kiff/v1",
            "type": "string",
            "enum": ["kiff/v1"],
        },
        "domain": _ref("slug") | {"description": "The name of the domain, e.g. refund-ops."},
        "version": _ref("name") | {"description": "e.g. v2; absent means a name made from the content."},
        "description": {"title": "Description", "description": "For people.", "type": "string"},
        "entity": _ref("entity_type") | {"description": "The type of thing that is governed, e.g. Order."},
        "attributes": {
            "title": "Attributes",
            "description": "What `entity.<name>` may be in a condition; events set them.",
            "type": "object",
            "propertyNames": _ref("parameter_name"),
            "additionalProperties": _ref("parameter"),
        },
        "events": _names("Everything that can happen to the entity."),
        "payloads": {
            "title": "Payloads",
            "description": "Event -> field -> schema: what a guard or `set` may read.",
            "type": "object",
            "propertyNames": _ref("name"),
            "additionalProperties": {
                "title": "payload",
                "type": "object",
                "propertyNames": _ref("parameter_name"),
                "additionalProperties": _ref("parameter"),
            },
        },
        "states": _names("Everything the entity can be."),
        "groups": {
            "title": "Groups",
            "description": "A name for several states, to be used wherever a state is.",
            "type": "object",
            "propertyNames": _ref("name"),
            "additionalProperties": _names("The states."),
        },
        "final": _names("States where stopping is intended."),
        "transitions": {
            "title": "Transitions",
            "description": "The state machine.",
            "type": "array",
            "items": _ref("transition"),
        },
        "timeouts": {
            "title": "Timeouts",
            "description": "Events that come by themselves.",
            "type": "array",
            "items": _ref("timeout"),
        },
        "schedules": {
            "title": "Schedules",
            "description": "Name -> a time window.",
            "type": "object",
            "propertyNames": _ref("variable"),
            "additionalProperties": _ref("schedule"),
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
                },
                "grants": {
                    "title": "Grants",
                    "description": "Permissions under a condition.",
                    "type": "array",
                    "items": _ref("grant"),
                },
                "separate": {
                    "title": "Separate",
                    "description": "Permissions that no one role and no one caller may hold together.",
                    "type": "array",
                    "items": _names("Kept apart."),
                },
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
            "a registered name (up to 128 letters, digits, dots, colons, hyphens or underscores), or "
            "https://host/path without a user, query or fragment, or mcp://server/tool",
            f"^([A-Za-z_][A-Za-z0-9_.:-]{{0,127}}|{_HTTPS}|{_MCP})$",
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
        "variable": _text(
            "variable",
            "a letter or underscore, then up to 63 letters, digits or underscores",
            "^[A-Za-z_][A-Za-z0-9_]{0,63}$",
        ),
        "condition": {
            "title": "Condition",
            "description": "An expression, e.g. parameters.amount > 50; see docs/reference/conditions.md.",
            "type": "string",
            "minLength": 1,
            "maxLength": 4096,
        },
        "quorum": {
            "title": "Quorum",
            "description": "How many different people must say yes.",
            "default": 1,
            "type": "integer",
            "minimum": 1,
            "maximum": 20,
        },
        "window": _text(
            "window",
            "a duration such as 1h, or for a budget hour, day, week or month",
            "^([1-9][0-9]{0,8}[smhd]|hour|day|week|month)$",
        ),
        "timezone": _text("time zone", "an IANA name, e.g. America/New_York", "^[A-Za-z][A-Za-z0-9_+/-]{0,63}$"),
        "weekday": {
            "title": "weekday",
            "description": "A day of the week.",
            "type": "string",
            "enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        },
        "hours": _text(
            "hours",
            "from and to, e.g. 08:00-20:00",
            "^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
        ),
        "date": _text("date", "a day, e.g. 2026-12-25", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
        "parameter": _PARAMETER,
        "rule": _RULE,
        "limit": _LIMIT,
        "schedule": _SCHEDULE,
        "timeout": _TIMEOUT,
        "grant": _GRANT,
        "approval_policy": _APPROVAL_POLICY,
        "action": _ACTION,
        "transition": _TRANSITION,
        "adapter": _ADAPTER,
        "adapter_map": _ADAPTER_MAP,
    },
}
