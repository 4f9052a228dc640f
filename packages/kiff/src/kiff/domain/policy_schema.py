"""The format of a policy bundle as one JSON Schema (2020-12), published as spec/schemas/policy-v1.json.

Rules, limits and schedules are those of a kiff.yaml; `match` says which actions they are about.
"""

from __future__ import annotations

import json
from typing import Any

from kiff.domain.schema import SCHEMA


def policy_schema_json() -> str:
    """The published text of the schema."""
    return json.dumps(POLICY, indent=2, ensure_ascii=False) + "\n"


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _with_match(shared: dict[str, Any], description: str) -> dict[str, Any]:
    """What an action of a kiff.yaml has too, about the actions that `match` says."""
    properties = {**shared["properties"], "match": _ref("match")}
    return {**shared, "description": description, "properties": properties}


def _one_or_many(of: str, title: str, description: str) -> dict[str, Any]:
    many = {"type": "array", "items": _ref(of), "minItems": 1}
    return {"title": title, "description": description, "anyOf": [_ref(of), many]}


_MATCH: dict[str, Any] = {
    "title": "match",
    "description": "Which actions it is about: all words must fit; one that is not given fits every action.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "domain": _one_or_many("slug", "Domain", "The name of the domain, e.g. refund-ops."),
        "action": _one_or_many("name", "Action", "The action, e.g. REFUND_ORDER."),
        "risk": _one_or_many("risk", "Risk", "The risk that its contract states."),
        "entity": _one_or_many("entity_type", "Entity", "The type of thing that is governed, e.g. Order."),
    },
}

_SHARED = (
    "condition",
    "date",
    "entity_type",
    "hours",
    "name",
    "quorum",
    "schedule",
    "slug",
    "timezone",
    "variable",
    "weekday",
    "window",
)

POLICY: dict[str, Any] = {
    "$schema": SCHEMA["$schema"],
    "$id": "https://kiff.dev/schemas/policy-v1.json",
    "title": "policy",
    "description": "Rules and limits over the actions of many domains. It can only tighten what their contracts say.",
    "type": "object",
    "additionalProperties": False,
    "required": ["policy"],
    "properties": {
        "spec": SCHEMA["properties"]["spec"],
        "policy": _ref("policy_name") | {"description": "The name of the policy: inventory, or inventory-v2."},
        "version": _ref("name") | {"description": "e.g. v2; absent means a name made from the content."},
        "description": {"title": "Description", "description": "For people.", "type": "string"},
        "schedules": SCHEMA["properties"]["schedules"],
        "rules": {
            "title": "Rules",
            "description": "What is denied, and what a person is asked about.",
            "type": "array",
            "items": _ref("rule"),
        },
        "limits": {
            "title": "Limits",
            "description": "Caps. Each counts over all the actions it is about, whatever their domain.",
            "type": "array",
            "items": _ref("limit"),
        },
    },
    "$defs": {
        **{name: SCHEMA["$defs"][name] for name in _SHARED},
        "policy_name": SCHEMA["$defs"]["slug"] | {"title": "policy name"},
        "risk": {"title": "risk", "description": "A risk.", "type": "string", "enum": ["low", "medium", "high"]},
        "match": _MATCH,
        "rule": _with_match(SCHEMA["$defs"]["rule"], "An objection under a condition, beside those of the contracts."),
        "limit": _with_match(SCHEMA["$defs"]["limit"], "A cap that holds at every instant, over many domains."),
    },
}
