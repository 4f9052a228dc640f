"""What a domain changes, by the names of things."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiff import load
from kiff.domain.difference import Difference, differences

TEXT = (Path(__file__).parent / "documents" / "refund_ops.yaml").read_text("utf-8")
CHANGES: dict[str, tuple[str, str, list[Difference]]] = {
    "a number": (
        "maximum: 100,",
        "maximum: 250,",
        [Difference("changed", "actions.AUTO_REFUND.parameters.amount.maximum", 100, 250)],
    ),
    "a permission more": (
        "admin: [orders.mark_paid,",
        "admin: [orders.look, orders.mark_paid,",
        [Difference("added", "permissions.roles.admin", None, "orders.look")],
    ),
    "a role less": (
        "    ops_operator: [orders.approve]\n",
        "",
        [Difference("removed", "permissions.roles.ops_operator", ["orders.approve"], None)],
    ),
    "another target": (
        "to: REFUNDED}",
        "to: CREATED}",
        [Difference("changed", "transitions.PAID on ORDER_REFUNDED.to", "REFUNDED", "CREATED")],
    ),
    "another order": (
        "events: [ORDER_PLACED, ORDER_PAID,",
        "events: [ORDER_PAID, ORDER_PLACED,",
        [
            Difference(
                "reordered",
                "events",
                ["ORDER_PLACED", "ORDER_PAID", "ORDER_REFUNDED"],
                ["ORDER_PAID", "ORDER_PLACED", "ORDER_REFUNDED"],
            )
        ],
    ),
    "another version": ("version: v2", "version: v3", [Difference("changed", "version", "v2", "v3")]),
}


GUARDED = (Path(__file__).parents[2] / "spec" / "scenarios" / "domains" / "part_refunds.yaml").read_text("utf-8")


def test_a_guard_is_named_by_where_its_way_leads() -> None:
    where = [f"transitions.{state} on REFUND_ISSUED to REFUNDED.when" for state in ("PAID", "PARTIALLY_REFUNDED")]
    old = "entity.refunded + event.amount == entity.total"
    new = old.replace("==", ">=")
    found = differences(load(GUARDED), load(GUARDED.replace(old, new)))
    assert found == [Difference("changed", each, old, new) for each in sorted(where)]


def test_an_attribute_and_a_timeout_are_compared() -> None:
    changed = GUARDED.replace("maximum: 1000000", "maximum: 5").replace("after: 24h", "after: 12h")
    found = [(each.change, each.where) for each in differences(load(GUARDED), load(changed))]
    assert found == [("changed", "attributes.total.maximum"), ("changed", "timeouts")]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named_by_what_it_changes(name: str) -> None:
    old, new, expected = CHANGES[name]
    assert old in TEXT
    assert differences(load(TEXT), load(TEXT.replace(old, new))) == expected


def test_an_action_that_is_renamed_is_one_less_and_one_more() -> None:
    found = differences(load(TEXT), load(TEXT.replace("MARK_PAID", "PAY")))
    assert {(each.change, each.where) for each in found} == {("added", "actions.PAY"), ("removed", "actions.MARK_PAID")}


def test_comments_and_spelled_out_defaults_change_nothing() -> None:
    assert differences(load(TEXT), load("# a comment\n" + TEXT)) == []
    domain = load(TEXT)
    assert differences(domain, load(domain.content)) == []


def test_two_domains_with_a_difference_always_say_one() -> None:
    domains = [load(TEXT.replace(old, new)) for old, new, _ in CHANGES.values()]
    for one in domains:
        for other in domains:
            assert bool(differences(one, other)) == (one.digest != other.digest)
