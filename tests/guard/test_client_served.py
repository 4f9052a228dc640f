"""The client against a served KIFF: what it asks for is understood, and what KIFF says is understood."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from client_cases import REFUND, client, tools
from own_tenant import OwnTenant
from served import DOMAIN

from kiff_guard import Guard, Hold
from kiff_guard.client import HTTPClient
from kiff_guard.errors import Refused
from kiff_guard.observation import GuardToolObservation
from kiff_guard.tool_map import ToolMap

pytestmark = pytest.mark.slow

MUCH = REFUND | {"amount": 999.0}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def asking(own: OwnTenant) -> Iterator[HTTPClient]:
    """A client with the agent's key, and an order that is paid."""
    own.paid("ord_1")
    asking = client(own.serving.url, own.keys["agent"])
    yield asking
    asking.close()


def refunds(own: OwnTenant) -> list[str]:
    """What the order's timeline says that was done or refused to be done."""
    records = own.get("/v1/entities/order:ord_1/timeline", "owner").body["records"]
    return [each["kind"] for each in records if each["kind"] not in ("event_ingested", "state_changed")]


def operation(own: OwnTenant, proposal_id: str) -> Any:
    return own.get(f"/v1/proposals/{proposal_id}", "owner").body["operation"]["status"]


def test_a_call_that_is_blocked_says_why(own: OwnTenant) -> None:
    told = client(own.serving.url, own.keys["agent"]).decide("t", "ops-agent", "refund", REFUND)
    assert (told.outcome, told.reasons[0], told.clearance_id) == ("blocked", "state_not_allowed", "")
    assert told.reason.startswith("state_not_allowed: ")


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "an action nobody declared": ("destroy", {"order_id": "ord_1"}, "unknown_action"),
    "a type nobody declared": ("ship", {"order_id": "ord_1"}, "unknown_entity_type"),
    "a parameter that is missing": ("refund", {"order_id": "ord_1", "amount": 1.0}, "missing_parameter"),
    "an amount that is text": ("refund", REFUND | {"amount": "49"}, "invalid_parameter"),
    "an amount too large": ("refund", REFUND | {"amount": 5_000.0}, "invalid_parameter"),
    "a parameter that claims authority": ("refund", REFUND | {"kiff_untrusted": False}, "invalid"),
    "an entity that is none": ("refund", REFUND | {"order_id": "ord 1/.."}, "invalid"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_cannot_be_decided_is_withheld(own: OwnTenant, name: str) -> None:
    own.paid("ord_1")
    tool, args, code = REFUSED[name]
    more = tools().bind("destroy", "DESTROY", "Order", "order_id").bind("ship", "SHIP", "Parcel", "order_id")
    told = HTTPClient(own.keys["agent"], more, own.serving.url).decide("t", "ops-agent", tool, args)
    assert (told.withheld, told.needs_approval) == (True, False)
    assert told.reasons[0] == code
    assert "decision_recorded" not in refunds(own) or told.outcome in ("invalid", "blocked")


def test_another_agent_than_the_keys_is_withheld(own: OwnTenant, asking: HTTPClient) -> None:
    told = asking.decide("t", "somebody", "refund", REFUND)
    assert (told.outcome, told.reasons) == ("blocked", ("actor_not_key_holder",))


def test_a_key_that_is_none_is_withheld(own: OwnTenant) -> None:
    told = client(own.serving.url, "kiff_live_nobody_0000").decide("t", "ops-agent", "refund", REFUND)
    assert (told.outcome, told.reasons) == ("invalid", ("unauthorized",))
    assert "kiff_live_nobody_0000" not in told.reason


def test_a_key_that_was_revoked_allows_nothing_not_even_without_kiff(own: OwnTenant) -> None:
    """A guard that lets tools run while KIFF cannot be asked: KIFF was asked."""
    own.paid("ord_1")
    minted = own.post("/v1/keys", {"principal": "ops-agent"}, "owner").body
    guard = Guard(client(own.serving.url, minted["secret"]), mode="enforce", fail_closed=False)
    own.ask("DELETE", f"/v1/keys/{minted['key']['id']}", None, "owner")
    with pytest.raises(Hold):
        guard.evaluate("refund", REFUND, lambda: pytest.fail("it ran"))


def test_roles_among_the_arguments_give_nobody_any(own: OwnTenant, asking: HTTPClient) -> None:
    told = asking.decide("t", "ops-agent", "refund", REFUND | {"roles": ["tenant_owner"]})
    assert (told.outcome, told.reasons) == ("invalid", ("invalid",))
    assert "claims authority" in told.reason


def test_a_call_is_cleared_and_its_ending_is_on_record(own: OwnTenant, asking: HTTPClient) -> None:
    told = asking.decide("t", "ops-agent", "refund", REFUND, trace=TRACE)
    assert (told.outcome, told.replayed, bool(told.clearance_id), bool(told.expires_at)) == (
        "allowed",
        False,
        True,
        True,
    )
    assert operation(own, told.proposal_id) == "open"
    settled = asking.settle(told.proposal_id, "succeeded", result_hash="sha256:00")
    assert (settled["operation_id"], settled["status"], settled["confirmed"]) == (told.clearance_id, "succeeded", False)
    assert asking.settle(told.proposal_id, "succeeded")["confirmed"] is True
    assert operation(own, told.proposal_id) == "succeeded"
    assert "action_executed" in refunds(own)
    assert own.get(f"/v1/proposals/{told.proposal_id}", "owner").body["proposal"]["trace_id"] == f"trace_{TRACE}"


def test_an_ending_that_contradicts_the_first_is_refused(own: OwnTenant, asking: HTTPClient) -> None:
    told = asking.decide("t", "ops-agent", "refund", REFUND)
    asking.settle(told.proposal_id, "failed", error="no such card")
    with pytest.raises(Refused) as refused:
        asking.settle(told.proposal_id, "succeeded")
    assert refused.value.code == "operation_settled"


def test_an_ending_of_a_call_that_was_withheld_is_refused(own: OwnTenant) -> None:
    asking = client(own.serving.url, own.keys["agent"])
    told = asking.decide("t", "ops-agent", "refund", REFUND)
    with pytest.raises(Refused) as refused:
        asking.settle(told.proposal_id, "succeeded")
    assert refused.value.code == "not_found"


def test_a_held_call_runs_once_a_person_said_yes(own: OwnTenant, asking: HTTPClient) -> None:
    held = asking.decide("t", "ops-agent", "refund_much", MUCH)
    assert (held.outcome, held.clearance_id) == ("approval_required", "")
    again = asking.decide("t", "ops-agent", "refund_much", MUCH, approval_id=held.approval_id)
    assert (again.outcome, again.approval_id) == ("approval_required", held.approval_id)
    own.post(f"/v1/approvals/{held.approval_id}/grant", {"reason": "seen"}, "reviewer")
    told = asking.decide("t", "ops-agent", "refund_much", MUCH, approval_id=held.approval_id)
    assert (told.outcome, told.approval_id) == ("allowed", held.approval_id)
    assert "action_executed" not in refunds(own)
    asking.settle(told.proposal_id, "succeeded", result_hash="sha256:00")
    assert refunds(own).count("action_executed") == 1


def test_an_approval_is_for_the_arguments_that_were_shown(own: OwnTenant, asking: HTTPClient) -> None:
    held = asking.decide("t", "ops-agent", "refund_much", MUCH)
    own.post(f"/v1/approvals/{held.approval_id}/grant", {"reason": "seen"}, "reviewer")
    more = asking.decide("t", "ops-agent", "refund_much", MUCH | {"amount": 1_500.0}, approval_id=held.approval_id)
    assert (more.withheld, more.reasons[0]) == (True, "approval_mismatch")


def test_a_denial_is_for_good(own: OwnTenant, asking: HTTPClient) -> None:
    held = asking.decide("t", "ops-agent", "refund_much", MUCH)
    own.post(f"/v1/approvals/{held.approval_id}/deny", {"reason": "no"}, "reviewer")
    told = asking.decide("t", "ops-agent", "refund_much", MUCH, approval_id=held.approval_id)
    assert (told.outcome, "approval_denied" in told.reasons) == ("blocked", True)


def test_the_same_id_is_the_same_question_and_its_answer_says_so(own: OwnTenant, asking: HTTPClient) -> None:
    first, again = (asking.decide("t", "ops-agent", "refund", REFUND, proposal_id="prop_1") for _ in range(2))
    assert (first.outcome, first.replayed) == ("allowed", False)
    assert (again.outcome, again.clearance_id, again.replayed) == ("allowed", first.clearance_id, True)
    assert refunds(own).count("decision_recorded") == 1


def test_the_same_id_for_another_call_is_withheld(own: OwnTenant, asking: HTTPClient) -> None:
    asking.decide("t", "ops-agent", "refund", REFUND, proposal_id="prop_1")
    told = asking.decide("t", "ops-agent", "refund", REFUND | {"amount": 1.0}, proposal_id="prop_1")
    assert (told.outcome, told.reasons) == ("invalid", ("idempotency_conflict",))


@contextmanager
def losing_replies(host: str, lost: int) -> Iterator[str]:
    """The address of a line to a server on which the first replies are read and thrown away."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry() -> None:
        for number in range(100):
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line, socket.create_connection(host.split(":")) as server:
                back = threading.Thread(target=_carry, args=(server, line, number < lost), daemon=True)
                back.start()
                _carry(line, server, False)
                back.join()

    carrier = threading.Thread(target=carry, daemon=True)
    carrier.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        carrier.join(20)


def _carry(source: socket.socket, target: socket.socket, is_lost: bool) -> None:
    try:
        while piece := source.recv(65536):
            if is_lost:
                target.shutdown(socket.SHUT_RDWR)
                return
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize("lost", [1, 2])
def test_a_question_whose_reply_was_lost_is_one_question(own: OwnTenant, lost: int) -> None:
    own.paid("ord_1")
    with losing_replies(own.host, lost) as url:
        asking = client(url, own.keys["agent"], retries=2)
        told = asking.decide("t", "ops-agent", "refund", REFUND)
        asking.close()
    assert (told.outcome, told.replayed) == ("allowed", False)
    assert refunds(own).count("decision_recorded") == 1
    assert refunds(own).count("action_validated") == 1


def test_a_control_that_draws_a_new_id_asks_twice(own: OwnTenant) -> None:
    """What a client without one id for all attempts does: the first question stays, and holds the order."""
    own.paid("ord_1")
    with losing_replies(own.host, 1) as url:
        host = url.removeprefix("http://")
        body = b'{"entity_id":"ord_1","entity_type":"order","action_name":"AUTO_REFUND","settles":true,'
        body += b'"parameters":{"amount":49.0,"reason":"x"}}'
        headers = {"Authorization": f"Bearer {own.keys['agent']}", "Content-Type": "application/json"}
        for _ in range(2):
            line = http.client.HTTPConnection(host, timeout=20)
            try:
                line.request("POST", "/v1/proposals/decide", body, headers)
                line.getresponse().read()
            except OSError:
                pass
            finally:
                line.close()
    assert refunds(own).count("decision_recorded") == 2


def test_threads_share_a_client_and_every_order_is_decided_once(own: OwnTenant) -> None:
    orders = [f"ord_{n}" for n in range(40)]
    own.paid(*orders)
    asking = client(own.serving.url, own.keys["agent"])
    with ThreadPoolExecutor(8) as threads:
        told = [
            *threads.map(lambda order: asking.decide("t", "ops-agent", "refund", REFUND | {"order_id": order}), orders)
        ]
        [*threads.map(lambda each: asking.settle(each.proposal_id, "succeeded"), told)]
    asking.close()
    assert {each.outcome for each in told} == {"allowed"}
    assert len({each.clearance_id for each in told}) == len(orders)


def test_a_domain_that_is_meant_is_the_one_that_answers(own: OwnTenant) -> None:
    own.paid("ord_1")
    outcomes = {
        domain: client(own.serving.url, own.keys["agent"], domain=domain).decide("t", None, "refund", REFUND).outcome
        for domain in ("refund-ops", "lots")
    }
    assert outcomes == {"refund-ops": "allowed", "lots": "invalid"}


def test_a_guard_connects_and_says_what_it_saw(own: OwnTenant) -> None:
    asking = client(own.serving.url, own.keys["agent"])
    connections = [asking.connect_guard(adapter="agno", mode="enforce", project="shop") for _ in range(2)]
    assert [each.seen_count for each in connections] == [1, 2]
    assert {each.agent_id for each in connections} == {"ops-agent"}
    tool = GuardToolObservation("refund", action="AUTO_REFUND", required=["order_id"], observed_call_count=2)
    seen = asking.observe_guard("ops-agent", "agno", "enforce", [tool, GuardToolObservation("look")], "shop")
    assert seen.tools == [tool, GuardToolObservation("look")]
    assert (seen.tenant_id, seen.project, seen.runtime_id) == (own.tenant, "shop", connections[0].runtime_id)
    with pytest.raises(ConnectionError, match=r"guard connect failed: .*acts only as `ops-agent`"):
        asking.connect_guard("somebody", "agno", "observe")


def test_a_draft_is_saved_with_what_it_lacks(own: OwnTenant) -> None:
    asking = client(own.serving.url, own.keys["owner"])
    text = DOMAIN.read_text("utf-8")
    good = asking.save_draft(text)
    assert (good.yaml, good.valid, good.issues) == (text, True, [])
    assert good.updated_at > 0
    bad = asking.save_draft("domain: mine\nversion: v1\nentity: Order\nstates: []\n")
    assert (bad.valid, bool(bad.issues)) == (False, True)
    assert all(isinstance(issue, str) and issue for issue in bad.issues)
    with pytest.raises(ConnectionError, match="save draft failed"):
        client(own.serving.url, own.keys["agent"]).save_draft(text)


def test_other_verbs_are_asked_for_by_their_path(own: OwnTenant) -> None:
    owner = HTTPClient(own.keys["owner"], ToolMap(), own.serving.url)
    told = owner.request("POST", "/v1/events", {"type": "ORDER_PLACED", "entity_id": "o", "entity_type": "order"})
    assert told["event"]["state"] == "CREATED"
    assert owner.request("GET", "/v1/entities/order:o/state")["state"] == "CREATED"
