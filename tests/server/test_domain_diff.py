"""What a text would let through, over HTTP: for any key of the tenant, and nothing of it is kept."""

from __future__ import annotations

from typing import Any

import pytest
from own_tenant import OwnTenant
from served import DOMAIN, Served

pytestmark = pytest.mark.slow

TEXT = DOMAIN.read_text("utf-8")
WIDER = TEXT.replace("version: v2", "version: v3").replace("maximum: 100,", "maximum: 250,")
PATH = "/v1/me/domains/refund-ops/diff"


@pytest.fixture
def own(shop: Served) -> OwnTenant:
    return OwnTenant(shop)


def diff(shop: Served, body: Any, key: str = "owner", status: int = 200) -> Any:
    told = shop.post(PATH, body, key)
    assert told.status == status, told
    return told.body


def test_nobody_is_told_without_a_key(own: OwnTenant) -> None:
    assert own.post(PATH, {"yaml": WIDER}, None).status == 401


@pytest.mark.parametrize("body", [{}, {"yaml": TEXT, "version": "v2"}, {"yaml": TEXT, "other": 1}])
def test_exactly_one_thing_is_compared(own: OwnTenant, body: Any) -> None:
    assert diff(own, body, status=400)["code"] == "invalid"


def test_what_is_not_there_is_not_compared(own: OwnTenant) -> None:
    assert diff(own, {"yaml": TEXT, "against": "v9"}, status=404)["code"] == "not_found"
    assert diff(own, {"version": "v9"}, status=404)["code"] == "not_found"
    assert own.post("/v1/me/domains/nothing/diff", {"yaml": TEXT}, "owner").status == 404


def test_a_text_that_cannot_be_read_is_told_about(own: OwnTenant) -> None:
    told = diff(own, {"yaml": WIDER.replace("risk: low", "risk: tiny")}, status=422)
    assert told["code"] == "invalid_domain"
    assert {issue["code"] for issue in told["issues"]} == {"not_one_of"}


@pytest.mark.parametrize("key", ["owner", "agent"])
def test_a_text_is_compared_with_what_governs(own: OwnTenant, key: str) -> None:
    told = diff(own, {"yaml": WIDER}, key)
    assert (told["before"], told["after"]) == ("refund-ops-v2", "refund-ops-v3")
    [found] = told["access"]
    assert (found["kind"], found["action"], found["reason"]) == ("new_access", "AUTO_REFUND", "invalid_parameter")
    assert found["before"] == {"outcome": "invalid", "reasons": ["invalid_parameter"]}
    assert found["after"] == {"outcome": "allowed", "reasons": []}
    assert found["case"]["cases"][0]["propose"]["parameters"]["amount"] > 100
    assert [each["where"] for each in told["differences"]] == [
        "version",
        "actions.AUTO_REFUND.parameters.amount.maximum",
    ]
    assert told["moves"] == []


def test_published_versions_are_compared_with_each_other(own: OwnTenant) -> None:
    assert own.ask("PUT", "/v1/me/domain", {"yaml": WIDER}, "owner").status == 200
    assert [each["kind"] for each in diff(own, {"version": "v3", "against": "v2"})["access"]] == ["new_access"]
    assert diff(own, {"version": "v2"})["access"] == []


def test_nothing_is_kept(own: OwnTenant) -> None:
    diff(own, {"yaml": WIDER})
    assert own.get("/v1/me/domains/refund-ops/versions", "owner").body["versions"][0]["version"] == "refund-ops-v2"
    assert own.get("/v1/me/domains/refund-ops/draft", "owner").status == 404
