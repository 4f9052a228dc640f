"""Claude Code's http hooks: what nobody can decide is denied, and the status is 200, or the tool would run."""

from __future__ import annotations

from typing import Any

import pytest
from own_tenant import OwnTenant
from served import Served, Told

pytestmark = pytest.mark.slow

REFUND = "mcp__shop__refund"
TOOLS = [
    {"name": REFUND, "action": "AUTO_REFUND", "entity_type": "order", "entity_arg": "order_id"},
    {"name": "mcp__shop__human_*", "action": "REFUND_ORDER", "entity_type": "order", "entity_arg": "order_id"},
]


@pytest.fixture
def own(shop: Served) -> OwnTenant:
    own = OwnTenant(shop)
    assert bind(own, TOOLS).status == 200
    return own


def bind(shop: Served, tools: list[Any], key: str = "owner", **said: Any) -> Told:
    return shop.ask("PUT", "/v1/hooks/tools", {"agent_id": "ops-agent", "tools": tools, **said}, key)


def event(name: str, order: str = "ord_1", call: str = "toolu_1", tool: str = REFUND, **said: Any) -> dict[str, Any]:
    given = {"order_id": order, "amount": 49.0, "reason": "customer request"}
    base = {"hook_event_name": name, "session_id": "sess_1", "cwd": "/project", "permission_mode": "default"}
    return {**base, "tool_name": tool, "tool_input": given, "tool_use_id": call, **said}


def before(shop: Served, key: str | None = "agent", **said: Any) -> Told:
    return shop.post("/v1/hooks/claude-code", event("PreToolUse", **said), key)


def after(shop: Served, name: str = "PostToolUse", **said: Any) -> Told:
    return shop.post("/v1/hooks/claude-code", event(name, **said))


def denied(told: Told) -> str:
    """Why it was denied; fails if it was not, in every way that Claude Code needs."""
    assert told.status == 200, told
    answer = told.body["hookSpecificOutput"]
    assert (answer["hookEventName"], answer["permissionDecision"]) == ("PreToolUse", "deny")
    return str(answer["permissionDecisionReason"])


def status_of(shop: Served, order: str) -> list[str]:
    found = shop.get("/v1/operations", "owner").body["operations"]
    return [each["status"] for each in found if each["entity"] == f"order:{order}"]


def test_an_unknown_key_is_denied_with_status_200(own: OwnTenant) -> None:
    told = before(own, "kiff_live_nobody_key_0000000000_wrong")
    assert "unauthorized" in denied(told)
    assert told.headers["kiff-status"] == "401"


def test_no_key_is_denied(own: OwnTenant) -> None:
    assert "unauthorized" in denied(before(own, None))


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'{"hook_event_name": 5}', b'{"a":1,"a":2}', b"\xff", b"{" * 5000, b" " * 300_000],
    ids=["empty", "half", "list", "null", "type", "twice", "no utf-8", "deep", "large"],
)
def test_what_is_no_event_is_denied(own: OwnTenant, raw: bytes) -> None:
    denied(own.post("/v1/hooks/claude-code", raw))


def test_another_media_type_is_denied(own: OwnTenant) -> None:
    headers = {"Content-Type": "text/plain"}
    denied(own.post("/v1/hooks/claude-code", b"{}", headers=headers))


def test_an_unknown_event_is_denied(own: OwnTenant) -> None:
    assert "no event of a tool call" in denied(before(own, hook_event_name="UserPromptSubmit"))


def test_a_query_is_denied(own: OwnTenant) -> None:
    denied(own.post("/v1/hooks/claude-code?x=1", event("PreToolUse")))


def test_a_malformed_idempotency_key_is_denied(own: OwnTenant) -> None:
    headers = {"Idempotency-Key": "two words"}
    assert "Idempotency-Key" in denied(own.post("/v1/hooks/claude-code", event("PreToolUse"), headers=headers))


def test_an_event_that_claims_authority_has_no_more_of_it(own: OwnTenant) -> None:
    claims = {"roles": ["admin"], "actor": {"id": "owner"}, "actor_id": "owner", "permission_mode": "bypassPermissions"}
    own.paid("ord_claim")
    said: dict[str, Any] = {"order": "ord_claim", "tool": "mcp__shop__human_refund"}
    assert "approval_required" in denied(before(own, call="toolu_c1", **said, **claims))
    inside = event("PreToolUse")["tool_input"] | {"order_id": "ord_claim", "roles": ["admin"]}
    assert "parameters.roles" in denied(before(own, call="toolu_c2", **said, tool_input=inside))


