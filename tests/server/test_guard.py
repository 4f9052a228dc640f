"""Guards that connect and tell what they saw: who they stand for is what their key says."""

from __future__ import annotations

from typing import Any

import pytest
from own_tenant import OwnTenant
from served import Served, Told

from kiff.server.routes import guard

pytestmark = pytest.mark.slow

CONNECT = {"adapter": "agno", "mode": "observe"}
TOOL = {
    "name": "refund_order",
    "description": "Pays an order back.",
    "parameter_schema": {"type": "object", "properties": {"amount": {}, "order_id": {}}},
    "entity_arg": "order_id",
    "action": "REFUND_ORDER",
    "entity_type": "Order",
    "required": ["order_id"],
    "observed_call_count": 3,
}


def unbound(own: OwnTenant) -> str:
    """The secret of a key that is bound to nobody."""
    return str(own.post("/v1/keys", {"roles": ["ops_agent"]}, "owner").body["secret"])


@pytest.fixture
def own(shop: Served) -> OwnTenant:
    return OwnTenant(shop)


def connect(shop: Served, key: str = "agent", **said: Any) -> Told:
    return shop.post("/v1/guard/connect", CONNECT | said, key)


def observe(shop: Served, tools: list[Any], key: str = "agent", **said: Any) -> Told:
    return shop.post("/v1/guard/observations", {**CONNECT, "tools": tools, **said}, key)


def listed(shop: Served, key: str = "owner", query: str = "") -> list[str]:
    return [each["agent_id"] for each in shop.get(f"/v1/guard/runtimes{query}", key).body["runtimes"]]


@pytest.mark.parametrize("send", [connect, lambda shop, **said: observe(shop, [TOOL], **said)])
def test_a_bound_key_stands_for_nobody_else(own: OwnTenant, send: Any) -> None:
    told = send(own, agent_id="another-agent")
    assert (told.status, told.body["code"]) == (403, "actor_not_key_holder")
    assert listed(own) == []


