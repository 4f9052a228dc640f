"""Sensitive values over HTTP: who is shown one, who erases it, and that nothing else that is served has it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from served import DOMAIN, TENANT, Served, served

from kiff import load
from kiff.client import Client
from kiff.errors import Forbidden, NotFound
from kiff.protocol.authority import Member
from kiff.protocol.sealed import is_commitment

CANARY = "canary-9a1158154dfa42"
SEALED = (
    DOMAIN.read_text("utf-8")
    .replace("version: v2", "version: v3")
    .replace("reason: {type: string,", "reason: {sensitive: true, type: string,")
)
RUNS = SEALED.replace("version: v3", "version: v4").replace(
    "    approval: required\n", "    approval: required\n    approval_policy: {on_grant: run}\n"
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose reasons are sensitive, with people who may look at more, or at less, than they may answer."""
    with served(tmp_path_factory.mktemp("data")) as shop:
        shop.tower.activate(TENANT, load(SEALED))
        others = {
            "auditor": ("human", "auditor"),
            "bot": ("agent", "ops_operator,auditor"),
            "peer": ("agent", "ops_agent"),
        }
        members = [Member(TENANT, id, kind, None, None, roles, True) for id, (kind, roles) in others.items()]  # type: ignore[arg-type]
        shop.tower.found(TENANT, members)
        shop.keys |= {id: shop.tower.mint(TENANT, id, id) for id in others}
        yield shop


def held(shop: Served, order: str) -> str:
    shop.paid(order)
    told = shop.execute(order, "REFUND_ORDER", 900.0, parameters={"amount": 900.0, "reason": CANARY})
    approval_id: str = told.body["approval_id"]
    return approval_id


def shown(shop: Served, approval_id: str, key: str) -> Any:
    """The reason that an approval shows to the holder of a key, by its id and in the list."""
    told = shop.get(f"/v1/approvals/{approval_id}", key)
    assert told.status == 200, told
    listed = {each["id"]: each for each in shop.get("/v1/approvals", key).body["approvals"]}
    assert listed[approval_id]["parameters"] == told.body["approval"]["parameters"]
    return told.body["approval"]["parameters"]["reason"]


@pytest.mark.parametrize("key", ["auditor", "bot", "agent"])
def test_whoever_may_read_it_and_not_answer_it_is_shown_the_commitment(desk: Served, key: str) -> None:
    assert is_commitment("reason", shown(desk, held(desk, f"ord_1{key}"), key))


def test_its_reviewer_is_shown_the_value(desk: Served) -> None:
    assert shown(desk, held(desk, "ord_2"), "reviewer") == CANARY


def test_who_asks_for_an_approval_is_not_told_the_value_by_kiff(desk: Served) -> None:
    desk.paid("ord_3")
    body = {"entity_type": "order", "parameters": {"amount": 900.0, "reason": CANARY}}
    told = desk.post("/v1/entities/ord_3/actions/REFUND_ORDER/approvals", body)
    assert (told.status, is_commitment("reason", told.body["approval"]["parameters"]["reason"])) == (201, True)


def test_a_reviewer_sees_it_after_the_answer_too(desk: Served) -> None:
    approval_id = held(desk, "ord_4")
    granted = desk.post(f"/v1/approvals/{approval_id}/grant", {"reason": "looked at it"}, "reviewer")
    assert granted.body["approval"]["parameters"]["reason"] == CANARY
    assert shown(desk, approval_id, "reviewer") == CANARY


def test_a_granted_call_fits_and_runs(desk: Served) -> None:
    approval_id = held(desk, "ord_5")
    desk.post(f"/v1/approvals/{approval_id}/grant", {"reason": "looked at it"}, "reviewer")
    parameters = {"amount": 900.0, "reason": CANARY}
    told = desk.execute("ord_5", "REFUND_ORDER", parameters=parameters, approval_id=approval_id)
    assert told.body["result"]["executed"]


def test_a_dry_run_holds_no_value_and_seals_nothing(desk: Served) -> None:
    desk.paid("ord_6")
    body = {"entity_type": "order", "parameters": {"amount": 0, "reason": CANARY}}
    told = desk.post("/v1/entities/ord_6/actions/REFUND_ORDER/validate", body)
    assert (told.status, CANARY in str(told.body)) == (400, False)


