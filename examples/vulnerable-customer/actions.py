"""What an allowed action runs. This is the only code of the project that reaches a customer.

The rule of an executor: raise ActionFailed only when nothing can have happened outside. In doubt, let the
exception rise: the outcome is then unknown, nobody else approaches the customer, and nothing is sent again.
"""

from __future__ import annotations

from typing import Any

from outside import mailroom

from kiff import Operation


def reach(operation: Operation) -> dict[str, Any]:
    """One effect outside, whichever it is: a real project has a function for each."""
    mailroom().reach(operation.entity_id, operation.action, key=operation.id)
    return {"status": "succeeded", "message": f"{operation.action} reached {operation.entity_id}"}


def lift_protection(operation: Operation) -> dict[str, Any]:
    """Nothing happens outside: the event that the contract emits is the whole effect."""
    return {"status": "succeeded", "message": f"{operation.entity_id} is served as before"}


EXECUTORS = {
    "collections.send_reminder": reach,
    "sales.offer_upgrade": reach,
    "credit.raise_limit": reach,
    "care.place_call": reach,
    "care.lift_protection": lift_protection,
}