def test_a_key_that_is_bound_to_nobody_must_say_for_whom(own: OwnTenant) -> None:
    key = unbound(own)
    told = connect(own, key)
    assert (told.status, told.body["code"]) == (403, "key_not_bound_to_agent")
    assert connect(own, key, agent_id="support").body["agent_id"] == "support"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no adapter": ({"adapter": ""}, "adapter"),
    "a mode that there is not": ({"mode": "off"}, "mode"),
    "a member that nobody knows": ({"roles": ["owner"]}, "roles"),
    "an id that is none": ({"agent_id": "a b"}, "agent_id"),
    "a text without end": ({"project": "p" * 129}, "project"),
    "a number for a text": ({"workflow": 1}, "workflow"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_well_formed_is_refused_by_name(own: OwnTenant, name: str) -> None:
    said, field = REFUSED[name]
    told = connect(own, **said)
    assert (told.status, told.body["field"]) == (400, field)
    assert listed(own) == []


TOOLS: dict[str, tuple[list[Any], str]] = {
    "too many": ([{"name": f"t{n}"} for n in range(501)], "tools"),
    "one twice": ([TOOL, TOOL], "tools[1].name"),
    "a name without end": ([{"name": "t" * 129}], "tools[0].name"),
    "no name": ([{"name": ""}], "tools[0].name"),
    "a risk": ([{"name": "t", "risk": "low"}], "tools[0].risk"),
    "a count below nothing": ([{"name": "t", "observed_call_count": -1}], "tools[0].observed_call_count"),
    "a schema that is none": ([{"name": "t", "parameter_schema": []}], "tools[0].parameter_schema"),
    "a schema without end": (
        [{"name": "t", "parameter_schema": {"properties": {"p" * 17_000: {}}}}],
        "tools[0].parameter_schema",
    ),
}


@pytest.mark.parametrize("name", TOOLS)
def test_tools_that_are_not_well_formed_are_refused_by_name(own: OwnTenant, name: str) -> None:
    tools, field = TOOLS[name]
    told = observe(own, tools)
    assert (told.status, told.body["field"]) == (400, field)


def test_guards_of_another_tenant_are_not_there(own: OwnTenant) -> None:
    theirs = OwnTenant(own)
    id = connect(theirs).body["runtime_id"]
    observe(theirs, [TOOL])
    assert listed(own) == []
    assert own.get(f"/v1/guard/observations/{id}", "owner").status == 404
    assert own.ask("DELETE", f"/v1/guard/runtimes/{id}", None, "owner").status == 404
    assert connect(own).body["runtime_id"] != id


def test_an_agent_sees_its_own_guards_only(own: OwnTenant) -> None:
    connect(own)
    connect(own, unbound(own), agent_id="support")
    other = observe(own, [TOOL], unbound(own), agent_id="support").body["observation"]["runtime_id"]
    assert listed(own, "agent") == ["ops-agent"]
    assert sorted(listed(own)) == ["ops-agent", "support"]
    assert own.get(f"/v1/guard/observations/{other}", "agent").status == 404


def test_only_an_owner_forgets_a_guard(own: OwnTenant) -> None:
    id = connect(own).body["runtime_id"]
    observe(own, [TOOL])
    assert own.ask("DELETE", f"/v1/guard/runtimes/{id}", None, "agent").status == 403
    assert own.ask("DELETE", f"/v1/guard/runtimes/{id}", None, "owner").status == 200
    assert listed(own) == []
    assert own.get(f"/v1/guard/observations/{id}", "owner").status == 404


def test_a_tenant_has_a_bounded_number_of_guards(own: OwnTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST", {guard.RUNTIME: 2, guard.OBSERVATION: 1})
    for project in ("a", "b"):
        assert connect(own, project=project).status == 200
    told = connect(own, project="c")
    assert (told.status, told.body["limit"]) == (409, 2)
    assert connect(own, project="a").status == 200, "one that is known goes on"
    assert observe(own, [TOOL], project="a").status == 200
    assert observe(own, [TOOL], project="b").status == 409


def test_a_guard_is_told_which_it_is(own: OwnTenant) -> None:
    told = connect(own, project="shop", environment="prod", workflow="refunds", sdk_version="1.7.0").body
    assert told["first_seen_at"].endswith("Z")
    assert told.pop("first_seen_at") == told.pop("last_seen_at")
    assert told.pop("runtime_id").startswith("grt_")
    assert told == {
        "heartbeat_interval": "60s",
        "tenant_id": own.tenant,
        "project": "shop",
        "environment": "prod",
        "agent_id": "ops-agent",
        "workflow": "refunds",
        "adapter": "agno",
        "mode": "observe",
        "sdk_version": "1.7.0",
        "seen_count": 1,
    }


def test_a_guard_that_comes_again_is_the_same_one(own: OwnTenant) -> None:
    first = connect(own).body
    again = connect(own, agent_id="ops-agent", mode="enforce", sdk_version="2").body
    for name in ("runtime_id", "first_seen_at"):
        assert again[name] == first[name]
    assert (again["seen_count"], again["mode"], again["sdk_version"]) == (2, "enforce", "2")
    assert again["last_seen_at"] >= first["last_seen_at"]
    [row] = own.get("/v1/guard/runtimes", "owner").body["runtimes"]
    assert row == again


@pytest.mark.parametrize("name", ["project", "environment", "workflow", "adapter"])
def test_another_place_is_another_guard(own: OwnTenant, name: str) -> None:
    assert connect(own).body["runtime_id"] != connect(own, **{name: "elsewhere"}).body["runtime_id"]


def test_guards_come_page_by_page(own: OwnTenant) -> None:
    made = sorted(connect(own, project=f"p{n}").body["runtime_id"] for n in range(5))
    found: list[str] = []
    query = "?limit=2"
    while query:
        page = own.get(f"/v1/guard/runtimes{query}", "owner").body
        found += [each["runtime_id"] for each in page["runtimes"]]
        query = f"?limit=2&after={page['next']}" if "next" in page else ""
    assert found == made


def test_what_a_guard_saw_is_kept_as_it_told_it(own: OwnTenant) -> None:
    told = observe(own, [TOOL, {"name": "look"}], project="shop").body["observation"]
    assert told["tools"] == [TOOL, {"name": "look"}]
    assert (told["agent_id"], told["project"], told["tenant_id"]) == ("ops-agent", "shop", own.tenant)
    assert told["observed_at"] == told["updated_at"]
    assert own.get(f"/v1/guard/observations/{told['runtime_id']}").body == {"observation": told}


def test_what_a_guard_sees_later_takes_its_place(own: OwnTenant) -> None:
    first = observe(own, [TOOL]).body["observation"]
    again = observe(own, [{"name": "look", "observed_call_count": 9}]).body["observation"]
    assert again["tools"] == [{"name": "look", "observed_call_count": 9}]
    assert again["observed_at"] == first["observed_at"]


def test_a_guard_changes_nothing_that_decides(own: OwnTenant) -> None:
    head = own.get("/v1/me/usage", "owner").body["records"]
    connect(own)
    observe(own, [TOOL])
    assert own.get("/v1/me/usage", "owner").body["records"] == head
