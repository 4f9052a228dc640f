"""One kiff.yaml that says everything the format can: where every `examples` of the published schema comes from.

INVARIANT: it loads, and `kiff check` has nothing to say about it. What the format learns, it says too.
"""

from __future__ import annotations

from typing import Any

_MONEY = {"type": "number", "unit": "USD"}
_AMOUNT = {
    "type": "number",
    "title": "Amount",
    "description": "What is paid back.",
    "exclusiveMinimum": 0,
    "maximum": 10000,
    "unit": "USD",
}
_REASON = {"type": "string", "minLength": 5, "maxLength": 500}

_AUTO_REFUND: dict[str, Any] = {
    "name": "AUTO_REFUND",
    "description": "A small refund that nobody has to look at.",
    "allowed_states": ["REFUNDABLE"],
    "required_parameters": ["amount", "reason"],
    "required_permissions": ["orders.refund"],
    "risk": "medium",
    "approval": "never",
    "executor": "refund.issue_refund",
    "parameters": {"amount": _AMOUNT, "reason": _REASON},
    "when": 'parameters.amount <= 50 && entity.currency == "USD"',
    "otherwise": "REFUND_ORDER",
    "limits": [{"id": "refunds_per_agent", "kind": "rate", "max": 20, "per": "1h", "burst": 5, "key": "actor.id"}],
    "emits": {"success": ["REFUND_ISSUED"], "failure": ["REFUND_FAILED"]},
    "timeout": "20s",
}
_REFUND_ORDER: dict[str, Any] = {
    "name": "REFUND_ORDER",
    "description": "A refund of any size. Money leaves the company.",
    "allowed_states": ["REFUNDABLE"],
    "required_parameters": ["amount", "reason"],
    "required_permissions": ["orders.refund"],
    "risk": "high",
    "approval": "conditional",
    "executor": "refund.issue_refund",
    "parameters": {"amount": _AMOUNT, "reason": _REASON | {"sensitive": True}},
    "rules": [
        {
            "id": "exceeds_remaining",
            "when": "parameters.amount > entity.total - entity.refunded",
            "then": "deny",
            "message": "The refund is larger than what is left on the order.",
        },
        {
            "id": "amount_needs_two",
            "when": "parameters.amount > 1000",
            "then": "require_approval",
            "quorum": 2,
            "roles": ["admin", "finance"],
        },
        {
            "id": "risky_customer",
            "when": "has(entity.risk) && entity.risk >= 60",
            "then": "require_approval",
        },
        {"id": "off_hours", "when": "!schedule.office", "then": "require_approval", "mode": "shadow"},
    ],
    "approval_policy": {
        "permissions": ["orders.approve"],
        "quorum": 1,
        "expires": "24h",
        "use_within": "15m",
        "binds": ["parameters", "entity.version"],
        "on_grant": "run",
        "human_only": True,
        "evidence": "session",
    },
    "limits": [
        {
            "id": "spend_cap.daily",
            "kind": "budget",
            "max": 5000,
            "per": "day",
            "timezone": "America/New_York",
            "amount": "parameters.amount",
            "key": "actor.id",
            "over": "require_approval",
        },
        {"id": "refunds_at_once", "kind": "concurrency", "max": 10},
    ],
    "emits": {"success": ["REFUND_ISSUED"], "failure": ["REFUND_FAILED"]},
    "compensate": "VOID_REFUND",
}
_VOID_REFUND: dict[str, Any] = {
    "name": "VOID_REFUND",
    "allowed_states": ["PARTIALLY_REFUNDED", "REFUNDED"],
    "required_parameters": ["refund_id"],
    "required_permissions": ["orders.void"],
    "risk": "high",
    "approval": "required",
    "executor": "mcp://payments/void_refund",
    "parameters": {"refund_id": {"type": "string", "pattern": "^re_[A-Za-z0-9]+$"}},
    "emits": [],
    "lock": {"key": "entity.customer", "ttl": "2m"},
}
_SEND_AGAIN: dict[str, Any] = {
    "name": "SEND_AGAIN",
    "allowed_states": ["PAID"],
    "required_parameters": ["items", "carrier"],
    "required_permissions": ["parcels.send"],
    "risk": "low",
    "approval": "never",
    "executor": "https://parcels.example.com/send-again",
    "parameters": {
        "carrier": {"type": "string", "const": "post"},
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 20,
            "items": {
                "type": "object",
                "properties": {
                    "sku": {"type": "string", "maxLength": 40},
                    "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": 100},
                },
                "required": ["sku", "count"],
            },
        },
    },
    "emits": [],
    "lock": "entity",
}

