"""Example values for the reference, in the words of the refund example. A test holds them against the schemas."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

BY_NAME: Json = {
    "action_name": "REFUND_ORDER",
    "entity_id": "ord_002",
    "entity_type": "order",
    "events": ["decision.*"],
    "label": "refund agent",
    "parameters": {"amount": 999.0, "reason": "customer request"},
    "reason": "verified with customer",
    "roles": ["ops_agent"],
    "status": "succeeded",
    "type": "ORDER_PAID",
    "url": "https://hooks.example.com/kiff",
}
"""Member -> an example of it; shown even where it may be left out."""

AFTER: dict[str, str] = {
    "actions": "REFUND_ORDER",
    "adapters": "kiff-demo",
    "approvals": "appr_01",
    "domains": "refund-ops",
    "entities": "order:ord_002",
    "keys": "key_0123456789",
    "members": "ops-agent",
    "observations": "grt_01",
    "operations": "clr_01",
    "proposals": "prop_01",
    "receipts": "rcpt_01",
    "runtimes": "grt_01",
    "webhooks": "whk_01",
}
"""The word of a path before a name -> what the name could be."""


def in_path(words: list[str], name: str) -> str:
    """What a name in a path could be.

    Args:
        words: the path's parts before it.
    """
    return AFTER.get(words[-1] if words else "", name)


def body(schema: Json, components: dict[str, Json]) -> Any:
    """An example of what a schema describes: what must be there, and what is best shown."""
    if "$ref" in schema:
        return body(components[schema["$ref"].rpartition("/")[2]], components)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return body(choices[0], components)
    if "properties" in schema:
        required = schema.get("required", ())
        members = schema["properties"].items()
        return {name: _member(name, each, components) for name, each in members if name in required or name in BY_NAME}
    return _PLAIN.get(schema.get("type", "object"), {})


def _member(name: str, schema: Json, components: dict[str, Json]) -> Any:
    fits = body(schema, components)
    known = BY_NAME.get(name)
    return known if type(known) is type(fits) and "enum" not in schema else fits


_PLAIN: Json = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}, "null": None}
