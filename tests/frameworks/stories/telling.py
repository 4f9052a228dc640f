"""The two stories, told through any framework that the conformance suite has a driver for, against a real KIFF.

Each is told to a tower, a bank and a driver, and looks at the bank alone. The controls tell the same without KIFF's
word and must see the money leave: else a story would be true of an agent that never called its tool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from towers import Tower

from kiff_guard import Guard
from kiff_guard.conformance import Driver, Played, Scene, ToolCall
from stories.outside import Bank, approved_invoice, guard_of, paid_order

AMOUNT = 10_000.0
RETRIES = 10
Turns = list[list[ToolCall]]
Story = Callable[[Driver, Tower, Bank], None]


def pay(invoice: str, number: int = 0, amount: Any = AMOUNT) -> ToolCall:
    return ToolCall("pay_invoice", {"invoice_id": invoice, "amount": amount}, f"call-{number}")


def give_back(order: str, number: int, amount: Any = 50.0) -> ToolCall:
    return ToolCall("refund_order", {"order_id": order, "amount": amount}, f"call-{number}")


def play(driver: Driver, guard: Guard, tools: dict[str, Any], turns: Turns, session: str) -> Played:
    return driver.play(Scene(guard=guard, tools=tools, turns=turns, session=session))


# An invoice of $10,000, asked to be paid ten times


def one_after_the_other(driver: Driver, tower: Tower, bank: Bank) -> None:
    """The model loses count and pays again and again."""
    approved_invoice(tower, "inv_one")
    turns = [[pay("inv_one", number)] for number in range(RETRIES)]
    played = play(driver, guard_of(tower), bank.tools(), turns, "one")
    assert bank.paid == [("inv_one", AMOUNT)]
    assert len(played.told) == RETRIES
    assert sum("state_not_allowed" in text for text in played.told) == RETRIES - 1


def all_at_once(driver: Driver, tower: Tower, bank: Bank) -> None:
    approved_invoice(tower, "inv_all")
    play(driver, guard_of(tower), bank.tools(), [[pay("inv_all", number) for number in range(RETRIES)]], "all")
    assert bank.paid == [("inv_all", AMOUNT)]


def by_ten_processes(driver: Driver, tower: Tower, bank: Bank) -> None:
    """A scheduler starts the job again and again: nobody remembers anything but KIFF."""
    approved_invoice(tower, "inv_ten")
    for _ in range(RETRIES):
        play(driver, guard_of(tower), bank.tools(), [[pay("inv_ten")]], "ten")
    assert bank.paid == [("inv_ten", AMOUNT)]


def after_an_answer_was_lost(driver: Driver, tower: Tower, bank: Bank) -> None:
    """The money left, the answer did not come back, and the agent tries again."""

    def pay_invoice(invoice_id: str, amount: float) -> str:
        """Pay a supplier's invoice."""
        bank.pays(invoice_id, amount)
        raise TimeoutError("the bank did not answer")

    approved_invoice(tower, "inv_lost")
    for number in range(RETRIES):
        play(driver, guard_of(tower), {"pay_invoice": pay_invoice}, [[pay("inv_lost", number)]], f"lost-{number}")
    assert bank.paid == [("inv_lost", AMOUNT)]


def with_other_amounts(driver: Driver, tower: Tower, bank: Bank) -> None:
    """As text, left out, one cent more: none of it is a payment that the domain knows."""
    approved_invoice(tower, "inv_odd")
    left_out = ToolCall("pay_invoice", {"invoice_id": "inv_odd"}, "call-9")
    odd = [pay("inv_odd", 1, "10000"), pay("inv_odd", 2, 10_000.01), pay("inv_odd", 3, -1.0), left_out]
    play(driver, guard_of(tower), bank.tools(), [[each] for each in odd], "odd")
    assert bank.paid == []


def before_anybody_approved_it(driver: Driver, tower: Tower, bank: Bank) -> None:
    tower.happened("Invoice", "inv_new", "INVOICE_RECEIVED")
    play(driver, guard_of(tower), bank.tools(), [[pay("inv_new")], [pay("inv_none", 1)]], "new")
    assert bank.paid == []


def control_without_kiff_it_is_paid_ten_times(driver: Driver, tower: Tower, bank: Bank) -> None:
    turns = [[pay("inv_free", number)] for number in range(RETRIES)]
    play(driver, Guard(mode="observe"), bank.tools(), turns, "free")
    assert bank.paid == [("inv_free", AMOUNT)] * RETRIES


INVOICE_STORIES: tuple[Story, ...] = (
    one_after_the_other,
    all_at_once,
    by_ten_processes,
    after_an_answer_was_lost,
    with_other_amounts,
    before_anybody_approved_it,
    control_without_kiff_it_is_paid_ten_times,
)


# An order of $100, and $50 asked back five times


def five_refunds(driver: Driver, tower: Tower, bank: Bank) -> None:
    paid_order(tower, "ord_five")
    played = play(driver, guard_of(tower), bank.tools(), [[give_back("ord_five", number)] for number in range(5)], "5")
    assert bank.paid == [("ord_five", 50.0)] * 2
    assert sum("limit_exceeded" in text for text in played.told) == 3


def five_refunds_at_once(driver: Driver, tower: Tower, bank: Bank) -> None:
    """How many get through depends on who comes first; more than the ceiling never do."""
    paid_order(tower, "ord_once")
    play(driver, guard_of(tower), bank.tools(), [[give_back("ord_once", number) for number in range(5)]], "once")
    assert 1 <= len(bank.paid) <= 2


def crumbs(driver: Driver, tower: Tower, bank: Bank) -> None:
    """Split as it may be: the last one that fits is the last one."""
    paid_order(tower, "ord_crumbs")
    parts = [40.0, 40.0, 40.0, 20.0, 0.01]
    turns = [[give_back("ord_crumbs", number, amount)] for number, amount in enumerate(parts)]
    play(driver, guard_of(tower), bank.tools(), turns, "crumbs")
    assert [amount for _, amount in bank.paid] == [40.0, 40.0, 20.0]


def another_order_has_its_own(driver: Driver, tower: Tower, bank: Bank) -> None:
    for order in ("ord_a", "ord_b"):
        paid_order(tower, order)
    turns = [[give_back(order, number, 100.0)] for number, order in enumerate(("ord_a", "ord_b", "ord_a", "ord_b"))]
    play(driver, guard_of(tower), bank.tools(), turns, "another")
    assert bank.paid == [("ord_a", 100.0), ("ord_b", 100.0)]


def control_without_kiff_all_five_leave(driver: Driver, tower: Tower, bank: Bank) -> None:
    turns = [[give_back("ord_free", number)] for number in range(5)]
    play(driver, Guard(mode="observe"), bank.tools(), turns, "free")
    assert len(bank.paid) == 5


ORDER_STORIES: tuple[Story, ...] = (
    five_refunds,
    five_refunds_at_once,
    crumbs,
    another_order_has_its_own,
    control_without_kiff_all_five_leave,
)