EXAMPLE: dict[str, Any] = {
    "spec": "kiff/v1",
    "domain": "refund-ops",
    "version": "v2",
    "description": "Refunds of a shop's orders.",
    "entity": "Order",
    "attributes": {
        "total": {"type": "number", "minimum": 0, "maximum": 1000000, "unit": "USD"},
        "refunded": _MONEY | {"default": 0},
        "currency": {"type": "string", "enum": ["USD", "EUR", "GBP"]},
        "customer": {"type": "string", "maxLength": 64},
        "risk": {"type": "integer", "minimum": 0, "maximum": 100, "optional": True},
    },
    "events": ["ORDER_PLACED", "ORDER_PAID", "RISK_SCORED", "REFUND_ISSUED", "REFUND_FAILED", "ORDER_EXPIRED"],
    "payloads": {
        "ORDER_PLACED": {"total": _MONEY, "currency": {"type": "string"}, "customer": {"type": "string"}},
        "RISK_SCORED": {"score": {"type": "integer"}},
        "REFUND_ISSUED": {"amount": _MONEY},
    },
    "states": ["CREATED", "PAID", "PARTIALLY_REFUNDED", "REFUNDED", "EXPIRED"],
    "groups": {"REFUNDABLE": ["PAID", "PARTIALLY_REFUNDED"]},
    "final": ["REFUNDED", "EXPIRED"],
    "transitions": [
        {
            "on": "ORDER_PLACED",
            "to": "CREATED",
            "set": {"total": "event.total", "currency": "event.currency", "customer": "event.customer"},
        },
        {"on": "ORDER_PAID", "from": "CREATED", "to": "PAID"},
        {"on": "RISK_SCORED", "from": ["CREATED", "REFUNDABLE"], "set": {"risk": "event.score"}},
        {
            "on": "REFUND_ISSUED",
            "from": "REFUNDABLE",
            "to": "REFUNDED",
            "when": "entity.refunded + event.amount >= entity.total",
            "set": {"refunded": "entity.refunded + event.amount"},
        },
        {
            "on": "REFUND_ISSUED",
            "from": "REFUNDABLE",
            "to": "PARTIALLY_REFUNDED",
            "when": "entity.refunded + event.amount < entity.total",
            "set": {"refunded": "entity.refunded + event.amount"},
        },
        {"on": "REFUND_FAILED", "from": "REFUNDABLE"},
        {"on": "ORDER_EXPIRED", "from": "CREATED", "to": "EXPIRED"},
    ],
    "timeouts": [{"in": "CREATED", "after": "72h", "emit": "ORDER_EXPIRED"}],
    "schedules": {
        "office": {
            "timezone": "America/New_York",
            "days": ["mon", "tue", "wed", "thu", "fri"],
            "hours": "08:00-20:00",
            "except": ["2026-12-25"],
        },
    },
    "actions": [_AUTO_REFUND, _REFUND_ORDER, _VOID_REFUND, _SEND_AGAIN],
    "permissions": {
        "roles": {
            "ops_agent": ["orders.refund", "parcels.send"],
            "admin": ["orders.approve"],
            "finance": ["orders.approve"],
            "shop": ["events.ingest"],
        },
        "grants": [{"role": "ops_agent", "permissions": ["orders.void"], "when": "schedule.office"}],
        "separate": [["orders.refund", "orders.approve"]],
    },
    "audit": {"store": "in-memory", "trace_propagation": True},
    "adapters": [
        {
            "name": "stripe-webhook",
            "source": "stripe",
            "kind": "webhook",
            "signature": "stripe",
            "tolerance": "5m",
            "map": {
                "id": "id",
                "type": "type",
                "entity": "data.object.metadata.order_id",
                "occurred_at": "created",
                "payload": {"amount": "data.object.amount"},
                "events": {"checkout.session.completed": "ORDER_PAID"},
            },
        },
    ],
}
