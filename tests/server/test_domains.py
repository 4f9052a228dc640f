"""Authoring over HTTP: what is refused, what is kept, what governs, and what governed before."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from own_tenant import OwnTenant
from served import DOMAIN, Served, Told

from kiff.server.routes import drafts

pytestmark = pytest.mark.slow

TEXT = DOMAIN.read_text("utf-8")
YAML = {"Content-Type": "application/x-yaml"}
EXPORTED = """\
# KIFF domain draft for 'support'
domain: support
entity: Entity   # TODO(human): the entity type these actions govern
events: []
states: []
transitions: []
actions:
  - name: refund_order
    allowed_states: []          # TODO(human): which states allow this
    required_parameters: [amount, order_id]
    required_permissions: []    # TODO(human)
    risk: low                   # TODO(human): low | medium | high
    approval: never             # TODO(human): never | required
permissions:
  roles:
    admin: []   # TODO(human): map roles to proposing/approving permissions
"""
"""What a guard makes of the tools it saw."""


@pytest.fixture
def own(shop: Served) -> OwnTenant:
    return OwnTenant(shop)


def text(version: str, **edits: str) -> str:
    """The refund domain under another version name."""
    changed = TEXT.replace("version: v2", f"version: {version}")
    for old, new in edits.items():
        changed = changed.replace(old, new)
    return changed


def smaller(version: str) -> str:
    """Without the state REFUNDED."""
    lines = [line for line in text(version).splitlines() if "emits: [ORDER_REFUNDED]" not in line]
    lines = [line for line in lines if not line.startswith("final") and "to: REFUNDED" not in line]
    changed = "\n".join(lines).replace("ORDER_PAID, ORDER_REFUNDED]", "ORDER_PAID]").replace("PAID, REFUNDED]", "PAID]")
    return changed.replace("        charge.refunded: ORDER_REFUNDED", "")


def another(slug: str, version: str = "v1") -> str:
    """A domain that governs nothing of the refund domain's."""
    return text(version).replace("refund-ops", slug).replace("entity: Order", f"entity: {slug.title()}")


def put(shop: Served, path: str, yaml: str | bytes, key: str = "owner", **more: str) -> Told:
    data = yaml if isinstance(yaml, bytes) else yaml.encode()
    return shop.ask("PUT", path, data, key, headers={**YAML, **more})


def publish(shop: Served, yaml: str, key: str = "owner", **more: str) -> Told:
    return put(shop, "/v1/me/domain", yaml, key, **more)


def validate(shop: Served, yaml: str | bytes) -> Any:
    data = yaml if isinstance(yaml, bytes) else yaml.encode()
    told = shop.post("/v1/me/domain/validate", data, headers=YAML)
    assert told.status == 200, told
    return told.body


def codes(body: Any) -> set[str]:
    return {issue["code"] for issue in body["issues"]}


def governs(shop: Served, slug: str = "refund-ops") -> str:
    told = shop.get("/v1/me/domain")
    [version] = [each["version"] for each in told.body["domains"] if each["slug"] == slug]
    return str(version)


