"""What one worker did is what the next one knows: a client may land on either with every request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from auth_cases import FREE
from postgres_server import Databases
from served import DOMAIN, PATIENCE_SECONDS, TENANT, wait_for
from two_towers import Pair, pair

from kiff.client import Client
from kiff.errors import Unauthorized
from kiff.server.settings import ServerSettings
from kiff.server.tower import Tower

pytestmark = pytest.mark.slow

DEVICE = "/v1/auth/device"
SILENT = msgspec.structs.replace(FREE, heartbeat_seconds=3600.0)
"""A stream is woken by records, and by nothing else."""
SMALL: dict[str, Any] = {"action": "AUTO_REFUND", "parameters": {"amount": 49.0, "reason": "late"}}
LARGE: dict[str, Any] = {"action": "REFUND_ORDER", "parameters": {"amount": 999.0, "reason": "late"}}
NUMBERS = count(1)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgres: Databases) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("pair"), postgres.fresh(), SILENT) as both:
        yield both


@pytest.fixture
def order(both: Pair) -> str:
    """An order of the test's own, which is paid."""
    id = f"ord_{next(NUMBERS):03d}"
    both.one.paid(id)
    return f"order:{id}"


# Logging in


def test_a_login_that_began_on_one_is_approved_and_fetched_on_the_other(both: Pair) -> None:
    begun = both.one.post(f"{DEVICE}/start", {"client": "laptop"}, None).body
    assert both.other.get(f"{DEVICE}/{begun['user_code']}", "reviewer").body["client"] == "laptop"
    assert both.one.post(f"{DEVICE}/{begun['user_code']}/approve", None, "reviewer").status == 200
    told = both.other.post(f"{DEVICE}/token", {"device_code": begun["device_code"]}, None)
    assert both.one_as(told.body["session"]).me().principal.id == "ops-human"


def test_a_device_code_brings_one_session_whichever_is_asked(both: Pair) -> None:
    begun = both.one.post(f"{DEVICE}/start", {}, None).body
    both.other.post(f"{DEVICE}/{begun['user_code']}/approve", None, "reviewer")
    with ThreadPoolExecutor(4) as threads:
        body = {"device_code": begun["device_code"]}
        shops = (both.one, both.other, both.one, both.other)
        told = list(threads.map(lambda shop: shop.post(f"{DEVICE}/token", body, None), shops))
    assert sorted(each.status for each in told) == [200, 400, 400, 400]


def test_a_token_that_was_used_on_one_is_of_no_use_on_the_other(both: Pair) -> None:
    token = both.one.tower.logins.token(TENANT, "owner")
    assert both.other.post("/v1/auth/session", {"token": token}, None).status == 200
    assert both.one.post("/v1/auth/session", {"token": token}, None).status == 401


def test_a_session_that_was_ended_on_one_is_ended_on_the_other(both: Pair) -> None:
    token = both.one.tower.logins.token(TENANT, "owner")
    session = both.one.post("/v1/auth/session", {"token": token}, None).body["session"]
    both.other_as(session).login.out()
    with pytest.raises(Unauthorized):
        both.one_as(session).execute(entity="order:none", **SMALL)


# Deciding


def test_a_retry_that_lands_on_the_other_while_the_executor_runs_gets_the_first_answer(both: Pair, order: str) -> None:
    both.outside.behaviour = "hang"
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(both.one_as("agent").execute, entity=order, id=f"once-{order}", **SMALL)
        wait_for(lambda: both.one.tower.runtime.running())
        again = threads.submit(both.other_as("agent").execute, entity=order, id=f"once-{order}", **SMALL)
        threading.Event().wait(0.3)  # long enough for the second to be in work
        both.outside.behaviour = "succeed"
        both.outside.let_go.set()
        told = first.result(PATIENCE_SECONDS)
        assert again.result(PATIENCE_SECONDS) == told
    both.outside.let_go.clear()
    assert (told.executed, both.outside.effects[order.removeprefix("order:")]) == (True, 1)


def test_of_many_calls_at_once_on_one_order_one_runs(both: Pair, order: str) -> None:
    clients = [both.one_as("agent"), both.other_as("agent")]
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda number: clients[number % 2].execute(entity=order, **SMALL), range(8)))
    assert Counter(each.executed for each in told) == {True: 1, False: 7}
    assert both.outside.effects[order.removeprefix("order:")] == 1


