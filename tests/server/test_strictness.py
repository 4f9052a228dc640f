"""What is asked is read strictly, and what is refused is refused in the protocol's way."""

from __future__ import annotations

import re
from http.client import HTTPConnection

import pytest
from served import PATIENCE_SECONDS, Served

from kiff.server.route import Route
from kiff.server.routes import ROUTES

pytestmark = pytest.mark.slow

WRITES = [route for route in ROUTES if route.writes and route.access != "public" and route.refuses is None]


@pytest.mark.parametrize("query", ["at=null", "at=NULL", "at=9007199254740992", "at=-55883766780198211551232"])
def test_a_query_takes_values_that_json_could_carry(shop: Served, query: str) -> None:
    told = shop.get(f"/v1/entities/order:nothing/state?{query}", "owner")
    assert (told.status, told.body["code"], told.body["field"]) == (400, "invalid", "at")


def test_the_word_null_is_a_text_where_a_text_is_asked_for(shop: Served) -> None:
    told = shop.get("/v1/entities?after=null", "owner")
    assert told.status == 200


@pytest.mark.parametrize("route", WRITES, ids=lambda route: f"{route.method} {route.path}")
def test_no_write_takes_a_malformed_idempotency_key(shop: Served, route: Route) -> None:
    path = re.sub(r"{\w+(:path)?}", "nothing", route.path)
    told = shop.ask(route.method, path, {}, "owner", {"Idempotency-Key": "two words"})
    assert (told.status, told.body["field"]) == (400, "Idempotency-Key")


def test_two_idempotency_keys_are_none(shop: Served) -> None:
    connection = HTTPConnection(shop.host, timeout=PATIENCE_SECONDS)
    connection.putrequest("POST", "/v1/events")
    connection.putheader("Authorization", f"Bearer {shop.keys['owner']}")
    connection.putheader("Idempotency-Key", "one")
    connection.putheader("Idempotency-Key", "two")
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert (answer.status, b"given twice" in body) == (400, True)


def test_a_method_that_a_path_does_not_take_is_told_which_it_takes(shop: Served) -> None:
    told = shop.ask("PATCH", "/v1/members/ops-agent", {}, "owner")
    assert (told.status, told.body["code"]) == (405, "method_not_allowed")
    assert told.headers["allow"] == "GET, HEAD, PUT"


def test_a_call_that_needs_no_approval_has_none_opened(shop: Served) -> None:
    shop.paid("ord_902")
    body = {"parameters": {"amount": 49.0, "reason": "customer request"}}
    told = shop.post("/v1/entities/order:ord_902/actions/AUTO_REFUND/approvals", body)
    assert (told.status, told.body["code"]) == (409, "approval_not_needed")


def test_the_status_of_problem_details_is_a_number(shop: Served) -> None:
    """Beside an approval's own status, which is a word."""
    shop.paid("ord_903")
    approval_id = shop.decide("ord_903", "REFUND_ORDER", 999.0).body["approval_id"]
    path = f"/v1/approvals/{approval_id}/deny"
    shop.post(path, {"reason": "no"}, "reviewer")
    told = shop.post(path, {"reason": "no"}, "reviewer", headers={"Accept": "application/problem+json"})
    assert told.headers["content-type"] == "application/problem+json"
    assert (told.status, told.body["status"], told.body["code"]) == (409, 409, "approval_decided")
