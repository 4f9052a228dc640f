"""What an allowed action runs. This is the only code of the project that moves money.

The rule of an executor: say `failed` (raise ActionFailed) only when nothing can have happened outside. In doubt,
let the exception rise: the outcome is then unknown, the order stays closed, and nothing is sent a second time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from http.client import HTTPConnection
from typing import Any

from kiff import ActionFailed, Operation

TIMEOUT_SECONDS = 10


def registry(ledger: str) -> Mapping[str, Callable[[Operation], dict[str, Any]]]:
    """The names that kiff.yaml uses, and their functions.

    Args:
        ledger: `host:port` of the outside payment ledger.
    """

    def issue_refund(operation: Operation) -> dict[str, Any]:
        amount = Decimal(str(operation.parameters["amount"]))
        debit = {"order": operation.entity_id, "amount_minor": int(amount * 100)}
        answer = pay(ledger, debit, key=operation.id)
        kind = "auto-refund" if operation.action == "AUTO_REFUND" else "refund"
        return {"status": "succeeded", "message": f"{kind} of ${amount:,.2f} issued", "output": answer}

    return {"orders.mark_paid": mark_paid, "refund.issue_refund": issue_refund}


def mark_paid(operation: Operation) -> dict[str, Any]:
    """Nothing happens outside: the event that the contract emits is the whole effect."""
    return {"status": "succeeded", "message": f"{operation.entity_id} marked as paid by {operation.principal}"}


def pay(ledger: str, debit: dict[str, Any], *, key: str) -> dict[str, Any]:
    """Asks the outside ledger for one debit.

    Args:
        key: sent as the idempotency key. This ledger ignores it, as some do; KIFF must be right anyway.

    Raises:
        ActionFailed: it was not reached, or refused (4xx): no money moved.
        Exception: anything else. The request may have arrived, so nobody can say.
    """
    connection = HTTPConnection(ledger, timeout=TIMEOUT_SECONDS)
    try:
        connection.connect()
    except OSError as error:
        raise ActionFailed("the payment ledger cannot be reached; nothing was sent") from error
    try:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        connection.request("POST", "/debits", json.dumps(debit), headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if 400 <= response.status < 500:
        raise ActionFailed(f"the payment ledger refused the debit with status {response.status}")
    if response.status != 201:
        raise RuntimeError(f"the payment ledger answered {response.status}; the debit may have been made")
    answer: dict[str, Any] = json.loads(body)
    return answer