def test_an_approval_that_was_granted_on_one_is_used_on_the_other_once(both: Pair, order: str) -> None:
    held = both.one_as("agent").execute(entity=order, **LARGE)
    assert held.approval_id is not None
    both.other_as("reviewer").grant(held.approval_id, "looked at it")
    call = {"entity": order, "id": held.proposal_id, "approval_id": held.approval_id, **LARGE}
    told = both.one_as("agent").execute(**call)
    assert both.other_as("agent").execute(**call) == told
    assert (told.executed, both.outside.effects[order.removeprefix("order:")]) == (True, 1)


def test_a_key_that_was_revoked_on_one_decides_nothing_more_on_the_other(both: Pair, order: str) -> None:
    minted = both.one_as("owner").keys.create(principal="ops-agent")
    agent = both.other_as(str(minted.secret))
    assert agent.execute(entity=order, **SMALL).outcome == "allowed"
    both.one_as("owner").keys.revoke(minted.key.id)
    with pytest.raises(Unauthorized):
        agent.execute(entity=order, **SMALL)


def test_a_key_that_was_revoked_on_one_lets_nothing_run_by_a_hook_of_the_other(both: Pair) -> None:
    """Not even a tool that KIFF has no say in: nothing is decided there, and so nothing read the key again."""
    told = both.one.ask("PUT", "/v1/hooks/tools", {"agent_id": "ops-agent", "ungoverned": ["Read"]}, "owner")
    assert told.status == 200
    minted = both.one_as("owner").keys.create(principal="ops-agent")
    event = {"hook_event_name": "PreToolUse", "tool_name": "Read"}
    assert both.other.post("/v1/hooks/claude-code", event, minted.secret).body == {}
    both.one_as("owner").keys.revoke(minted.key.id)
    answer = both.other.post("/v1/hooks/claude-code", event, minted.secret).body
    assert answer["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_a_member_who_was_switched_off_on_one_decides_nothing_more_on_the_other(both: Pair, order: str) -> None:
    owner = both.one_as("owner")
    owner.members.set("temp-agent", "agent", roles=["ops_agent"], person="owner")
    agent = both.other_as(str(owner.keys.create(principal="temp-agent").secret))
    assert agent.execute(entity=order, **LARGE).outcome == "approval_required"
    owner.members.set("temp-agent", "agent", roles=["ops_agent"], person="owner", active=False)
    with pytest.raises(Unauthorized):
        agent.execute(entity=order, **SMALL)


def test_a_domain_that_was_activated_on_one_is_what_the_other_decides_by(both: Pair, order: str) -> None:
    text = DOMAIN.read_text("utf-8")
    assert both.other_as("agent").execute(entity=order, **LARGE).outcome == "approval_required"
    stricter = text.replace("version: v2", "version: v3").replace("exclusiveMinimum: 0, maximum: 100", "maximum: 1")
    both.one_as("owner").domains.activate(stricter)
    try:
        assert both.other_as("agent").execute(entity=order, **SMALL).outcome == "invalid"
    finally:
        both.other_as("owner").domains.activate(text)
    assert both.one_as("agent").execute(entity=order, **SMALL).outcome == "allowed"


def test_a_stream_of_one_shows_at_once_what_the_other_decided(both: Pair, order: str) -> None:
    with Client(both.one.serving.url, both.one.keys["owner"], timeout=PATIENCE_SECONDS) as client:
        events = iter(client.stream(entity=order))
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(next, events)
            wait_for(lambda: both.one.tower.counts.streams[TENANT])
            told = both.other_as("agent").execute(entity=order, **SMALL)
            assert first.result(PATIENCE_SECONDS).record["data"]["receipt"]["id"] == told.receipt_id
        events.close()  # type: ignore[attr-defined]  # it is a generator


def test_an_entity_is_found_by_one_as_soon_as_the_other_activated_its_domain(
    tmp_path: Path, fresh_database: str
) -> None:
    with pair(tmp_path / "data", fresh_database) as both:
        both.other.tower.runtime._sweeper.close()  # which looks around once a second
        both.one.keys |= both.one.found("later")
        both.one.paid("ord_1")
        assert both.other_as("owner").state("order:ord_1") is not None


def test_servers_that_start_at_once_on_an_empty_database_all_serve(tmp_path: Path, fresh_database: str) -> None:
    start = threading.Barrier(4)

    def one(_: int) -> tuple[str, bytes]:
        start.wait(PATIENCE_SECONDS)
        with closing(Tower(ServerSettings(tmp_path / "data", fresh_database))) as tower:
            tower.first_login("acme")
            return tower.keys("acme").kid, tower.runtime.checkpoint("acme").result(PATIENCE_SECONDS)

    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(one, range(4)))
    assert len({kid for kid, _ in told}) == 1
    assert len({signed.splitlines()[0] for _, signed in told}) == 1
