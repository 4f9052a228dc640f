"""The tools of the suite's scenes, and a count of what they did: the effects that nobody but their bodies can make."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

LONG_SECONDS = 20.0
"""How long a tool waits to be cancelled before it gives up: no test waits for it."""

USUAL_AMOUNT = 500.0
"""What `pay` pays if it is told no amount."""


class ToolBroke(Exception):
    """What a tool of the suite raises."""


@dataclass(frozen=True)
class Ran:
    """One run of a tool's body."""

    tool: str
    args: dict[str, Any]


@dataclass
class World:
    """What the tools change.

    Attributes:
        ran: every run of a body, as it began.
        ended: the tools whose bodies came to their end, without an error.
        log: `("body", tool)` is added to it, beside what others add.
        cancel: set by a tool that wants its run cancelled.
        inside: called by `refund_slowly` in the middle of its run.
        failures: how often `flaky` still raises.
    """

    ran: list[Ran] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    cancel: threading.Event = field(default_factory=threading.Event)
    inside: Callable[[], None] = lambda: None
    failures: int = 1

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def runs(self, tool: str) -> int:
        with self._lock:
            return sum(each.tool == tool for each in self.ran)

    def begins(self, tool: str, **args: Any) -> None:
        with self._lock:
            self.ran.append(Ran(tool, args))
            self.log.append(("body", tool))

    def done(self, tool: str, about: str) -> str:
        """A body came to its end; what it gives back."""
        with self._lock:
            self.ended.append(tool)
        return said(tool, about)

    def tools(self) -> dict[str, Callable[..., Any]]:
        """Every tool by its name, as plain functions."""
        begins, done = self.begins, self.done

        def refund(order_id: str, amount: float) -> str:
            """Refund an order."""
            begins("refund", order_id=order_id, amount=amount)
            return done("refund", order_id)

        def pay(order_id: str, amount: float = USUAL_AMOUNT) -> str:
            """Pay for an order; the usual amount if none is given."""
            begins("pay", order_id=order_id, amount=amount)
            return done("pay", order_id)

        def delete_account(account_id: str) -> str:
            """Delete an account for good."""
            begins("delete_account", account_id=account_id)
            return done("delete_account", account_id)

        def send_email(to: str, body: str) -> str:
            """Send an e-mail."""
            begins("send_email", to=to, body=body)
            return done("send_email", to)

        def assign(order_id: str, roles: list[str]) -> str:
            """Assign an order to people with these roles."""
            begins("assign", order_id=order_id, roles=roles)
            return done("assign", order_id)

        def label(order_id: str, labels: list[str]) -> str:
            """Put labels on an order."""
            begins("label", order_id=order_id, labels=list(labels))
            labels.append("changed by the tool")
            return done("label", order_id)

        def charge(order_id: str, api_key: str) -> str:
            """Charge an order with a key."""
            begins("charge", order_id=order_id, api_key=api_key)
            return done("charge", order_id)

        def explode(order_id: str) -> str:
            """Fail."""
            begins("explode", order_id=order_id)
            raise ToolBroke(broken(order_id))

        def flaky(order_id: str) -> str:
            """Fail at first."""
            begins("flaky", order_id=order_id)
            if self.failures > 0:
                self.failures -= 1
                raise ToolBroke(broken(order_id))
            return done("flaky", order_id)

        async def refund_slowly(order_id: str) -> str:
            """Refund an order, and wait for it."""
            await asyncio.sleep(0)
            begins("refund_slowly", order_id=order_id)
            self.inside()
            await asyncio.sleep(0)
            return done("refund_slowly", order_id)

        async def explode_slowly(order_id: str) -> str:
            """Wait, and fail."""
            begins("explode_slowly", order_id=order_id)
            await asyncio.sleep(0)
            raise ToolBroke(broken(order_id))

        async def wait_for_ever(order_id: str) -> str:
            """Wait until the run is cancelled."""
            begins("wait_for_ever", order_id=order_id)
            self.cancel.set()
            await asyncio.sleep(LONG_SECONDS)
            return done("wait_for_ever", order_id)

        def count_up(order_id: str) -> Iterator[str]:
            """Tell an order's news piece by piece."""
            begins("count_up", order_id=order_id)
            yield from chunks(order_id)
            done("count_up", order_id)

        def break_off(order_id: str) -> Iterator[str]:
            """Tell some of an order's news, and fail."""
            begins("break_off", order_id=order_id)
            yield chunks(order_id)[0]
            raise ToolBroke(broken(order_id))

        async def drip(order_id: str) -> AsyncIterator[str]:
            """Tell one piece, and wait until the run is cancelled."""
            begins("drip", order_id=order_id)
            yield chunks(order_id)[0]
            self.cancel.set()
            await asyncio.sleep(LONG_SECONDS)
            yield chunks(order_id)[1]

        made = (refund, pay, delete_account, send_email, assign, label, charge, explode, flaky)
        waiting = (refund_slowly, explode_slowly, wait_for_ever, count_up, break_off, drip)
        return {tool.__name__: tool for tool in (*made, *waiting)}


def said(tool: str, about: str) -> str:
    """What a tool gives that ran. No text of a guard holds it."""
    return f"{tool} has run for {about}"


def broken(about: str) -> str:
    return f"the tool broke over {about}"


def chunks(about: str) -> tuple[str, ...]:
    return tuple(f"piece {number} of {about}. " for number in (1, 2, 3))
