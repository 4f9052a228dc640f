"""An approval that takes several people, over HTTP: who is offered it, what it shows, what a yes is answered with."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json, structs
from served import TENANT, Served

from kiff.client import Client
from kiff.errors import AlreadyReviewed
from kiff.gate.quorum import Needed, demands_of
from kiff.protocol.approval import ApprovalRequest, Demand
from kiff.protocol.authority import Member
from kiff.runtime.ports import Append

DEMANDS = (
    Demand("amount_above_threshold", "sha256:1", 1, ("finance",)),
    Demand("amount_needs_two", "sha256:2", 2, ("boss", "finance")),
)
PEOPLE = {"ann": "boss", "bob": "boss", "fay": "finance", "fred": "finance", "lea": "legal"}


@pytest.fixture(scope="module")
def panel(shop: Served) -> Served:
    """A shop with five people who may review, in three roles."""
    members = [Member(TENANT, id, "human", None, None, f"ops_operator,{role}", True) for id, role in PEOPLE.items()]
    shop.tower.found(TENANT, members)
    for id in PEOPLE:
        shop.keys[id] = shop.tower.mint(TENANT, id, id)
    return shop


def held(shop: Served, order: str, *, also: bool = False, **more: Any) -> str:
    """A held refund that takes two people, one of them of finance; and what its contract asks `also`, so it can run."""
    shop.paid(order)
    approval_id: str = shop.execute(order, "REFUND_ORDER", 900.0).body["approval_id"]
    row = shop.tower.store.row(ApprovalRequest, TENANT, approval_id)
    assert row is not None
    demands = json.encode((*DEMANDS, *(demands_of(row) if also else ())))
    asks = structs.replace(row, **({"demands": demands} | more))
    shop.tower.store.append(Append([], [asks], [], (), [], []))
    return approval_id


def grant(shop: Served, approval_id: str, key: str) -> Any:
    return shop.post(f"/v1/approvals/{approval_id}/grant", {"reason": "looked at it"}, key)


def offered(shop: Served, approval_id: str, key: str) -> bool:
    listed = shop.get("/v1/approvals?status=pending", key).body["approvals"]
    shown = shop.get(f"/v1/approvals/{approval_id}", key)
    assert (approval_id in [each["id"] for each in listed]) == (shown.status == 200)
    return bool(shown.status == 200)


def test_whoever_said_yes_is_told_so_with_whose_it_was(panel: Served) -> None:
    approval_id = held(panel, "ord_1")
    grant(panel, approval_id, "ann")
    told = grant(panel, approval_id, "ann")
    assert (told.status, told.body["code"], told.body["reviewed_by"]) == (409, "already_reviewed", "ann")


def test_a_yes_of_no_use_is_refused_with_the_roles_that_are_needed(panel: Served) -> None:
    told = grant(panel, held(panel, "ord_2"), "lea")
    assert (told.status, told.body["code"]) == (403, "permission_denied")
    assert told.body["missing_roles"] == ["boss", "finance"]


def test_an_approval_is_offered_to_those_whose_yes_would_count(panel: Served) -> None:
    approval_id = held(panel, "ord_3")
    assert [id for id in PEOPLE if offered(panel, approval_id, id)] == ["ann", "bob", "fay", "fred"]


def test_whoever_said_yes_sees_what_comes_of_it(panel: Served) -> None:
    approval_id = held(panel, "ord_4")
    grant(panel, approval_id, "ann")
    assert offered(panel, approval_id, "ann")
    grant(panel, approval_id, "fay")
    path = f"/v1/approvals/{approval_id}"
    assert [id for id in PEOPLE if panel.get(path, id).status == 200] == ["ann", "bob", "fay", "fred"]


def test_it_is_not_offered_for_a_demand_that_is_satisfied(panel: Served) -> None:
    only_finance_is_missing = held(panel, "ord_5")
    grant(panel, only_finance_is_missing, "ann")
    grant(panel, only_finance_is_missing, "bob")
    panel.tower.found(TENANT, [Member(TENANT, "ben", "human", None, None, "ops_operator,boss", True)])
    panel.keys["ben"] = panel.tower.mint(TENANT, "ben", "ben")
    assert not offered(panel, only_finance_is_missing, "ben")
    assert offered(panel, only_finance_is_missing, "fay")


def test_a_yes_that_is_not_the_last_is_answered_with_what_is_still_needed(panel: Served) -> None:
    told = grant(panel, held(panel, "ord_6"), "fay").body
    still = [{"rule": "amount_needs_two", "more": 1, "roles": ["boss", "finance"]}]
    assert (told["review"]["status"], told["review"]["still_needed"]) == ("pending", still)
    approval = told["approval"]
    assert (approval["status"], approval["quorum"], approval["still_needed"]) == ("pending", 2, still)
    assert [(vote["by"], set(vote)) for vote in approval["votes"]] == [("fay", {"by", "at"})]
    assert [each["rule"] for each in approval["demands"]] == ["amount_above_threshold", "amount_needs_two"]


def test_the_last_yes_grants_and_nothing_is_needed_any_more(panel: Served) -> None:
    approval_id = held(panel, "ord_7", also=True)
    grant(panel, approval_id, "fay")
    told = grant(panel, approval_id, "ann").body
    assert (told["review"]["status"], "still_needed" in told["review"]) == ("granted", False)
    assert (told["approval"]["status"], told["approval"]["still_needed"]) == ("granted", [])
    assert panel.execute("ord_7", "REFUND_ORDER", 900.0, approval_id=approval_id).body["result"]["executed"]


def test_what_was_denied_needs_nothing_any_more(panel: Served) -> None:
    approval_id = held(panel, "ord_11")
    grant(panel, approval_id, "fay")
    told = panel.post(f"/v1/approvals/{approval_id}/deny", {"reason": "disputed"}, "bob").body
    assert (told["approval"]["status"], told["approval"]["still_needed"]) == ("denied", [])


def test_a_yes_that_lapsed_is_not_shown_as_one(panel: Served) -> None:
    approval_id = held(panel, "ord_12")
    lapsed = {"reason": "until then", "expires_at": "2026-01-01T00:00:00Z"}
    told = panel.post(f"/v1/approvals/{approval_id}/grant", lapsed, "fay").body["approval"]
    assert (told["votes"], [each["more"] for each in told["still_needed"]]) == ([], [1, 2])


def test_a_single_yes_shows_as_the_seed_has_it(panel: Served) -> None:
    approval_id = held(panel, "ord_8", demands=b"[]")
    approval = panel.get(f"/v1/approvals/{approval_id}", "lea").body["approval"]
    assert (approval["quorum"], approval["votes"], approval["still_needed"]) == (
        1,
        [],
        [{"rule": "approval_required", "more": 1, "roles": []}],
    )
    told = grant(panel, approval_id, "lea").body["review"]
    assert set(told) == {"status", "reviewed_by", "reviewed_at", "reason", "use_by"}


def test_a_session_is_asked_for_where_the_contract_says_so(panel: Served) -> None:
    approval_id = held(panel, "ord_9", demands=b"[]", evidence="session")
    assert grant(panel, approval_id, "ann").status == 403
    session = panel.post("/v1/auth/session", {"token": panel.tower.logins.token(TENANT, "ann")}, None).body["session"]
    assert grant(panel, approval_id, session).body["review"]["status"] == "granted"


def test_the_client_tells_the_same(panel: Served) -> None:
    approval_id = held(panel, "ord_10")
    with Client(f"http://{panel.host}", panel.keys["ann"]) as ann:
        first = ann.grant(approval_id, "looked at it")
        assert (first.status, first.still_needed[0]) == ("pending", Needed("amount_above_threshold", 1, ("finance",)))
        approval = ann.approval(approval_id)
        assert ([vote.by for vote in approval.votes], approval.still_needed) == (["ann"], first.still_needed)
        assert approval.demands == DEMANDS
        with pytest.raises(AlreadyReviewed) as twice:
            ann.grant(approval_id, "again")
    assert twice.value.detail["reviewed_by"] == "ann"