# --- erasing ---


@pytest.mark.parametrize("key", ["agent", "reviewer", "auditor"])
def test_only_an_owner_erases(desk: Served, key: str) -> None:
    approval_id = held(desk, f"ord_7{key}")
    told = desk.post("/v1/me/vault/erase", {"entity": f"order:ord_7{key}"}, key)
    assert (told.status, told.body["code"]) == (403, "permission_denied")
    assert shown(desk, approval_id, "reviewer") == CANARY


@pytest.mark.parametrize(
    "body",
    [{}, {"commitment": "sha256:1"}, {"entity": "ord_8"}, {"entity": "order:o", "commitment": "sha256:" + "0" * 64}],
)
def test_what_names_no_value_is_refused(desk: Served, body: dict[str, str]) -> None:
    told = desk.post("/v1/me/vault/erase", body, "owner")
    assert (told.status, told.body["code"]) == (400, "invalid")


def test_nobody_is_shown_what_was_erased(desk: Served) -> None:
    approval_id = held(desk, "ord_9")
    commitment = shown(desk, approval_id, "agent")["commitment"]
    told = desk.post("/v1/me/vault/erase", {"commitment": commitment}, "owner")
    assert (told.status, told.body["erased"], told.body["more"]) == (200, [commitment], False)
    assert shown(desk, approval_id, "reviewer")["commitment"] == commitment


def test_the_client_erases(desk: Served) -> None:
    held(desk, "ord_10")
    with Client(f"http://{desk.host}", desk.keys["owner"]) as owner:
        assert len(owner.erase("order:ord_10").commitments) == 1
        assert owner.erase("order:ord_10").commitments == ()
        with pytest.raises(NotFound):
            owner.erase("sha256:" + "0" * 64)
    with Client(f"http://{desk.host}", desk.keys["agent"]) as agent, pytest.raises(Forbidden):
        agent.erase("order:ord_10")


def test_a_call_that_cannot_run_any_more_says_why(own_shop: Served) -> None:
    own_shop.tower.activate(TENANT, load(RUNS))
    approval_id = held(own_shop, "ord_1")
    own_shop.post("/v1/me/vault/erase", {"entity": "order:ord_1"}, "owner")
    told = own_shop.post(f"/v1/approvals/{approval_id}/grant", {"reason": "looked at it"}, "reviewer").body
    assert (told["decision"]["code"], told["decision"]["details"][0]["detail"]) == (
        "sensitive_erased",
        {"parameters": ["reason"]},
    )
    assert own_shop.outside.effects == {}


# --- nowhere else ---


SERVED = (
    "/v1/entities/order:ord_1/timeline",
    "/v1/entities/order:ord_1/allowed-actions",
    "/v1/records",
    "/v1/operations",
    "/v1/me/usage",
    "/v1/me/domain",
    "/metrics",
)


def test_nothing_that_is_served_logged_or_stored_has_a_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with served(tmp_path / "data", log_level="debug") as shop:
        shop.tower.activate(TENANT, load(SEALED))
        approval_id = held(shop, "ord_1")
        told = []
        for amount, reason in ((0, CANARY), (49, {CANARY: CANARY}), (49, CANARY)):
            told.append(shop.execute("ord_1", parameters={"amount": amount, "reason": reason, "reson": CANARY}))
            told.append(shop.decide("ord_1", parameters={"amount": amount, "reason": reason}))
        told.append(shop.get(f"/v1/approvals/{approval_id}", "agent"))
        told.append(shop.get(f"/v1/receipts/{told[-2].body['receipt_id']}", "owner"))
        told += [shop.get(path, "owner") for path in SERVED]
    assert [each.status for each in told][-9:] == [200] * 9
    assert [each for each in told if CANARY.encode() in each.raw] == []
    assert CANARY not in caplog.text
    assert not [text for text in capfd.readouterr() if CANARY in text]
    assert tables_with_it(tmp_path / "data" / "kiff.db") == {"sealed"}


def tables_with_it(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    return {name for name, found in rows.items() if CANARY in str(found)}
