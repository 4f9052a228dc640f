"""The world outside: money that moves, counted in a file that neither KIFF nor a guard writes to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from towers import Tower, tower_in

from kiff_guard import Guard, HTTPClient, ToolMap

HERE = Path(__file__).parent
INVOICES = HERE / "accounts-payable.yaml"
ORDERS = HERE / "order-refunds.yaml"

TOOLS = (
    ToolMap()
    .bind("pay_invoice", "PAY_INVOICE", "Invoice", "invoice_id", parameters=["amount"])
    .bind("refund_order", "REFUND_ORDER", "Order", "order_id", parameters=["amount"])
)


@dataclass(frozen=True)
class Bank:
    """Every payment that really left, one line each."""

    file: Path

    def pays(self, whom: str, amount: float) -> None:
        line = json.dumps({"to": whom, "amount": amount}) + "\n"
        handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    @property
    def paid(self) -> list[tuple[str, float]]:
        lines = self.file.read_text("utf-8").splitlines() if self.file.exists() else []
        return [(each["to"], each["amount"]) for each in map(json.loads, lines)]

    def tools(self) -> dict[str, Callable[..., Any]]:
        """What an agent is given; each moves money."""

        def pay_invoice(invoice_id: str, amount: float) -> str:
            """Pay a supplier's invoice."""
            self.pays(invoice_id, amount)
            return f"paid {invoice_id}"

        def refund_order(order_id: str, amount: float) -> str:
            """Give money of an order back."""
            self.pays(order_id, amount)
            return f"refunded {amount} of {order_id}"

        return {"pay_invoice": pay_invoice, "refund_order": refund_order}


@contextmanager
def tower_of(domain: Path, folder: Path) -> Iterator[Tower]:
    """A real `kiff up` with one of the two domains."""
    with tower_in(folder, "--domain", str(domain)) as tower:
        yield tower


def guard_of(tower: Tower, **more: Any) -> Guard:
    """What stands in front of the agent, with the agent's own key."""
    return Guard(HTTPClient(tower.keys["agent"], TOOLS, tower.url), mode="enforce", **more)


def approved_invoice(tower: Tower, invoice: str) -> None:
    tower.happened("Invoice", invoice, "INVOICE_RECEIVED", "INVOICE_APPROVED")


def paid_order(tower: Tower, order: str) -> None:
    tower.happened("Order", order, "ORDER_PAID")
