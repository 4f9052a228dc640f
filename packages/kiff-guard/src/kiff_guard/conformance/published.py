"""The suite as kiff-guard 1 published it: a driver is one function that makes one call, and says whether the tool ran.

Adapters that were tested so still are. New ones take `run`: it sees what this cannot (errors, parallel calls, pauses).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kiff_guard.decision import Decision
from kiff_guard.guard import Guard
from kiff_guard.receipt import Receipt

ACCOUNT = {"account_id": "a-9"}


@dataclass
class ConformanceClient:
    """Gives one answer to every question, and keeps what it was asked.

    Args:
        outcome, reason, proposal_id: of the answer.
        raises: it fails instead.

    Attributes:
        calls: how often it was asked.
        seen_args: the arguments of each question.
    """

    outcome: str = "allowed"
    reason: str = ""
    proposal_id: str = "p_conf"
    raises: bool = False
    calls: int = field(default=0, init=False)
    seen_args: list[dict[str, Any]] = field(default_factory=list, init=False)

    def decide(self, tenant: str, agent: str, tool: str, args: dict[str, Any]) -> Decision:
        self.calls += 1
        self.seen_args.append(dict(args))
        if self.raises:
            raise RuntimeError("there is no KIFF here")
        return Decision(outcome=self.outcome, reason=self.reason, proposal_id=self.proposal_id)


@dataclass
class AdapterDriver:
    """Makes one call through an adapter.

    Args:
        name: of the adapter, for messages.
        drive: `drive(guard, tool, args, *, will_run)` makes the call and says whether the tool's body ran. `will_run`
            is what is expected; a driver that decides by it tests nothing.
    """

    name: str
    drive: Callable[..., bool]


def run_conformance(driver: AdapterDriver) -> None:
    """O1 to O5 and E1 to E5.

    Raises:
        AssertionError: names the adapter and the first invariant that does not hold.
    """
    for check in (_observes, _allows, _withholds, _adds_no_roles, _withholds_the_unknown, _withholds_on_errors):
        check(_Claim(driver))


@dataclass(frozen=True)
class _Claim:
    """Makes calls, and says what does not hold in the name of the adapter."""

    driver: AdapterDriver

    def guard(self, client: ConformanceClient | None, mode: Any = "enforce") -> Guard:
        return Guard(client=client, tenant="t" if client else "", agent="conf", mode=mode)

    def ran(self, guard: Guard, tool: str, args: dict[str, Any], will_run: bool) -> bool:
        return self.driver.drive(guard, tool, dict(args), will_run=will_run)

    def holds(self, id: str, holds: bool, what: str) -> None:
        if not holds:
            raise AssertionError(f"[{self.driver.name}] {id}: {what}")


def _observes(claim: _Claim) -> None:
    guard = claim.guard(None, "observe")
    ran = claim.ran(guard, "send_email", {"to": "x", "body": "y"}, will_run=True)
    claim.holds("O2", ran is True, "in observe the tool runs")
    claim.holds("O3", [receipt.state for receipt in guard.receipts] == ["observed"], "one observed receipt is due")
    claim.holds("O4", guard.catalog.tools.get("send_email") == {"to", "body"}, "the catalog learns the tool")
    client = ConformanceClient(outcome="blocked")
    claim.ran(claim.guard(client, "observe"), "refund", {"order_id": "o1"}, will_run=True)
    claim.holds("O1", client.calls == 0, "in observe KIFF is not asked")


def _allows(claim: _Claim) -> None:
    client = ConformanceClient()
    guard = claim.guard(client)
    ran = claim.ran(guard, "refund", {"order_id": "o1", "amount_cents": 5}, will_run=True)
    claim.holds("E1", ran is True, "an allowed tool runs")
    claim.holds("E1", _one(guard, executed=True), f"one governed receipt is due, executed; there is {guard.receipts}")
    claim.holds("E1", client.calls == 1, f"KIFF is asked once, not {client.calls} times")


def _withholds(claim: _Claim) -> None:
    _withheld(claim, "E2", ConformanceClient(outcome="blocked", reason="blocked by policy"))


def _withholds_the_unknown(claim: _Claim) -> None:
    _withheld(claim, "E4", ConformanceClient(outcome="quarantined"))


def _withheld(claim: _Claim, id: str, client: ConformanceClient) -> None:
    guard = claim.guard(client)
    claim.holds(id, claim.ran(guard, "delete_account", ACCOUNT, will_run=False) is False, "the tool must not run")
    claim.holds(
        id, _one(guard, executed=False), f"one governed receipt is due, not executed; there is {guard.receipts}"
    )


def _adds_no_roles(claim: _Claim) -> None:
    client = ConformanceClient()
    claim.ran(claim.guard(client), "refund", {"order_id": "o1", "actor_roles": ["admin"]}, will_run=True)
    claim.holds("E3", all("roles" not in args for args in client.seen_args), "the guard adds no roles")


def _withholds_on_errors(claim: _Claim) -> None:
    guard = claim.guard(ConformanceClient(raises=True))
    try:
        ran = claim.ran(guard, "delete_account", ACCOUNT, will_run=False)
    except Exception:  # noqa: BLE001  # an adapter may raise: it has not run the tool
        ran = False
    claim.holds("E5", ran is False, "when KIFF cannot be asked the tool must not run")


def _one(guard: Guard, *, executed: bool) -> bool:
    governed: list[Receipt] = [receipt for receipt in guard.receipts if receipt.state == "governed"]
    return [receipt.executed for receipt in governed] == [executed]
