"""Simulation and explanation over HTTP: who may ask, within which bounds, and what is told to whom."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from own_tenant import OwnTenant
from served import DOMAIN, Served, Told

from kiff.analysis.simulate import Draft, Question, simulate
from kiff.domain import load
from kiff.errors import Overloaded
from kiff.server.routes import simulations
from kiff.server.turns import Turns

pytestmark = pytest.mark.slow

TEXT = DOMAIN.read_text("utf-8")
SMALLER = TEXT.replace("maximum: 100,", "maximum: 10,")
assert SMALLER != TEXT
POLICY = """
policy: caution-v1
rules:
  - {id: careful, match: {action: [AUTO_REFUND]}, when: parameters.amount > 30, then: deny, message: Ask your owner.}
"""


@pytest.fixture
def own(shop: Served) -> OwnTenant:
    """A tenant in which one refund ran and another one is held."""
    tenant = OwnTenant(shop)
    tenant.paid("ord_1", "ord_2")
    assert tenant.execute("ord_1").status == 200
    assert tenant.execute("ord_2", "REFUND_ORDER", 999).body["outcome"] == "approval_required"
    return tenant


def tried(shop: Any, key: str = "owner", slug: str = "refund-ops", **body: Any) -> Told:
    told: Told = shop.post(f"/v1/me/domains/{slug}/simulate", body, key)
    return told


# Who may ask, and for what


@pytest.mark.parametrize("key", ["agent", "reviewer"])
def test_simulation_takes_the_role_of_an_owner(own: OwnTenant, key: str) -> None:
    told = tried(own, key, yaml=SMALLER)
    assert (told.status, told.body["code"]) == (403, "permission_denied")


BAD = [
    ({"yaml": TEXT, "version": "v2"}, 400, "invalid"),
    ({"version": "v99"}, 404, "not_found"),
    ({}, 404, "not_found"),
    ({"yaml": "events: [A"}, 422, "invalid_domain"),
    ({"yaml": TEXT.replace("domain: refund-ops", "domain: other")}, 422, "invalid_domain"),
    ({"yaml": TEXT, "policy": "policy: 7"}, 422, "invalid_policy"),
    ({"yaml": TEXT, "since": "yesterday"}, 400, "invalid"),
    ({"yaml": TEXT, "examples": 21}, 400, "invalid"),
    ({"yaml": TEXT, "surprise": 1}, 400, "invalid"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD, ids=[" ".join(body) or "nothing" for body, _, _ in BAD])
def test_what_cannot_be_tried_is_refused(own: OwnTenant, body: dict[str, Any], status: int, code: str) -> None:
    told = tried(own, **body)
    assert (told.status, told.body["code"]) == (status, code), told


def test_a_version_of_another_tenant_is_one_that_does_not_exist(own: OwnTenant) -> None:
    theirs = OwnTenant(own)
    yaml = TEXT.replace("refund-ops", "lots").replace("entity: Order", "entity: Lot")
    headers = {"Content-Type": "application/x-yaml"}
    assert theirs.ask("PUT", "/v1/me/domain", yaml.encode(), "owner", headers=headers).status == 200
    assert tried(theirs, slug="lots", version="v2").status == 200
    assert tried(own, slug="lots", version="v2").status == 404


# What is told


def test_it_tells_what_the_analysis_tells(own: OwnTenant) -> None:
    told = tried(own, yaml=SMALLER, since="90d")
    assert told.status == 200, told
    here = simulate(own.tower.store, Draft(load(SMALLER)), Question(), tenant=own.tenant)
    assert (
        [(flip["before"], flip["after"], flip["decisions"]) for flip in told.body["flips"]]
        == [(flip.before, flip.after, flip.decisions) for flip in here.flips]
        == [("allowed", "invalid", 1)]
    )
    assert told.body["flips"][0]["value"] == [{"parameter": "amount", "unit": "USD", "sum": "49.00"}]


def test_a_published_version_and_the_kept_draft_can_be_tried(own: OwnTenant) -> None:
    assert tried(own, version="v2").body["flips"] == []
    headers = {"Content-Type": "application/x-yaml"}
    saved = own.ask("PUT", "/v1/me/domains/refund-ops", SMALLER.encode(), "owner", headers=headers)
    assert saved.status == 200, saved
    assert tried(own).body["flipped"] == 1


def test_a_policy_holds_in_the_trial_and_nowhere_else(own: OwnTenant) -> None:
    told = tried(own, yaml=TEXT, policy=POLICY)
    assert [(flip["after"], flip["reason"]) for flip in told.body["flips"]] == [("blocked", "careful")]
    own.paid("ord_3")
    assert own.execute("ord_3").status == 200


def test_history_of_another_tenant_is_not_read(own: OwnTenant) -> None:
    theirs = OwnTenant(own)
    assert tried(theirs, yaml=SMALLER).body["decisions"] == 0


# Bounds


def test_only_the_newest_records_are_read(own: OwnTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulations, "RECORDS", 2)
    told = tried(own, yaml=SMALLER)
    assert (told.body["window"]["records"], told.body["decisions"]) == (2, 1)


def test_when_time_is_up_it_says_so(own: OwnTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulations, "SECONDS", 0.0)
    assert tried(own, yaml=SMALLER).body["window"]["complete"] is False


def test_a_tenant_that_simulates_keeps_nobody_else_from_it(own: OwnTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, door, there = OwnTenant(own), threading.Event(), threading.Event()
    real = simulations.simulate

    def held(*args: Any, tenant: str, **more: Any) -> Any:
        if tenant == own.tenant:
            there.set()
            assert door.wait(20)
        return real(*args, tenant=tenant, **more)

    monkeypatch.setattr(simulations, "simulate", held)
    asking = [threading.Thread(target=tried, args=(own,), kwargs={"yaml": SMALLER}) for _ in range(4)]
    for each in asking:
        each.start()
    assert there.wait(20)
    try:
        assert tried(theirs, yaml=SMALLER).status == 200
        assert own.execute("ord_2", "REFUND_ORDER", 999).body["outcome"] == "approval_required"
    finally:
        door.set()
        for each in asking:
            each.join(20)


def test_who_waits_too_long_for_a_turn_is_told() -> None:
    async def crowd() -> list[str]:
        turns, told = Turns(2, 0.01), []
        async with turns.take("a"):
            async with turns.take("b"):
                for tenant in ("a", "c"):
                    with pytest.raises(Overloaded):
                        async with turns.take(tenant):
                            told.append(tenant)
            async with turns.take("c"):
                told.append("c later")
        async with turns.take("a"):
            told.append("a later")
        return told

    assert asyncio.run(crowd()) == ["c later", "a later"]


# Explanations


def test_an_agent_is_told_about_its_own_calls(own: OwnTenant) -> None:
    held = own.execute("ord_2", "REFUND_ORDER", 999).body
    for path in (f"/v1/receipts/{held['receipt_id']}", f"/v1/proposals/{held['proposal_id']}"):
        told = own.get(f"{path}/explanation")
        assert (told.status, told.body["outcome"]) == (200, "approval_required"), told
    assert [change["kind"] for change in told.body["changes"]] == ["approval"]


def test_what_others_asked_is_not_there_for_an_agent(own: OwnTenant) -> None:
    minted = own.post("/v1/keys", {"principal": "owner", "label": "mine"}, "owner").body["secret"]
    refused = own.execute("ord_9", key=minted).body
    for path in (f"/v1/receipts/{refused['receipt_id']}", f"/v1/proposals/{refused['proposal_id']}"):
        other, nobody = own.get(f"{path}/explanation"), own.get(f"{path[:-1]}0/explanation")
        assert (other.status, nobody.status) == (404, 404)
        assert own.get(f"{path}/explanation", "reviewer").status == 200


def test_an_id_of_nothing_is_not_found(own: OwnTenant) -> None:
    for path in ("/v1/receipts/rcpt_none", "/v1/proposals/prop_none"):
        assert own.get(f"{path}/explanation").body["code"] == "not_found"


def test_a_receipt_of_another_tenant_is_one_that_does_not_exist(own: OwnTenant) -> None:
    held = own.execute("ord_2", "REFUND_ORDER", 999).body
    assert OwnTenant(own).get(f"/v1/receipts/{held['receipt_id']}/explanation", "owner").status == 404


def test_of_the_policy_an_agent_is_told_which_rule_it_was_and_an_auditor_what_it_asks(own: OwnTenant) -> None:
    headers = {"Content-Type": "application/x-yaml"}
    assert own.ask("PUT", "/v1/me/policy", POLICY.encode(), "owner", headers=headers).status == 200
    own.paid("ord_4")
    denied = own.execute("ord_4").body
    assert denied["reasons"] == ["careful"]
    path = f"/v1/receipts/{denied['receipt_id']}/explanation"
    agents, auditors = own.get(path), own.get(path, "reviewer")
    assert (b"> 30" in agents.raw, b"> 30" in auditors.raw) == (False, True)
    assert (agents.body["changes"], auditors.body["changes"][0]["value"]) == ([], 30)
    [rule] = [each for each in agents.body["rules"] if each["id"] == "careful"]
    assert (rule["origin"], rule["message"]) == ("policy", "Ask your owner.")


def test_who_reviewed_is_not_told(own: OwnTenant) -> None:
    held = own.execute("ord_2", "REFUND_ORDER", 999).body
    denied = own.post(f"/v1/approvals/{held['approval_id']}/deny", {"reason": "no"}, "reviewer").body
    receipt = denied["approval"].get("receipt_id") if "approval" in denied else denied["receipt_id"]
    told = own.get(f"/v1/receipts/{receipt}/explanation")
    assert told.status == 200, (denied, told)
    assert b"ops-human" not in told.raw
