"""The policy and shadows over HTTP: what is refused, what holds, what is recorded, and what the client makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from own_tenant import OwnTenant
from served import DOMAIN, Served, Told

from kiff import Client
from kiff.errors import InvalidPolicy, NotFound
from kiff.server.routes import ROUTES

pytestmark = pytest.mark.slow

YAML = {"Content-Type": "application/x-yaml"}
TEXT = DOMAIN.read_text("utf-8")
HOUSE = """\
# what the house wants
policy: house-v1
rules:
  - {id: large, when: has(parameters.amount) && parameters.amount > 40, then: require_approval, match: {risk: medium}}
"""
DENY = "policy: house-v2\nrules: [{id: frozen, when: 'true', then: deny, match: {entity: Order}}]\n"


@pytest.fixture
def own(shop: Served) -> OwnTenant:
    return OwnTenant(shop)


def put(shop: Served, yaml: str = HOUSE, key: str = "owner", **more: str) -> Told:
    return shop.ask("PUT", "/v1/me/policy", yaml.encode(), key, headers={**YAML, **more})


def shadow(shop: Served, body: Any, key: str = "owner", slug: str = "refund-ops", **more: str) -> Told:
    headers = {**YAML, **more} if isinstance(body, str) else more
    data = body.encode() if isinstance(body, str) else body
    return shop.ask("POST", f"/v1/me/domains/{slug}/shadow", data, key, headers=headers)


def stricter(version: str = "v9") -> str:
    return TEXT.replace("version: v2", f"version: {version}").replace("maximum: 100,", "maximum: 30,")


class TestRefusals:
    @pytest.mark.parametrize("key", ["agent", "reviewer"])
    def test_only_an_owner_changes_it(self, shop: Served, key: str) -> None:
        for told in (
            put(shop, key=key),
            shop.ask("DELETE", "/v1/me/policy", None, key),
            shop.post("/v1/me/policies/house-v1/activate", None, key),
            shadow(shop, stricter(), key),
            shop.ask("DELETE", "/v1/me/domains/refund-ops/shadow", None, key),
        ):
            assert (told.status, told.body["code"]) == (403, "permission_denied")

    def test_nobody_changes_it_without_a_key(self, shop: Served) -> None:
        paths = [route for route in ROUTES if "/policy" in route.path or "/policies" in route.path]
        assert len(paths) == 6
        for route in paths:
            told = shop.ask(route.method, route.path.replace("{version}", "house-v1"), None, None)
            assert (told.status, told.body["code"]) == (401, "unauthorized"), route

    def test_a_broken_policy_says_every_problem_with_its_line(self, shop: Served) -> None:
        told = put(shop, HOUSE.replace("require_approval", "ask").replace("policy: house-v1", "policy: House"))
        assert (told.status, told.body["code"]) == (422, "invalid_policy")
        assert [(each["path"], each["line"]) for each in told.body["issues"]] == [("policy", 2), ("rules[0].then", 4)]

    @pytest.mark.parametrize("body", [{}, {"yaml": HOUSE, "mode": "x"}, {"yaml": ""}])
    def test_a_body_that_is_not_one_is_refused(self, shop: Served, body: Any) -> None:
        told = shop.ask("PUT", "/v1/me/policy", body, "owner")
        assert (told.status, told.body["code"]) == (400, "invalid")

    def test_another_media_type_is_refused(self, shop: Served) -> None:
        assert put(shop, **{"Content-Type": "application/octet-stream"}).status == 415

    def test_a_version_name_never_means_other_content(self, own: OwnTenant) -> None:
        assert put(own).status == 200
        told = put(own, DENY.replace("house-v2", "house-v1"))
        assert (told.status, told.body["code"]) == (409, "conflict")

    def test_what_is_not_there_is_not_found(self, own: OwnTenant) -> None:
        assert own.get("/v1/me/policy").status == 404
        assert own.get("/v1/me/policies/house-v1").status == 404
        assert own.post("/v1/me/policies/house-v1/activate", None, "owner").status == 404
        assert shadow(own, {"version": "v77"}).status == 404
        assert own.ask("DELETE", "/v1/me/domains/nothing/shadow", None, "owner").status == 404

    def test_another_tenants_policy_is_not_there(self, own: OwnTenant, shop: Served) -> None:
        put(own)
        other = OwnTenant(shop)
        assert other.get("/v1/me/policies/house-v1").status == 404
        assert other.get("/v1/me/policies").body == {"policies": []}

    @pytest.mark.parametrize("body", [{}, {"yaml": "domain: x", "version": "v9"}, {"off": True}])
    def test_a_shadow_is_a_document_or_a_version(self, shop: Served, body: Any) -> None:
        assert (shadow(shop, body).status, shadow(shop, body).body["code"]) == (400, "invalid")

    def test_a_shadow_is_of_the_domain_that_the_path_names(self, own: OwnTenant) -> None:
        told = shadow(own, stricter().replace("domain: refund-ops", "domain: other"))
        assert (told.status, told.body["code"]) == (422, "invalid_domain")
        assert shadow(own, TEXT).status == 409, "what governs is no shadow"

    def test_a_key_that_is_good_for_one_domain_changes_no_policy(self, own: OwnTenant) -> None:
        minted = own.post("/v1/keys", {"principal": "owner", "domain": "refund-ops"}, "owner")
        key = minted.body["secret"]
        told = put(own, key=key)
        assert (told.status, told.body["code"]) == (403, "permission_denied")
        assert shadow(own, stricter(), key, "other").status == 403
        assert shadow(own, stricter(), key).status == 200


class TestInForce:
    def test_it_holds_from_the_next_decision(self, own: OwnTenant) -> None:
        own.paid("a1", "a2")
        told = put(own)
        assert (told.status, told.body["version"], told.body["changed"]) == (200, "house-v1", True)
        held = own.execute("a1", amount=49)
        assert (held.status, held.body["reasons"]) == (422, ["large"])
        assert own.execute("a2", amount=30).status == 200
        receipt = own.get(f"/v1/receipts/{held.body['receipt_id']}").body
        assert (receipt["policy_version"], receipt["policy_digest"]) == ("house-v1", told.body["digest"])

    def test_it_is_shown_as_its_author_wrote_it(self, own: OwnTenant) -> None:
        put(own)
        shown = own.get("/v1/me/policy").body
        assert (shown["yaml"], shown["content"]["policy"], shown["active"]) == (HOUSE, "house", True)
        put(own, DENY)
        assert own.get("/v1/me/policies/house-v1").body["active"] is False

    def test_versions_are_listed_in_the_order_they_were_published(self, own: OwnTenant) -> None:
        put(own)
        put(own, DENY)
        own.post("/v1/me/policies/house-v1/activate", None, "owner")
        listed = own.get("/v1/me/policies").body["policies"]
        assert [(each["version"], each["active"]) for each in listed] == [("house-v1", True), ("house-v2", False)]
        assert listed[0]["published_at"] <= listed[1]["published_at"] <= listed[0]["activated_at"]

    def test_it_is_taken_back(self, own: OwnTenant) -> None:
        own.paid("b1")
        put(own, DENY)
        assert own.execute("b1").body["code"] == "frozen"
        told = own.ask("DELETE", "/v1/me/policy", None, "owner")
        assert (told.status, told.body["version"], told.body["changed"]) == (200, None, True)
        assert own.execute("b1").status == 200

    def test_a_request_with_the_same_key_is_carried_out_once(self, own: OwnTenant) -> None:
        first = put(own, **{"Idempotency-Key": "once"})
        own.ask("DELETE", "/v1/me/policy", None, "owner")
        assert put(own, **{"Idempotency-Key": "once"}).body == first.body
        assert own.get("/v1/me/policy").status == 404
        assert put(own, DENY, **{"Idempotency-Key": "once"}).status == 409

    def test_the_answer_counts_pending_approvals(self, own: OwnTenant) -> None:
        own.paid("c1")
        put(own)
        own.execute("c1", amount=49)
        assert put(own, DENY).body["pending_approvals"] == 1
        domain = own.ask("PUT", "/v1/me/domain", stricter().encode(), "owner", headers=YAML)
        assert domain.body["pending_approvals"] == 1


class TestShadow:
    def test_its_answers_are_recorded_and_decide_nothing(self, own: OwnTenant) -> None:
        own.paid("d1")
        told = shadow(own, stricter())
        assert (told.status, told.body["version"], told.body["beside"]) == (200, "refund-ops-v9", "refund-ops-v2")
        assert own.execute("d1", amount=49).status == 200
        timeline = own.get("/v1/entities/order:d1/timeline", "owner").body
        said = [each["data"]["shadow_decision"] for each in records(timeline) if "shadow_decision" in each["data"]]
        assert [(each["version"], each["reason"]) for each in said] == [("refund-ops-v9", "invalid_parameter")]

    def test_a_published_version_is_asked_and_is_listed_so(self, own: OwnTenant) -> None:
        shadow(own, stricter())
        assert own.ask("DELETE", "/v1/me/domains/refund-ops/shadow", None, "owner").body["version"] is None
        assert shadow(own, {"version": "v9"}).body["changed"] is True
        versions = own.get("/v1/me/domains/refund-ops/versions").body["versions"]
        told = {each["version"]: (each["active"], each["shadow"], each["activated_at"] is None) for each in versions}
        assert told == {"refund-ops-v2": (True, False, False), "refund-ops-v9": (False, True, True)}

    def test_an_activation_ends_it(self, own: OwnTenant) -> None:
        shadow(own, stricter())
        own.post("/v1/me/domains/refund-ops/activate", {"version": "v9"}, "owner")
        versions = own.get("/v1/me/domains/refund-ops/versions").body["versions"]
        assert [each["shadow"] for each in versions] == [False, False]


class TestClient:
    @pytest.fixture
    def client(self, own: OwnTenant) -> Any:
        with Client(f"http://{own.host}", own.keys["owner"]) as client:
            yield client

    def test_a_broken_policy_raises_what_it_raises_here(self, client: Client) -> None:
        with pytest.raises(InvalidPolicy) as refused:
            client.policies.activate("policy: House")
        assert [each.path for each in refused.value.issues] == ["policy"]
        with pytest.raises(NotFound):
            client.policies.in_force()

    def test_versions_come_and_go(self, client: Client) -> None:
        assert client.policies.activate(HOUSE).version == "house-v1"
        assert client.policies.activate(DENY).changed
        assert client.policies.use("house-v1").version == "house-v1"
        assert client.policies.in_force().yaml == HOUSE
        assert client.policies.version("house-v2").active is False
        assert [each.version for each in client.policies.all()] == ["house-v1", "house-v2"]
        assert client.policies.take_back().version is None

    def test_a_shadow_begins_and_ends(self, client: Client) -> None:
        assert client.domains.shadow("refund-ops", stricter()).version == "refund-ops-v9"
        assert [each.shadow for each in client.domains.versions("refund-ops")] == [False, True]
        assert client.domains.shadow("refund-ops", None).version is None


def records(timeline: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = timeline.get("records", timeline.get("events", []))
    return [json.loads(each) if isinstance(each, str) else each for each in found]
