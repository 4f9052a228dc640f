"""Receipts in several places, and the tools seen on a server: what fails there keeps nothing from anybody."""

from __future__ import annotations

from typing import Any

import pytest
from own_tenant import OwnTenant
from served import wait_for

from kiff_guard import Guard, HTTPClient, ToolMap
from kiff_guard.errors import ConfigurationError, LedgerError
from kiff_guard.ledgers import Ledgers, MemoryLedger, ServerLedger
from kiff_guard.ledgers.server import WHO_LIMIT


class Noted:
    """A ledger that notes which of its verbs were called, and fails on those it is told to."""

    blocking = True

    def __init__(self, *fails: str) -> None:
        self.seen: list[str] = []
        self._fails = fails

    def _called(self, verb: str) -> None:
        self.seen.append(verb)
        if verb in self._fails:
            raise RuntimeError(f"cannot {verb}")

    def open(self, receipt: Any) -> None:
        self._called("open")

    def append(self, receipt: Any) -> None:
        self._called("append")

    def close(self) -> None:
        self._called("close")


class Told:
    """A server that keeps what it was told, or does not answer."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, dict[str, int]]] = []
        self.down = False

    def observe_guard(self, agent_id: str, adapter: str, mode: str, tools: list[Any]) -> None:
        if self.down:
            raise ConnectionError("no answer")
        self.told.append((agent_id, adapter, mode, {each.name: each.observed_call_count for each in tools}))


def test_one_that_fails_keeps_a_receipt_from_none_of_the_others() -> None:
    first, second, kept = Noted("open", "append", "close"), Noted(), []
    ledgers = Ledgers(first, second, kept)
    for verb, given in (("open", ["r"]), ("append", ["r"]), ("close", [])):
        with pytest.raises(LedgerError, match=f"cannot {verb}"):
            getattr(ledgers, verb)(*given)
    assert (first.seen, second.seen, kept) == (["open", "append", "close"],) * 2 + (["r"],)


def test_several_wait_if_one_of_them_does_and_show_what_the_first_shows() -> None:
    memory = MemoryLedger()
    assert (Ledgers(memory, []).blocking, Ledgers(memory, Noted()).blocking) == (False, True)
    guard = Guard(ledger=Ledgers(Noted(), memory))
    guard.evaluate("refund", {}, run=lambda: "done")
    assert [each.tool for each in guard.receipts] == ["refund"]


@pytest.mark.parametrize(("client", "every"), [(object(), 60), (Told(), 0), (Told(), float("nan")), (Told(), -1)])
def test_a_server_ledger_that_could_send_nothing_is_refused(client: Any, every: float) -> None:
    with pytest.raises(ConfigurationError, match=r"observe_guard|more than none"):
        ServerLedger(client, every=every)


def test_what_was_seen_is_sent_at_the_end_and_once() -> None:
    server = Told()
    ledger = ServerLedger(server, every=3600)
    for agent, adapter in (("support", "agno"), ("support", "agno"), ("billing", "")):
        Guard(agent=agent, ledger=ledger, adapter=adapter).evaluate("refund", {}, run=lambda: "done")
    assert server.told == []
    ledger.close()
    ledger.close()
    assert server.told == [
        ("support", "agno", "observe", {"refund": 2}),
        ("billing", "python", "observe", {"refund": 1}),
    ]


def test_it_sends_in_between_and_again_only_what_is_new() -> None:
    server = Told()
    ledger = ServerLedger(server, every=0.005)
    guard = Guard(agent="support", ledger=ledger)
    for number in (1, 2):
        guard.evaluate("refund", {}, run=lambda: "done")
        sent = ("support", "python", "observe", {"refund": number})
        wait_for(lambda sent=sent: sent in server.told)
    ledger.close()
    assert [told[3] for told in server.told] == [{"refund": 1}, {"refund": 2}]


def test_a_server_that_does_not_answer_stops_no_tool_and_is_told_all_of_it_later() -> None:
    server = Told()
    server.down = True
    ledger = ServerLedger(server, every=0.005)
    guard = Guard(agent="support", ledger=ledger)
    assert [guard.evaluate("refund", {}, run=lambda: "done") for _ in range(3)] == ["done"] * 3
    wait_for(lambda: ledger.failure)
    server.down = False
    ledger.close()
    assert (server.told[-1][3], ledger.failure) == ({"refund": 3}, None)


def test_who_is_told_of_is_bounded() -> None:
    server = Told()
    ledger = ServerLedger(server, every=3600)
    for number in range(WHO_LIMIT + 5):
        Guard(agent=f"agent-{number}", ledger=ledger).evaluate("refund", {}, run=lambda: "done")
    ledger.close()
    assert len(server.told) == WHO_LIMIT


def test_a_real_server_keeps_the_tools_and_no_value(own: OwnTenant) -> None:
    client = HTTPClient(own.keys["agent"], base_url=own.serving.url, tool_map=ToolMap())
    ledger = ServerLedger(client, every=3600)
    Guard(ledger=ledger).evaluate("refund", {"amount": 49.5, "note": "confidential"}, run=lambda: "done")
    ledger.close()
    assert ledger.failure is None
    guard = client.connect_guard(adapter="python", mode="observe").runtime_id
    client.close()
    kept = own.get(f"/v1/guard/observations/{guard}", "owner").body
    assert "refund" in str(kept)
    assert "confidential" not in str(kept)
