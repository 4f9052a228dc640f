"""What the events of an operation hold when whoever reports them says nothing of it."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, json

from kiff.canonical import admit, encode, fragment
from kiff.domain import Domain
from kiff.protocol.action import ActionContract

Told = tuple[tuple[str, bytes], ...]
"""Events as (type, canonical payload)."""


def payloads_of(domain: Domain, contract: ActionContract, parameters: dict[str, Any]) -> bytes:
    """The payloads of what an action may emit, as far as its parameters say: fields of the same name.

    A `sensitive` parameter is not among them: payloads stand in the log.

    Returns:
        Canonical JSON: event -> payload, for events whose payload the domain declares.
    """
    hidden = {name for name, schema in (contract.parameters or {}).items() if schema.get("sensitive")}
    said = {name: value for name, value in parameters.items() if name not in hidden}
    declared = (each for each in (*contract.emits.success, *contract.emits.failure) if each in domain.payloads)
    payloads = {event: {name: said[name] for name in domain.payloads[event] if name in said} for event in declared}
    return encode({event: fragment(admit(payload).data) for event, payload in payloads.items()})


def with_payloads(told: Told, payloads: bytes) -> Told:
    """The events with what is known of their payloads; one that was reported with a payload keeps its own.

    Args:
        payloads: as `payloads_of` gives them.
    """
    if payloads == b"{}":
        return told
    known = json.decode(payloads, type=dict[str, Raw])
    return tuple(
        (event, bytes(known[event]) if payload == b"{}" and event in known else payload) for event, payload in told
    )


def other_than_cleared(event: str, payload: bytes, payloads: bytes) -> str | None:
    """A field in which a reported payload differs from what the call was cleared for; None when there is none.

    Whoever proposed a refund of 50 and was cleared for it may not report that 5 were refunded.
    """
    known = json.decode(payloads, type=dict[str, dict[str, Any]]).get(event, {})
    said = json.decode(payload)
    return next((name for name, value in known.items() if name in said and said[name] != value), None)