def test_a_key_that_is_bound_to_nobody_is_denied(own: OwnTenant) -> None:
    secret = str(own.post("/v1/keys", {"roles": ["ops_agent"]}, "owner").body["secret"])
    assert "key_not_bound_to_agent" in denied(before(own, secret)) or "forbidden" in denied(before(own, secret))


def test_a_failure_of_kiff_itself_is_denied(own: OwnTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*about: Any, **more: Any) -> Any:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(own.tower.runtime, "propose", breaks)
    told = before(own, order="ord_broken")
    assert "internal" in denied(told)
    assert "disk" not in told.raw.decode()


def test_a_tool_that_nobody_bound_is_denied(own: OwnTenant) -> None:
    assert "unmapped_tool" in denied(before(own, tool="Bash"))


@pytest.mark.parametrize("given", [None, {}, {"order_id": None}, {"order_id": ["x"]}, {"order_id": True}])
def test_a_call_that_names_no_entity_is_denied(own: OwnTenant, given: Any) -> None:
    denied(before(own, tool_input=given))


@pytest.mark.parametrize("missing", ["tool_use_id", "session_id"])
def test_a_call_without_an_id_is_denied(own: OwnTenant, missing: str) -> None:
    assert missing in denied(before(own, **{missing: ""}))


def test_an_agent_does_not_bind_its_own_tools(own: OwnTenant) -> None:
    told = bind(own, [{**TOOLS[0], "action": "MARK_PAID"}], "agent")
    assert (told.status, told.body["code"]) == (403, "permission_denied")
    assert own.get("/v1/hooks/tools").body["tools"][0]["action"] == "AUTO_REFUND"


def test_what_an_agent_says_it_observed_binds_nothing(own: OwnTenant) -> None:
    tool = {"name": "Bash", "action": "AUTO_REFUND", "entity_type": "order", "entity_arg": "order_id"}
    observed = {"adapter": "claude-code", "mode": "enforce", "tools": [tool]}
    assert own.post("/v1/guard/observations", observed).status == 200
    assert "unmapped_tool" in denied(before(own, tool="Bash"))


def test_the_tools_of_another_agent_are_not_shown(own: OwnTenant) -> None:
    assert own.get("/v1/hooks/tools?agent_id=owner").status == 404
    assert own.get("/v1/hooks/tools?agent_id=ops-agent", "owner").body["agent_id"] == "ops-agent"


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        ([TOOLS[0], TOOLS[0]], "tools[1].name"),
        ([{**TOOLS[0], "entity_id": "x"}], "tools[0].entity_arg"),
        ([{"name": "a", "action": "b", "entity_type": "c"}], "tools[0].entity_arg"),
    ],
)
def test_bindings_that_cannot_be_right_are_refused(own: OwnTenant, tools: list[Any], field: str) -> None:
    told = bind(own, tools)
    assert (told.status, told.body["field"]) == (400, field)


def test_a_tool_that_fits_two_patterns_is_denied(own: OwnTenant) -> None:
    other = {"name": "mcp__*__human_refund", "action": "AUTO_REFUND", "entity_type": "order", "entity_arg": "order_id"}
    bind(own, [*TOOLS, other])
    assert "bound differently" in denied(before(own, tool="mcp__shop__human_refund"))


def test_a_tool_that_fits_two_patterns_with_other_parameters_is_denied(own: OwnTenant) -> None:
    """One of them does not tell KIFF the amount that the tool pays."""
    bind(own, [*TOOLS, {**TOOLS[1], "name": "mcp__*__human_refund", "parameters": ["reason"]}])
    assert "bound differently" in denied(before(own, tool="mcp__shop__human_refund"))


@pytest.mark.parametrize("field", ["tool_name", "session_id", "tool_use_id", "hook_event_name"])
def test_a_name_that_is_longer_than_any_is_denied(own: OwnTenant, field: str) -> None:
    """A tenant's patterns and its own long name kept the server busy, for all tenants."""
    bind(own, TOOLS, ungoverned=["a*", "P*"])
    assert before(own, tool="a").body == {}
    assert "512" in denied(
        own.post("/v1/hooks/claude-code", {**event("PreToolUse"), "tool_name": "a", field: "a" * 513})
    )


def test_an_allowed_call_has_no_decision_of_claude_codes_own(own: OwnTenant) -> None:
    own.paid("ord_ok")
    told = before(own, order="ord_ok")
    assert (told.status, told.body) == (200, {})
    assert status_of(own, "ord_ok") == ["open"]


