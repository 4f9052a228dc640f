"""Which action a tool is, and what of a call's arguments KIFF is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kiff_guard.client import HTTPClient
from kiff_guard.decision import Decision
from kiff_guard.errors import AmbiguousTool, ConfigurationError
from kiff_guard.tool_map import ToolBinding, ToolMap, split

REFUND = ToolBinding("REFUND_ORDER", "Order", "order_id")
NOWHERE = "http://127.0.0.1:1"


def refunds() -> ToolMap:
    return ToolMap().bind(
        "refund", "REFUND_ORDER", "Order", "order_id", aliases=["repay", "mcp__*__refund", "refund_v?"]
    )


def decided(tools: ToolMap, tool: str, args: Any, **more: Any) -> Decision:
    """What a client says that nobody is there to answer: whoever asks KIFF gets an error."""
    return HTTPClient("key", tools, NOWHERE, retries=0, **more).decide("acme", "a", tool, args)


@pytest.mark.parametrize("tool", ["refund", "repay", "mcp__shop__refund", "refund_v2"])
def test_a_tool_is_found_by_all_its_names(tool: str) -> None:
    assert refunds().get(tool) == REFUND


@pytest.mark.parametrize(
    "tool", ["", "Refund", "refund ", "refund_v10", "mcp__shop__refund2", "xrepay", "mcp_shop_refund"]
)
def test_no_other_tool_is(tool: str) -> None:
    assert refunds().get(tool) is None


def test_a_name_goes_before_an_alias_and_an_alias_before_a_pattern() -> None:
    tools = (
        ToolMap()
        .bind("*", "ANYTHING", "Order", "id")
        .bind("other", "OTHER", "Order", "id", aliases=["refund", "repay"])
        .bind("refund", "REFUND_ORDER", "Order", "order_id")
    )
    found = [tools.get(tool) for tool in ("refund", "repay", "look")]
    assert [each and each.action for each in found] == ["REFUND_ORDER", "OTHER", "ANYTHING"]


def test_two_patterns_that_say_the_same_say_it() -> None:
    tools = refunds().bind("*__refund", *REFUND[:3])
    assert tools.get("mcp__shop__refund") == REFUND


def test_a_tool_that_fits_two_patterns_is_withheld_whatever_is_unmapped() -> None:
    tools = refunds().bind("mcp__shop__*", "LOOK_AT_ORDER", "Order", "order_id")
    with pytest.raises(
        AmbiguousTool, match=r"`mcp__shop__refund` fits .*REFUND_ORDER.* and .*LOOK_AT_ORDER.*full name"
    ):
        tools.get("mcp__shop__refund")
    told = decided(tools, "mcp__shop__refund", {"order_id": "ord_1"}, unmapped="allow")
    assert (told.outcome, told.reasons) == ("invalid", ("ambiguous_tool",))


def test_a_tool_that_is_bound_again_is_what_it_was_bound_to_last() -> None:
    assert ToolMap().bind("refund", "OLD", "Order", "id").bind("refund", *REFUND[:3]).get("refund") == REFUND


def test_a_map_can_be_made_of_bindings() -> None:
    assert ToolMap({"refund": REFUND}).get("refund") == REFUND


WRONG: dict[str, dict[str, Any]] = {
    "tool": {"tool": ""},
    "action": {"action": ""},
    "entity_type": {"entity_type": None},
    "entity_arg": {"entity_arg": "order."},
    "entity_id": {"entity_id": "ord_1"},
    "aliases": {"aliases": "repay"},
    "parameters": {"parameters": "amount"},
    "two arguments one parameter": {"parameters": {"a": "amount", "b": "amount"}},
    "alias": {"aliases": [""]},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_binding_that_cannot_be_right_is_refused(name: str) -> None:
    good = {"tool": "refund", "action": "REFUND_ORDER", "entity_type": "Order", "entity_arg": "order_id"}
    with pytest.raises(ConfigurationError, match=name):
        ToolMap().bind(**{**good, **WRONG[name]})


def test_a_binding_names_its_entity_somehow() -> None:
    with pytest.raises(ConfigurationError, match="`entity_arg`"):
        ToolMap().bind("refund", "REFUND_ORDER", "Order")


def test_an_alias_of_two_tools_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="alias `repay`"):
        refunds().bind("other", "OTHER", "Order", "id", aliases=["repay"])


UNNAMED: dict[str, Any] = {
    "missing": {},
    "none": {"order_id": None},
    "empty": {"order_id": ""},
    "a list": {"order_id": ["ord_1"]},
    "an object": {"order_id": {"id": "ord_1"}},
    "a fraction": {"order_id": 1.5},
    "true": {"order_id": True},
    "no object": ["ord_1"],
    "no arguments": None,
    "a text": '{"order_id": "ord_1"}',
}


@pytest.mark.parametrize("name", UNNAMED)
def test_a_call_that_names_no_entity_is_withheld_and_says_which_argument(name: str) -> None:
    told = decided(refunds(), "refund", UNNAMED[name])
    assert (told.outcome, told.reasons) == ("invalid", ("arguments_refused",))
    assert "order_id" in told.reason or "are no object" in told.reason


@pytest.mark.parametrize(("given", "entity"), [("ord_1", "ord_1"), (7, "7"), ("0", "0"), (0, "0")])
def test_an_entity_is_named_by_a_text_or_a_whole_number(given: Any, entity: str) -> None:
    assert split("refund", REFUND, {"order_id": given, "amount": 5}) == (entity, {"amount": 5})


def test_the_arguments_themselves_stay_as_they_are() -> None:
    args = {"order": {"id": "ord_1", "note": ["x"]}, "amount": 5}
    before = copy.deepcopy(args)
    entity, parameters = split("refund", ToolBinding("REFUND_ORDER", "Order", "order.id"), args)
    assert (entity, parameters) == ("ord_1", {"order": {"note": ["x"]}, "amount": 5})
    assert args == before


@pytest.mark.parametrize("args", [{"order": "ord_1"}, {"order": {}}, {"order": None}, {"id": "ord_1"}])
def test_a_dotted_argument_is_looked_for_where_it_says(args: dict[str, Any]) -> None:
    told = decided(ToolMap().bind("refund", "REFUND_ORDER", "Order", "order.id"), "refund", args)
    assert (told.outcome, "`order.id`" in told.reason) == ("invalid", True)


def test_a_dotted_argument_may_be_its_own_name_but_not_both() -> None:
    """A decision about one order, and a tool that takes the other."""
    dotted = ToolBinding("REFUND_ORDER", "Order", "order.id")
    assert split("refund", dotted, {"order.id": "ord_1"}) == ("ord_1", {})
    tools = ToolMap({"refund": dotted})
    assert decided(tools, "refund", {"order.id": "ord_1", "order": {"id": "ord_2"}}).outcome == "invalid"


def test_a_tool_without_an_entity_has_one_of_its_own() -> None:
    tools = ToolMap().bind("Bash", "RUN_COMMAND", "Workspace", entity_id="main", parameters=["command"])
    binding = tools.get("Bash")
    assert binding is not None
    assert split("Bash", binding, {"command": "ls", "description": "look"}) == ("main", {"command": "ls"})


def test_parameters_can_have_other_names_than_arguments() -> None:
    tools = ToolMap().bind("pay", "REFUND_ORDER", "Order", "o", parameters={"sum": "amount", "why": "reason"})
    binding = tools.get("pay")
    assert binding is not None
    assert split("pay", binding, {"o": "ord_1", "sum": 5, "more": 1}) == ("ord_1", {"amount": 5})


@pytest.mark.parametrize(
    ("policy", "outcome", "is_withheld"),
    [("withhold", "invalid", True), ("allow", "unmapped", False), ("observe", "observed", False)],
)
def test_a_tool_that_nobody_bound_is_what_the_policy_says(policy: str, outcome: str, is_withheld: bool) -> None:
    told = decided(refunds(), "browse", {}, unmapped=policy)
    assert (told.outcome, told.withheld, told.allowed) == (outcome, is_withheld, False)
    assert told.reason.startswith("unmapped_tool: ")


def test_it_is_withheld_when_nobody_said() -> None:
    assert decided(refunds(), "browse", {}).outcome == "invalid"


def test_a_calls_own_policy_goes_before_the_clients() -> None:
    asking = HTTPClient("key", refunds(), NOWHERE, unmapped="allow")
    assert asking.decide("acme", "a", "browse", {}, unmapped="withhold").outcome == "invalid"
    with pytest.raises(ConfigurationError, match="`unmapped` is 'open'"):
        asking.decide("acme", "a", "browse", {}, unmapped="open")


@pytest.mark.parametrize("policy", ["allow", "observe"])
def test_no_policy_lets_a_bound_tool_run_that_names_no_entity(policy: str) -> None:
    assert decided(refunds(), "refund", {}, unmapped=policy).outcome == "invalid"


def test_a_binding_that_is_a_dict_is_refused_and_not_read_by_its_keys() -> None:
    loose: Any = {"refund": {"action": "REFUND_ORDER", "entity_type": "Order", "entity_arg": "order_id"}}
    with pytest.raises(ConfigurationError, match="the binding of `refund` must be a ToolBinding, and is dict"):
        ToolMap(loose)


def test_a_client_takes_no_dict_for_a_map() -> None:
    loose: Any = {"refund": REFUND}
    with pytest.raises(ConfigurationError, match="`tool_map` is a dict; expected a ToolMap"):
        HTTPClient("key", loose)


@pytest.mark.parametrize(
    ("binding", "says"),
    [
        ("REFUND", "`refund` in guard.json is an object of action, entity_type"),
        ({"action": "REFUND", "entity_type": "Order", "entity": "main"}, "parameters, aliases and no others"),
        ({"entity_type": "Order", "entity_arg": "id"}, "`action` of the binding of `refund` .* guard.json"),
        ({"action": "REFUND", "entity_arg": "id"}, "`entity_type` of the binding of `refund`"),
        ({"action": "REFUND", "entity_type": "Order"}, "`entity_arg` of the binding of `refund`"),
        ({"action": "REFUND", "entity_type": "Order", "entity_arg": "id", "entity_id": "main"}, "only one names"),
        ({"action": ["REFUND"], "entity_type": "Order", "entity_arg": "id"}, "must be a name"),
        ({"action": "REFUND", "entity_type": "Order", "entity_arg": "id", "aliases": "repay"}, "`aliases` of"),
        ({"action": "REFUND", "entity_type": "Order", "entity_arg": "id", "parameters": "id"}, "`parameters` of"),
    ],
)
def test_a_binding_in_a_file_that_is_none_is_refused_by_its_name(binding: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        ToolMap.from_settings({"refund": binding}, "guard.json")


def test_a_file_binds_as_bind_does() -> None:
    told = {"action": "REFUND_ORDER", "entity_type": "Order", "entity_arg": "order_id", "aliases": ["repay"]}
    assert ToolMap.from_settings({"refund": told}, "guard.json").get("repay") == REFUND
