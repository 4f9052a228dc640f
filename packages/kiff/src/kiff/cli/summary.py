"""A record in a few words, as the seed's audit trails have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Data = dict[str, Any]


def summary(record: Data, *, high_risk: bool = False) -> str:
    """What a record says, for a person: `propose AUTO_REFUND`, `CREATED → PAID`.

    Args:
        high_risk: the contract of the proposed action says so.
    """
    said = _WORDS[record["kind"]](record["data"]) if record["kind"] in _WORDS else ""
    return f"{said} (high)" if high_risk and record["kind"] == "decision_recorded" else said


def _state(data: Data) -> str:
    return f"{data['from']} → {data['to']}" if data["from"] else str(data["to"])


def _vote(data: Data) -> str:
    more = max(each["more"] for each in data["still_needed"])
    return f"{data['action']} one yes, {more} more needed"


def _blocked(data: Data) -> str:
    return f"{data['action']} not executed" if "receipt" in data else str(data["reason"])


def _ended(data: Data) -> str:
    said = f"{data['action']} {data['status']}"
    return f"{said}: {data['message']}" if data.get("message") else said


_WORDS: dict[str, Callable[[Data], str]] = {
    "action_blocked": _blocked,
    "action_executed": lambda data: str(data["action"]),
    "action_failed": _ended,
    "action_unknown": _ended,
    "action_validated": lambda data: f"{data['action']} ✓",
    "approval_denied": lambda data: f"{data['action']} denied",
    "approval_expired": lambda data: f"{data['action']} expired unanswered",
    "approval_granted": lambda data: f"{data['action']} granted",
    "approval_required": lambda data: f"{data['action']} awaiting human",
    "approval_vote": _vote,
    "clearance_expired": lambda data: f"{data['action']} never reported",
    "decision_recorded": lambda data: f"propose {data['action']}",
    "domain_activated": lambda data: str(data["version"]),
    "event_ingested": lambda data: str(data["event"]["type"]),
    "log_rolled_back": lambda data: f"{data['seen']['size']} records were seen, {data['found']['size']} are there",
    "outcome_confirmed": lambda data: f"{data['status']}, says {data['by']} too",
    "outcome_contradicted": lambda data: f"{data['reported']}, says {data['by']}; it was settled as {data['settled']}",
    "sensitive_erased": lambda data: f"{len(data['commitments'])} erased",
    "review_refused": lambda data: f"{data['verdict']} refused: {data['reason']}",
    "state_changed": _state,
    "webhook_changed": lambda data: f"{data['webhook']['id']} {data['change']}",
    "webhook_failed": lambda data: f"{data['delivery']} given up: {data['said']}",
    "transition_refused": lambda data: f"{data['type']} leads nowhere from {data['state'] or 'the beginning'}",
}
