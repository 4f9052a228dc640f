"""What an allowed action runs. This is the only code of the project that changes anything outside.

The rule of an executor: raise `kiff.ActionFailed` only when nothing can have happened outside. In doubt, let the
exception rise: the outcome is then unknown, the ticket stays closed to everyone, and nothing is sent a second time.
"""

from __future__ import annotations

from typing import Any

from outside import outside

from kiff import Operation


def send_reply(operation: Operation) -> dict[str, Any]:
    _outside(operation)
    return {"status": "succeeded", "message": f"reply to {operation.entity_id} sent"}


def issue_credit(operation: Operation) -> dict[str, Any]:
    _outside(operation)
    return {"status": "succeeded", "message": f"credit of ${operation.parameters['amount']:,.2f} issued"}


def escalate(operation: Operation) -> dict[str, Any]:
    _outside(operation)
    return {"status": "succeeded", "message": f"{operation.entity_id} handed to a person"}


def close_ticket(operation: Operation) -> dict[str, Any]:
    _outside(operation)
    return {"status": "succeeded", "message": f"{operation.entity_id} closed"}


def _outside(operation: Operation) -> None:
    """One effect, with the operation's id as its idempotency key. Your mail and billing systems go here."""
    outside().do(operation.action, operation.entity_id, operation.parameters, key=operation.id)


EXECUTORS = {
    "billing.issue_credit": issue_credit,
    "desk.close_ticket": close_ticket,
    "desk.escalate": escalate,
    "mail.send_reply": send_reply,
}
