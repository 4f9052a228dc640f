"""What a guard tells of the tools it saw: names, types, counts and bindings, and never a value."""

from __future__ import annotations

from kiff_guard.catalog import Catalog
from kiff_guard.observation import GuardToolObservation, observations
from kiff_guard.tool_map import ToolMap


def seen(*calls: tuple[str, dict[str, object]]) -> Catalog:
    catalog = Catalog()
    for tool, args in calls:
        catalog.record("ops-agent", tool, args)
    return catalog


def test_a_tool_is_told_by_names_types_and_counts() -> None:
    catalog = seen(("refund", {"amount": 5, "note": None}), ("refund", {"amount": 4.5, "lines": ["hunter2"]}))
    [told] = observations(catalog)
    assert told == GuardToolObservation(
        "refund",
        parameter_schema={
            "type": "object",
            "properties": {"amount": {"type": ["integer", "number"]}, "lines": {"type": "array"}, "note": {}},
        },
        observed_call_count=2,
    )
    assert "hunter2" not in repr(told)


def test_a_tool_is_told_with_its_binding_where_it_has_one() -> None:
    tools = (
        ToolMap()
        .bind("refund", "REFUND_ORDER", "Order", "order_id")
        .bind("Bash", "RUN_COMMAND", "Workspace", entity_id="main")
        .bind("a*", "A", "Order", "id")
        .bind("*b", "B", "Order", "id")
    )
    told = {
        each.name: each for each in observations(seen(*((name, {}) for name in ("refund", "Bash", "ab", "x"))), tools)
    }
    bindings = {name: (each.action, each.entity_type, each.entity_arg) for name, each in told.items()}
    assert bindings == {
        "refund": ("REFUND_ORDER", "Order", "order_id"),
        "Bash": ("RUN_COMMAND", "Workspace", None),
        "ab": (None, None, None),
        "x": (None, None, None),
    }


def test_a_schema_that_kiff_would_not_take_is_left_out() -> None:
    small, large = observations(seen(("a", {"x": 1}), ("b", {f"{number:0128}": 1 for number in range(128)})))
    assert small.parameter_schema is not None
    assert (large.name, large.parameter_schema, large.observed_call_count) == ("b", None, 1)