WRITES = [
    ("PUT", "/v1/me/domain"),
    ("PUT", "/v1/me/domain/draft"),
    ("POST", "/v1/me/domain/draft/activate"),
    ("POST", "/v1/me/domains"),
    ("PUT", "/v1/me/domains/refund-ops"),
    ("DELETE", "/v1/me/domains/refund-ops/draft"),
    ("POST", "/v1/me/domains/refund-ops/activate"),
    ("POST", "/v1/me/domains/refund-ops/rollback"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("key", ["agent", "reviewer"])
def test_authoring_takes_the_role_of_an_owner(own: OwnTenant, method: str, path: str, key: str) -> None:
    put(own, "/v1/me/domain/draft", text("v9"))
    takes_text = method == "PUT" or path == "/v1/me/domains"
    told = own.ask(method, path, {"yaml": text("v9")} if takes_text else {}, key)
    assert (told.status, told.body["code"]) == (403, "permission_denied")
    assert governs(own) == "refund-ops-v2"


@pytest.mark.parametrize("path", ["/v1/me/domain", "/v1/me/domains", "/v1/me/usage", "/v1/me/domains/refund-ops/yaml"])
def test_nothing_is_told_without_a_key(shop: Served, path: str) -> None:
    assert shop.get(path, key=None).status == 401


READS = ["yaml", "versions", "usage"]
ACTS = [("activate", {"version": "v1"}), ("rollback", {})]


def test_a_domain_of_another_tenant_is_one_that_does_not_exist(own: OwnTenant) -> None:
    theirs = OwnTenant(own)
    assert publish(theirs, another("lots")).status == 200
    for what in READS:
        other = own.get(f"/v1/me/domains/lots/{what}", "owner")
        nobody = own.get(f"/v1/me/domains/loot/{what}", "owner")
        assert (other.status, other.body["message"]) == (404, nobody.body["message"].replace("loot", "lots"))
    for verb, body in ACTS:
        assert own.post(f"/v1/me/domains/lots/{verb}", body, "owner").status == 404
    assert [each["slug"] for each in own.get("/v1/me/domains", "owner").body["domains"]] == ["refund-ops"]


def test_a_version_of_another_domain_is_none_of_this_one(own: OwnTenant) -> None:
    publish(own, another("lots"))
    told = own.post("/v1/me/domains/refund-ops/activate", {"version": "lots-v1"}, "owner")
    assert told.status == 404


def test_a_key_that_is_good_for_one_domain_authors_no_other(own: OwnTenant) -> None:
    minted = own.post("/v1/keys", {"principal": "owner", "domain": "refund-ops"}, "owner")
    key = minted.body["secret"]
    assert publish(own, another("lots"), key).status == 403
    assert publish(own, text("v3"), key).status == 200


BROKEN = {
    "a half of a list": (b"events: [A", "not_yaml"),
    "not UTF-8": (b"domain: caf\xe9\n", "not_utf8"),
    "an alias": (b"a: &a [x]\nb: *a\n", "alias"),
    "a bomb of aliases": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\n",
        "alias",
    ),
    "a tag": (b"domain: !!python/object/apply:os.system [id]\n", "tag"),
    "two documents": (b"domain: a\n---\ndomain: b\n", "many_documents"),
    "a key twice": (b"domain: a\ndomain: b\n", "duplicate_key"),
    "too deep": (b"domain: " + b"[" * 200 + b"]" * 200, "too_deep"),
    "too many values": (b"events: [" + b"A, " * 12_000 + b"A]\n", "too_many_values"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_document_is_told_about_and_governs_nothing(shop: Served, name: str) -> None:
    yaml, code = BROKEN[name]
    body = validate(shop, yaml)
    assert (body["valid"], code in codes(body)) == (False, True), body["issues"][:5]
    told = put(shop, "/v1/me/domain", yaml)
    assert (told.status, told.body["code"]) == (422, "invalid_domain")
    assert code in codes(told.body)
    assert governs(shop) == "refund-ops-v2"


def test_every_problem_is_told_at_once_with_path_and_line(shop: Served) -> None:
    body = validate(shop, TEXT.replace("risk: low", "risk: tiny").replace("from: PAID", "from: PAYED"))
    places = {issue["path"]: issue["line"] for issue in body["issues"] if issue["level"] == "error"}
    assert places["actions[0].risk"] == TEXT[: TEXT.index("risk: low")].count("\n") + 1
    assert places["transitions[2].from"] == TEXT[: TEXT.index("from: PAID")].count("\n") + 1
    assert all(issue["message"] for issue in body["issues"])


def test_what_is_told_of_a_document_with_thousands_of_problems_is_bounded(shop: Served) -> None:
    body = validate(shop, "domain: x\nevents: [" + ", ".join(f"e {n}" for n in range(2_000)) + "]\n")
    assert len(body["issues"]) == 500


@pytest.mark.parametrize(
    "path", ["/v1/me/domain", "/v1/me/domain/draft", "/v1/me/domains/refund-ops", "/v1/me/domain/validate"]
)
def test_a_document_that_is_too_large_is_not_read(shop: Served, path: str) -> None:
    method = "POST" if path.endswith("validate") else "PUT"
    told = shop.ask(method, path, b"#" * 262_145, "owner", headers=YAML)
    assert (told.status, told.body["code"]) == (413, "too_large")


@pytest.mark.parametrize("media", ["application/octet-stream", "multipart/form-data"])
def test_another_media_type_is_refused(shop: Served, media: str) -> None:
    told = shop.ask("PUT", "/v1/me/domain/draft", TEXT.encode(), "owner", headers={"Content-Type": media})
    assert (told.status, told.body["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_no_document_at_all_is_refused(shop: Served, body: bytes) -> None:
    told = put(shop, "/v1/me/domain/draft", body)
    assert (told.status, told.body["field"]) == (400, "yaml")


def test_a_draft_must_be_text(shop: Served) -> None:
    told = put(shop, "/v1/me/domain/draft", b"domain: caf\xe9\n")
    assert (told.status, told.body["field"]) == (400, "yaml")


@pytest.mark.parametrize("slug", ["Refunds", "9lives", "a.b", "x" * 64])
def test_a_slug_that_no_domain_can_have_is_refused(shop: Served, slug: str) -> None:
    told = put(shop, f"/v1/me/domains/{slug}", TEXT)
    assert (told.status, told.body["field"]) == (400, "slug")


def test_a_version_name_never_means_other_content(own: OwnTenant) -> None:
    told = publish(own, TEXT.replace("maximum: 100", "maximum: 1000"))
    assert (told.status, told.body["code"]) == (409, "conflict")
    assert told.body["version"] == "refund-ops-v2"
    assert own.get("/v1/me/domain").body["content"]["actions"][1]["parameters"]["amount"]["maximum"] == 100


def test_of_two_documents_that_claim_one_version_at_once_one_governs(own: OwnTenant) -> None:
    texts = [text("v3", **{"maximum: 100": f"maximum: {100 + n}"}) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda yaml: publish(own, yaml), texts))
    assert sorted(each.status for each in told) == [200, *[409] * 7]
    [winner] = [yaml for yaml, each in zip(texts, told, strict=True) if each.status == 200]
    assert own.get("/v1/me/domains/refund-ops/yaml").raw.decode() == winner


def test_of_versions_activated_at_once_the_last_record_governs(own: OwnTenant) -> None:
    names = [f"v{n}" for n in range(3, 11)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda name: publish(own, text(name)), names))
    assert [each.status for each in told] == [200] * 8
    versions = own.get("/v1/me/domains/refund-ops/versions").body["versions"]
    assert [each["version"] for each in versions if each["active"]] == [versions[-1]["version"]]
    assert governs(own) == versions[-1]["version"]


def test_an_entity_type_has_one_domain(own: OwnTenant) -> None:
    told = publish(own, text("v1", **{"refund-ops": "lots"}))
    assert (told.status, told.body["domain"]) == (409, "refund-ops")


def test_a_state_that_an_entity_is_in_is_not_dropped(own: OwnTenant) -> None:
    own.paid("ord_1")
    assert own.execute("ord_1").status == 200
    told = publish(own, smaller("v3"))
    assert (told.status, told.body["code"]) == (409, "state_in_use"), told.body
    assert told.body["in_use"] == {"REFUNDED": "order:ord_1"}
    assert governs(own) == "refund-ops-v2"


def test_a_state_that_nobody_is_in_is_dropped(own: OwnTenant) -> None:
    own.paid("ord_1")
    told = publish(own, smaller("v3"))
    assert told.status == 200, told.body
    assert own.get("/v1/entities/order:ord_1/state").body["state"] == "PAID"


def test_going_back_to_a_version_without_a_state_that_is_in_use_is_refused(own: OwnTenant) -> None:
    publish(own, smaller("v3"))
    publish(own, text("v4"))
    own.paid("ord_1")
    own.execute("ord_1")
    told = own.post("/v1/me/domains/refund-ops/rollback", {}, "owner")
    assert (told.status, told.body["code"]) == (409, "state_in_use")


def test_a_race_of_refunds_and_an_activation_leaves_nobody_in_a_state_that_is_gone(own: OwnTenant) -> None:
    orders = [f"ord_{n}" for n in range(6)]
    own.paid(*orders)
    with ThreadPoolExecutor(7) as pool:
        activation = pool.submit(publish, own, smaller("v3"))
        for _ in pool.map(own.execute, orders):
            pass
    states = {own.get(f"/v1/entities/order:{order}/state").body["state"] for order in orders}
    if activation.result().status == 200:
        assert states == {"PAID"}
    else:
        assert activation.result().body["code"] == "state_in_use"
        assert governs(own) == "refund-ops-v2"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/me/domain"),
        ("POST", "/v1/me/domain/draft/activate"),
        ("POST", "/v1/me/domains/refund-ops/activate"),
    ],
)
def test_a_mapping_of_states_is_not_taken_for_done(shop: Served, method: str, path: str) -> None:
    body: dict[str, Any] = {"mapping": {"states": {"REFUNDED": "PAID"}}}
    told = shop.ask(method, path, body | ({"yaml": text("v7")} if method == "PUT" else {}), "owner")
    assert (told.status, told.body["code"]) == (422, "mapping_not_supported")
    assert governs(shop) == "refund-ops-v2"


def test_a_good_document_is_valid_whatever_it_warns_of(shop: Served) -> None:
    body = validate(shop, TEXT)
    assert (body["valid"], {issue["level"] for issue in body["issues"]}) == (True, {"warning"})
    assert body["parsed"]["version"] == "refund-ops-v2"


def test_a_document_comes_in_json_as_well(shop: Served) -> None:
    assert shop.post("/v1/me/domain/validate", {"yaml": TEXT}).body == validate(shop, TEXT)


def test_a_draft_is_kept_as_it_was_written(own: OwnTenant) -> None:
    told = put(own, "/v1/me/domain/draft", TEXT)
    assert (told.status, told.body["yaml"], told.body["issues"]) == (200, TEXT, [])
    assert type(told.body["updated_at"]) is int
    assert told.body["parsed"]["domain"] == "refund-ops"
    assert own.get("/v1/me/domain/draft", "owner").body == told.body
    assert governs(own) == "refund-ops-v2"


def test_a_draft_that_a_guard_exports_is_kept_with_what_it_lacks(own: OwnTenant) -> None:
    told = put(own, "/v1/me/domain/draft", EXPORTED)
    assert told.status == 200
    assert told.body["parsed"]["domain"] == "support"
    assert {issue["level"] for issue in told.body["issues"]} == {"activation"}
    refused = own.post("/v1/me/domain/draft/activate", {}, "owner")
    assert (refused.status, refused.body["issues"]) == (422, told.body["issues"])


def test_a_draft_that_cannot_be_read_is_kept(own: OwnTenant) -> None:
    told = put(own, "/v1/me/domain/draft", "events: [A")
    assert (told.status, told.body["parsed"], told.body["yaml"]) == (200, None, "events: [A")
    assert codes(told.body) == {"not_yaml"}


def test_a_draft_of_one_tenant_is_not_there_for_another(own: OwnTenant) -> None:
    theirs = OwnTenant(own)
    put(own, "/v1/me/domain/draft", TEXT)
    assert theirs.get("/v1/me/domain/draft", "owner").status == 404


def test_a_draft_governs_once_it_is_activated(own: OwnTenant) -> None:
    put(own, "/v1/me/domain/draft", text("v3"))
    told = own.post("/v1/me/domain/draft/activate", {}, "owner")
    assert (told.status, told.body["version"], told.body["changed"]) == (200, "refund-ops-v3", True)
    again = own.post("/v1/me/domain/draft/activate", {}, "owner")
    assert (again.status, again.body["changed"]) == (200, False)
    assert governs(own) == "refund-ops-v3"


def test_what_governs_decides(own: OwnTenant) -> None:
    own.paid("ord_1")
    assert own.decide("ord_1", amount=49.0).body["outcome"] == "allowed"
    publish(own, text("v3", **{"maximum: 100": "maximum: 10"}))
    own.paid("ord_2")
    assert own.decide("ord_2", amount=49.0).body["reasons"] == ["invalid_parameter"]


def test_the_one_domain_that_governs_is_told_as_its_author_wrote_it(own: OwnTenant) -> None:
    assert json.loads(own.get("/v1/me/domain").body["yaml"])["domain"] == "refund-ops", "nobody sent any YAML yet"
    publish(own, text("v3"))
    body = own.get("/v1/me/domain").body
    assert (body["slug"], body["version"], body["entity"], body["yaml"]) == (
        "refund-ops",
        "refund-ops-v3",
        "Order",
        text("v3"),
    )
    assert body["content"]["version"] == "v3"


def test_of_several_domains_none_is_the_one(own: OwnTenant) -> None:
    publish(own, another("lots"))
    body = own.get("/v1/me/domain").body
    assert "slug" not in body
    assert {each["slug"] for each in body["domains"]} == {"lots", "refund-ops"}


def test_a_domain_begins_with_a_draft_and_governs_when_it_is_activated(own: OwnTenant) -> None:
    told = own.post("/v1/me/domains", another("lots").encode(), "owner", headers=YAML)
    assert (told.status, told.body["slug"]) == (201, "lots")
    listed = own.get("/v1/me/domains").body["domains"]
    assert listed[0] == {"slug": "lots", "active": {}, "versions": 0, "draft": True}
    assert own.get("/v1/me/domains/lots/yaml").raw.decode() == another("lots")
    again = own.post("/v1/me/domains", another("lots").encode(), "owner", headers=YAML)
    assert again.status == 409
    told = own.post("/v1/me/domains/lots/activate", {"version": "v1"}, "owner")
    assert (told.status, told.body["version"]) == (200, "lots-v1")
    assert own.get("/v1/me/domains").body["domains"][0]["active"] == {"lots": "lots-v1"}


def test_a_draft_sent_as_one_of_another_domain_does_not_govern(own: OwnTenant) -> None:
    told = put(own, "/v1/me/domains/lots", TEXT)
    assert codes(told.body) == {"other_domain"}
    refused = own.post("/v1/me/domains/lots/activate", {}, "owner")
    assert (refused.status, codes(refused.body)) == (422, {"other_domain"})


def test_a_draft_can_be_forgotten(own: OwnTenant) -> None:
    put(own, "/v1/me/domains/lots", another("lots"))
    assert own.ask("DELETE", "/v1/me/domains/lots/draft", None, "owner").status == 200
    assert own.get("/v1/me/domains/lots/yaml").status == 404
    assert own.ask("DELETE", "/v1/me/domains/lots/draft", None, "owner").status == 404


def test_a_tenant_has_a_bounded_number_of_drafts(own: OwnTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "MOST", 2)
    for slug in ("a", "b"):
        assert put(own, f"/v1/me/domains/{slug}", another(slug)).status == 200
    told = put(own, "/v1/me/domains/c", another("c"))
    assert (told.status, told.body["limit"]) == (409, 2)
    assert put(own, "/v1/me/domains/a", another("a")).status == 200


def test_versions_say_when_they_governed(own: OwnTenant) -> None:
    publish(own, text("v3"))
    own.post("/v1/me/domains/refund-ops/activate", {"version": "v2"}, "owner")
    second, third = own.get("/v1/me/domains/refund-ops/versions").body["versions"]
    assert (second["version"], second["active"], second["activated_by"]) == ("refund-ops-v2", True, "owner")
    assert (third["version"], third["active"]) == ("refund-ops-v3", False)
    assert second["published_at"] < third["published_at"] < second["activated_at"]


def test_going_back_makes_the_version_govern_that_governed_before(own: OwnTenant) -> None:
    for name in ("v3", "v4"):
        publish(own, text(name))
    own.post("/v1/me/domain/draft/activate", {}, "owner")
    told = own.post("/v1/me/domains/refund-ops/rollback", {}, "owner")
    assert (told.status, told.body["version"]) == (200, "refund-ops-v3")
    records = own.tower.runtime.read.activations("refund-ops", tenant=own.tenant)
    assert records[-1]["data"]["replaces"] == "refund-ops-v4"


def test_there_is_nothing_before_the_first_version(own: OwnTenant) -> None:
    told = own.post("/v1/me/domains/refund-ops/rollback", {}, "owner")
    assert (told.status, told.body["code"]) == (409, "conflict")


def test_going_back_twice_with_one_key_goes_back_once(own: OwnTenant) -> None:
    publish(own, text("v3"))
    once = {"Idempotency-Key": "back-1"}
    told = [own.post("/v1/me/domains/refund-ops/rollback", {}, "owner", headers=once) for _ in range(3)]
    assert [each.body for each in told] == [told[0].body] * 3
    assert governs(own) == "refund-ops-v2"


def test_a_late_repetition_of_an_activation_does_not_undo_a_newer_one(own: OwnTenant) -> None:
    first = publish(own, text("v3"), **{"Idempotency-Key": "publish-3"})
    publish(own, text("v4"))
    assert publish(own, text("v3"), **{"Idempotency-Key": "publish-3"}).body == first.body
    assert governs(own) == "refund-ops-v4"
    told = publish(own, text("v5"), **{"Idempotency-Key": "publish-3"})
    assert (told.status, told.body["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("template", ["refund-ops", "agentic-ops"])
def test_a_template_is_a_domain_that_could_govern(shop: Served, template: str) -> None:
    told = shop.post("/v1/me/domain/template", {"template": template})
    assert validate(shop, told.body["yaml"])["valid"]


def test_a_template_that_is_not_there_is_refused(shop: Served) -> None:
    told = shop.post("/v1/me/domain/template", {"template": "../refund-ops"})
    assert (told.status, told.body["field"]) == (400, "template")


def test_a_tenant_is_told_how_much_it_has_and_nothing_of_others(own: OwnTenant) -> None:
    theirs = OwnTenant(own)
    own.paid("ord_1", "ord_2")
    own.decide("ord_1")
    own.decide("ord_2", amount=5_000.0)
    told = own.get("/v1/me/usage", "owner").body
    mine = {name: told[name] for name in ("decisions", "entities", "keys", "members", "since_start")}
    assert mine == {
        "decisions": 2,
        "entities": 2,
        "keys": 3,
        "members": 3,
        "since_start": {"allowed": 1, "invalid": 1},
    }
    assert theirs.get("/v1/me/usage", "owner").body["since_start"] == {}
    assert own.get("/v1/me/usage", "agent").status == 403


def test_a_domain_is_told_how_much_it_governs(own: OwnTenant) -> None:
    own.paid("ord_1", "ord_2")
    own.execute("ord_1")
    own.execute("ord_2", "REFUND_ORDER", 999.0)
    told = own.get("/v1/me/domains/refund-ops/usage", "owner").body
    assert told["states"] == {"PAID": 1, "REFUNDED": 1}
    assert (told["entities"], told["pending_approvals"], told["complete"]) == (2, 1, True)


def test_the_draft_of_a_domain_that_governs_is_read_beside_it(own: OwnTenant) -> None:
    put(own, "/v1/me/domains/refund-ops", text("v3"))
    assert own.get("/v1/me/domains/refund-ops/draft", "owner").body["yaml"] == text("v3")
    assert own.get("/v1/me/domains/refund-ops/draft", "agent").status == 403
    assert json.loads(own.get("/v1/me/domains/refund-ops/yaml").raw)["version"] == "v2"
