"""What an allowed action runs. This is the only code of the project that makes money leave.

The rule of an executor: raise ActionFailed only when nothing can have happened outside. In doubt, let the
exception rise: the outcome is then unknown, the invoice stays closed, and nothing is paid a second time.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from outside import bank

from kiff import Operation


def approve(operation: Operation) -> dict[str, Any]:
    """Nothing happens outside: the event that the contract emits is the whole effect."""
    return {"status": "succeeded", "message": f"{operation.entity_id} approved by {operation.principal}"}


def pay_invoice(operation: Operation) -> dict[str, Any]:
    """One debit at the bank, with the operation's id as its idempotency key."""
    amount = Decimal(str(operation.parameters["amount"]))
    bank().pay(operation.entity_id, int(amount * 100), key=operation.id)
    return {"status": "succeeded", "message": f"{operation.entity_id} paid: ${amount:,.2f}"}


EXECUTORS = {"invoices.approve": approve, "bank.pay_invoice": pay_invoice}