def test_a_call_ends_as_claude_code_tells(own: OwnTenant) -> None:
    own.paid("ord_a", "ord_b", "ord_c")
    for order, name, more in [
        ("ord_a", "PostToolUse", {"tool_response": {"content": []}}),
        ("ord_b", "PostToolUseFailure", {"error": "no"}),
        ("ord_c", "PostToolUse", {"tool_response": {"isError": True}}),
    ]:
        assert before(own, order=order, call=order).body == {}
        assert after(own, name, order=order, call=order, **more).body == {}
    assert status_of(own, "ord_a") == ["succeeded"]
    assert status_of(own, "ord_b") == ["unknown"]
    assert status_of(own, "ord_c") == ["unknown"]


def test_a_call_that_ran_with_other_arguments_is_not_settled_as_decided(own: OwnTenant) -> None:
    own.paid("ord_edited")
    assert before(own, order="ord_edited").body == {}
    other = {"order_id": "ord_edited", "amount": 99.0, "reason": "customer request"}
    assert after(own, order="ord_edited", tool_input=other).body == {}
    assert status_of(own, "ord_edited") == ["open"]


def test_the_same_call_again_is_denied(own: OwnTenant) -> None:
    own.paid("ord_twice")
    assert before(own, order="ord_twice", call="toolu_2").body == {}
    assert "already_cleared" in denied(before(own, order="ord_twice", call="toolu_2"))
    assert after(own, order="ord_twice", call="toolu_2").body == {}
    assert "already_cleared" in denied(before(own, order="ord_twice", call="toolu_2"))


def held(own: OwnTenant, order: str, call: str) -> tuple[str, str]:
    """A held call: why, and the approval it waits for."""
    why = denied(before(own, order=order, call=call, tool="mcp__shop__human_refund"))
    [approval] = [
        each for each in own.get("/v1/approvals", "owner").body["approvals"] if each["entity"].endswith(order)
    ]
    return why, str(approval["id"])


def test_a_held_call_says_which_approval_it_waits_for(own: OwnTenant) -> None:
    own.paid("ord_held")
    why, approval_id = held(own, "ord_held", "toolu_h1")
    assert "approval_required" in why
    assert approval_id in why
    assert approval_id in denied(before(own, order="ord_held", call="toolu_h2", tool="mcp__shop__human_refund"))


def test_a_granted_call_runs_once_when_it_comes_again(own: OwnTenant) -> None:
    own.paid("ord_granted")
    _, approval_id = held(own, "ord_granted", "toolu_g1")
    assert own.post(f"/v1/approvals/{approval_id}/grant", {"reason": "fine"}, "reviewer").status == 200
    said: dict[str, Any] = {"order": "ord_granted", "tool": "mcp__shop__human_refund"}
    assert before(own, call="toolu_g2", **said).body == {}
    assert after(own, call="toolu_g2", **said).body == {}
    assert status_of(own, "ord_granted") == ["succeeded"]
    denied(before(own, call="toolu_g3", **said))


def test_other_arguments_than_were_granted_are_held_anew(own: OwnTenant) -> None:
    own.paid("ord_more")
    _, approval_id = held(own, "ord_more", "toolu_m1")
    own.post(f"/v1/approvals/{approval_id}/grant", {"reason": "fine"}, "reviewer")
    other = {"order_id": "ord_more", "amount": 48.0, "reason": "customer request"}
    why = denied(before(own, order="ord_more", call="toolu_m2", tool="mcp__shop__human_refund", tool_input=other))
    assert approval_id not in why


def test_a_denied_call_stays_denied(own: OwnTenant) -> None:
    own.paid("ord_no")
    _, approval_id = held(own, "ord_no", "toolu_n1")
    own.post(f"/v1/approvals/{approval_id}/deny", {"reason": "no"}, "reviewer")
    denied(before(own, order="ord_no", call="toolu_n2", tool="mcp__shop__human_refund"))


def test_a_tool_that_is_ungoverned_runs_and_leaves_no_record(own: OwnTenant) -> None:
    bind(own, TOOLS, ungoverned=["Read", "Glob*"])
    assert before(own, tool="Read", call="toolu_r").body == {}
    assert after(own, tool="Read", call="toolu_r").body == {}
    assert "unmapped_tool" in denied(before(own, tool="ReadAll"))


def test_an_entity_may_always_be_the_same(own: OwnTenant) -> None:
    own.paid("ord_const")
    tool = {"name": "Bash", "action": "AUTO_REFUND", "entity_type": "order", "entity_id": "ord_const"}
    bind(own, [{**tool, "parameters": ["amount", "reason"]}])
    given = {"command": "refund", "amount": 49.0, "reason": "customer request"}
    assert before(own, tool="Bash", call="toolu_k", tool_input=given).body == {}
    assert status_of(own, "ord_const") == ["open"]


def test_what_is_told_of_no_known_call_is_taken_in_silence(own: OwnTenant) -> None:
    assert after(own, call="toolu_never").body == {}
