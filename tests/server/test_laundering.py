"""A yes that is the proposer's own, by way of keys; and an agent's word about what it may not speak for."""

from __future__ import annotations

import pytest
from served import Served

pytestmark = pytest.mark.slow


def member(shop: Served, id: str, kind: str, *roles: str, person: str | None = None) -> None:
    told = shop.ask("PUT", f"/v1/members/{id}", {"type": kind, "roles": list(roles), "person": person}, "owner")
    assert told.status == 200, told


def key(shop: Served, by: str, **asked: object) -> str:
    """A key's secret, minted with another key; empty when that is refused."""
    told = shop.post("/v1/keys", asked, by)
    return str(told.body["secret"]) if told.status == 201 else ""


@pytest.fixture(scope="module")
def people(shop: Served) -> Served:
    """`minter` may propose and is an owner; `puppet` may review."""
    member(shop, "minter", "human", "tenant_owner", "admin")
    member(shop, "puppet", "human", "tenant_owner", "ops_operator")
    shop.keys["minter"] = shop.tower.mint("kiff-demo", "minter", "minter")
    return shop


def held(shop: Served, order: str, by: str) -> str:
    shop.paid(order)
    told = shop.execute(order, "REFUND_ORDER", 900.0, key=by)
    assert told.body["code"] == "approval_required", told
    return str(told.body["approval_id"])


def grant(shop: Served, approval_id: str, by: str) -> tuple[int, str]:
    told = shop.post(f"/v1/approvals/{approval_id}/grant", {"reason": "fine"}, by)
    return told.status, told.body.get("code", "granted")


def test_control_somebody_elses_key_answers(people: Served) -> None:
    assert grant(people, held(people, "ord_l0", "minter"), "reviewer") == (200, "granted")


def test_a_key_minted_with_a_minted_key_is_still_the_proposers(people: Served) -> None:
    first = key(people, "minter", principal="puppet")
    second = key(people, first, principal="puppet")
    assert grant(people, held(people, "ord_l1", "minter"), second) == (403, "proposer_is_reviewer")


def test_an_unbound_key_mints_none_for_a_person(people: Served) -> None:
    unbound = key(people, "minter", roles=["tenant_owner"])
    assert key(people, unbound, principal="puppet") == ""


def test_another_name_of_the_minter_changes_nothing(people: Served) -> None:
    approval = held(people, "ord_l2", "minter")
    member(people, "minter", "human", "tenant_owner", "admin", person="someone-else")
    puppet = key(people, "minter", principal="puppet")
    assert puppet
    assert grant(people, approval, puppet) == (403, "proposer_is_reviewer")
    member(people, "minter", "human", "tenant_owner", "admin")


def test_an_agent_that_is_an_owner_mints_no_reviewer(people: Served) -> None:
    member(people, "boss-bot", "agent", "tenant_owner", "ops_agent")
    people.keys["boss-bot"] = people.tower.mint("kiff-demo", "boss-bot", "boss-bot")
    assert key(people, "boss-bot", principal="puppet") == ""


def test_a_person_whose_person_was_changed_is_who_they_were(people: Served) -> None:
    member(people, "me-work", "human", "admin", person="me")
    member(people, "me", "human", "admin")
    for name in ("me-work", "me"):
        people.keys[name] = people.tower.mint("kiff-demo", name, name)
    approval = held(people, "ord_l3", "me-work")
    member(people, "me", "human", "admin", person="zed")
    assert grant(people, approval, "me") == (403, "proposer_is_reviewer")


def test_an_agents_event_settles_nothing_that_kiff_runs(people: Served) -> None:
    people.paid("ord_l4")
    people.outside.behaviour = "raise"
    told = people.execute("ord_l4")
    people.outside.behaviour = "succeed"
    assert told.body["result"]["status"] == "unknown"
    event = {"type": "ORDER_REFUNDED", "entity_id": "ord_l4", "entity_type": "order"}
    assert people.post("/v1/events", event, "agent").status == 403
    assert people.execute("ord_l4").body["code"] == "entity_busy"
    assert people.outside.effects["ord_l4"] == 1


def test_an_unbound_key_speaks_for_no_call_that_another_key_made(people: Served) -> None:
    people.paid("ord_l5")
    told = people.decide("ord_l5", id="prop_l5", settles=True)
    assert told.body["outcome"] == "allowed"
    nobody = key(people, "owner", label="no roles")
    outcome = people.post("/v1/proposals/prop_l5/outcome", {"status": "succeeded"}, nobody)
    assert outcome.status == 403
    approval = held(people, "ord_l6", "agent")
    cancelled = people.post(f"/v1/approvals/{approval}/cancel", {"actor": {"id": "ops-agent"}}, nobody)
    assert cancelled.status == 403


def test_control_a_key_speaks_for_its_own_calls(people: Served) -> None:
    people.paid("ord_l7")
    unbound = key(people, "owner", roles=["ops_agent"])
    assert people.decide("ord_l7", id="prop_l7", settles=True, actor_id="bot", key=unbound).body["outcome"] == "allowed"
    assert people.post("/v1/proposals/prop_l7/outcome", {"status": "succeeded"}, unbound).status == 200
