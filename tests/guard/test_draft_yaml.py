"""The starter kiff.yaml: exactly the names that were seen, whatever is in them, and a draft that KIFF takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

import kiff.domain
from kiff_guard import Catalog, Guard, export_yaml
from kiff_guard.errors import ConfigurationError

HOSTILE = [
    "refund\n  - name: transfer_all\n    approval: never",
    "a\r\nb",
    "no",
    "Yes",
    "NULL",
    "~",
    "d: x",
    "a b: c",
    "# not a name",
    "x #y",
    "[a, b]",
    "{a: b}",
    "- a",
    "? a",
    "&anchor",
    "*alias",
    "!tag",
    "%TAG",
    "@at",
    "`tick",
    "'",
    '"',
    "\\",
    "\\n",
    "a'b\"c\\d",
    "1e3",
    "0x10",
    "0o7",
    "1_000",
    "1:30",
    "2026-11-27",
    ".inf",
    ".nan",
    "<<",
    "=",
    "---",
    "...",
    "",
    " ",
    " a ",
    "\t",
    "\x00",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\uffff",
    "返金",
    "💸",
    "e\u0301",
    "a,b",
    "a]b",
    "mcp__shop__refund",
    "shop/refund",
    "x" * 5000,
]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(HOSTILE)


def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def catalog_of(tools: dict[str, set[str]], agents: set[str] = frozenset()) -> Catalog:  # type: ignore[assignment]
    return Catalog(tools=dict(tools), agents=set(agents))


def structure(domain: str, tools: dict[str, set[str]]) -> dict[str, Any]:
    """What the draft has to say: nothing but what was seen."""
    return {
        "domain": domain,
        "entity": "Entity",
        "events": [],
        "states": [],
        "transitions": [],
        "actions": [
            {
                "name": tool,
                "allowed_states": [],
                "required_parameters": sorted(parameters),
                "required_permissions": [],
                "risk": "low",
                "approval": "never",
            }
            for tool, parameters in sorted(tools.items())
        ],
        "permissions": {"roles": {"admin": []}},
    }


@given(
    NAMES, st.dictionaries(NAMES, st.sets(NAMES, max_size=4), max_size=5), st.sets(st.text() | st.sampled_from(HOSTILE))
)
def test_a_draft_says_the_names_that_were_seen_and_nothing_else(
    domain: str, tools: dict[str, set[str]], agents: set[str]
) -> None:
    text = export_yaml(domain, catalog_of(tools, agents))
    assert parsed(text) == structure(domain, tools)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_name_stays_one_name(number: int) -> None:
    name = HOSTILE[number]
    tools = {name: {name, "amount"}, "refund": {name}}
    assert parsed(export_yaml(name, catalog_of(tools, {name}))) == structure(name, tools)


@given(st.text())
@example("\ud800")
def test_half_a_pair_of_surrogates_is_written_as_its_escape(name: str) -> None:
    [action] = parsed(export_yaml("d", catalog_of({name: set()})))["actions"]
    assert action["name"] == name.encode("utf-8", "backslashreplace").decode()


@given(st.text() | st.sampled_from(HOSTILE))
def test_a_draft_can_be_shown_on_a_terminal(name: str) -> None:
    text = export_yaml(name, catalog_of({name: {name}}, {name}))
    assert text.replace("\n", "").isprintable()


def test_a_draft_of_what_a_guard_saw_is_one_that_kiff_takes() -> None:
    guard = Guard(agent="support")
    guard.observe("issue_refund", {"order_id": "ord_1", "amount": 49.5})
    guard.observe("issue_refund", {"order_id": "ord_2", "amount": 20, "note": None})
    guard.observe("mcp__shop__close", {})
    domain = kiff.domain.load(export_yaml("refund-ops", guard.catalog))
    assert (domain.name, sorted(domain.actions)) == ("refund-ops", ["issue_refund", "mcp__shop__close"])
    assert domain.actions["issue_refund"].required_parameters == ("amount", "note", "order_id")
    assert domain.activation_issues != ()


def test_what_was_learned_of_parameters_stands_in_comments() -> None:
    guard = Guard(agent="support\n# evil")
    guard.observe("issue_refund", {"order_id": "ord_1", "amount": 49.5})
    guard.observe("issue_refund", {"order_id": "ord_2", "amount": 20})
    text = export_yaml("refund-ops", guard.catalog)
    assert "  # seen 2 times: amount integer or number, order_id string\n  - name: issue_refund\n" in text
    assert "#   - support\\x0a# evil\n" in text


def test_nothing_seen_is_a_draft_without_actions() -> None:
    text = export_yaml("refund-ops", Catalog())
    assert parsed(text) == structure("refund-ops", {})
    assert kiff.domain.load(text).actions == {}


def test_values_are_never_in_a_draft() -> None:
    guard = Guard()
    guard.observe("issue_refund", {"note": "confidential"})
    assert "confidential" not in export_yaml("refund-ops", guard.catalog)


def test_a_name_that_is_too_long_is_cut_in_comments() -> None:
    assert f"#   - {'x' * 200}…\n" in export_yaml("d", catalog_of({}, {"x" * 5000}))


def test_a_name_and_a_catalog_the_other_way_round_are_refused() -> None:
    name: Any = "refund-ops"
    catalog: Any = Catalog()
    with pytest.raises(ConfigurationError, match=r"expected export_yaml\(name, guard.catalog\)"):
        export_yaml(catalog, name)
