"""Domains at random, complete and valid, with names and texts that code has to be careful with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import strategies as st

NAMES = st.one_of(
    st.sampled_from(["class", "None", "a.b", "a-b", "a_b", "Risk", "ACTIONS", "PATHS", "print", "match", "x" * 64]),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,8}", fullmatch=True),
)
PERMISSIONS = st.from_regex(r"[a-z][a-z0-9_-]{0,6}(\.[a-z]{1,6})?", fullmatch=True)
EXECUTORS = st.one_of(
    st.sampled_from(["a.run", "b.run", "b:run", "b-run", "_", "a.", "__init__", "lambda", "x.Any", "n9.x"]),
    st.sampled_from(["refund.2fast", "dict", "_._", "e" * 128, "Operation", "a.EXECUTORS", "a.b.c.d"]),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:-]{0,12}", fullmatch=True),
)
TEXTS = st.one_of(
    st.sampled_from(['"""', "'''", "\\", "a\nb", "{x} %s $y ${z}", "'\"", "#", "\u202eabc", "w " * 90, "w" * 300]),
    st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=200),
)
SCHEMAS = st.one_of(
    st.fixed_dictionaries({"type": st.just("number"), "minimum": st.integers(-5, 5), "maximum": st.integers(6, 9)}),
    st.fixed_dictionaries({"type": st.just("integer"), "exclusiveMinimum": st.floats(-3, 300)}),
    st.fixed_dictionaries({"type": st.just("string"), "minLength": st.integers(0, 150), "description": TEXTS}),
    st.fixed_dictionaries({"enum": st.lists(TEXTS | st.none() | st.booleans() | st.integers(-9, 9), min_size=1)}),
    st.sampled_from(
        [
            {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
            {"type": "string", "pattern": "^(?:a|b)+c?$", "minLength": 4},
            {"type": "string", "pattern": "^\\p{Greek}$"},
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.02, "unit": "USD"},
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.01, "unit": "USD"},
            {"type": "array", "minItems": 2, "items": {"type": "object", "required": ["a"], "properties": {"a": {}}}},
            {"type": ["boolean", "null"], "const": None},
            {},
        ]
    ),
)


def some(values: st.SearchStrategy[Any], least: int = 1, most: int = 4) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=least, max_size=most, unique=True)


@st.composite
def actions(draw: st.DrawFn, name: str, states: list[str], events: list[str]) -> dict[str, Any]:
    parameters = draw(st.dictionaries(st.sampled_from(["amount", "_x", "a.b", "class", "y-z"]), SCHEMAS, max_size=3))
    required = draw(some(st.sampled_from([*parameters, "other"]), least=0))
    action: dict[str, Any] = {
        "name": name,
        "allowed_states": draw(some(st.sampled_from(states))),
        "required_parameters": required,
        "required_permissions": draw(some(PERMISSIONS, most=2)),
        "risk": draw(st.sampled_from(["low", "medium", "high"])),
        "approval": draw(st.sampled_from(["never", "required"])),
    }
    if parameters and set(required) <= parameters.keys():
        action["parameters"] = parameters
    objection = {"id": "late", "when": "entity.n > 7", "then": "deny"}
    if action["approval"] == "required":
        objection |= {"then": "require_approval", "quorum": 2}
    further = {
        "description": TEXTS,
        "executor": EXECUTORS,
        "timeout": st.sampled_from(["30s", "5m"]),
        "lock": st.sampled_from(["entity", "none", {"key": "entity.id", "ttl": "90s"}]),
        "when": st.just('entity.id != "0" && 1 > 0'),
        "rules": TEXTS.map(lambda text: [objection | {"message": text[:300] or "-"}]),
        "limits": st.just([{"id": "often", "kind": "rate", "max": 9, "per": "1h", "key": "actor.id"}]),
        "emits": some(st.sampled_from(events), least=0)
        | st.fixed_dictionaries({"success": some(st.sampled_from(events)), "failure": some(st.sampled_from(events))}),
        "approval_policy": st.fixed_dictionaries(
            {},
            optional={
                "permissions": some(PERMISSIONS),
                "expires": st.just("1h"),
                "on_grant": st.just("run"),
                "quorum": st.integers(1, 3),
                "human_only": st.booleans(),
                "evidence": st.sampled_from(["key", "session"]),
            },
        ),
    }
    return action | draw(st.fixed_dictionaries({}, optional=further))


@st.composite
def transitions(draw: st.DrawFn, start: str | None, event: str, end: str, states: list[str]) -> list[dict[str, Any]]:
    """One way or two, with a guard each."""
    row = {"on": event, "to": end} | ({"from": start} if start else {})
    counted = row | {"set": {"n": "entity.n + 1"}}
    guarded = [counted | {"when": "entity.n < 2"}, row | {"when": "entity.n >= 2", "to": draw(st.sampled_from(states))}]
    return draw(st.sampled_from([[row], [counted], guarded if start else [row]]))


@st.composite
def documents(draw: st.DrawFn) -> str:
    """The text of a kiff.yaml without issues, as JSON, which is YAML."""
    states, events = draw(some(NAMES)), draw(some(NAMES))
    keys = st.tuples(st.none() | st.sampled_from(states), st.sampled_from(events))
    table = draw(st.dictionaries(keys, st.sampled_from(states), max_size=8))
    table |= {(None, events[0]): states[0]}
    contracts = [draw(actions(name, states, events)) for name in draw(some(NAMES, most=3))]
    asked = {p for c in contracts for p in c["required_permissions"]}
    asked |= {f"{p.rpartition('.')[0] or p}.approve" for p in asked}
    asked |= {p for c in contracts for p in c.get("approval_policy", {}).get("permissions", ())}
    roles = {"all-" + draw(NAMES)[:50]: sorted(asked), "one": draw(some(st.sampled_from(sorted(asked))))}
    roles |= draw(st.sampled_from([{}, {"source": ["events.ingest"]}]))
    document = {
        "domain": "any-domain",
        "entity": draw(st.sampled_from(["Order", "a-b_C"])),
        "description": draw(TEXTS),
        "events": events,
        "states": states,
        "final": draw(some(st.sampled_from(states), least=0)),
        "transitions": [row for (s, e), t in table.items() for row in draw(transitions(s, e, t, states))],
        "attributes": {"n": {"type": "integer", "default": 0}, "a.b": {"enum": ["x", "y"], "optional": True}},
        "payloads": draw(st.sampled_from([{}, {events[0]: {"size": {"type": "integer", "minimum": 3}}}])),
        "timeouts": [
            {"in": state, "after": "3h", "emit": event}
            for state, event in draw(some(st.tuples(st.sampled_from(states), st.sampled_from(events[1:] or ["-"]))))
            if event != "-"
        ],
        "schedules": draw(st.sampled_from([{}, {"office": {"hours": "08:00-17:30", "days": ["mon"]}}])),
        "actions": contracts,
        "permissions": {"roles": roles},
        "audit": draw(st.sampled_from([{}, {"store": "sqlite", "trace_propagation": True}])),
    }
    return json.dumps(document)


@contextmanager
def imported(sources: Mapping[str, str], folder: Path) -> Iterator[dict[str, ModuleType]]:
    """The modules of a scaffold, as they import each other in `folder`."""
    before = dict(sys.modules)
    try:
        for name in ("policy.py", "actions.py", "domain.py", "test_domain.py"):
            module = ModuleType(name.removesuffix(".py"))
            module.__file__ = str(folder / name)
            sys.modules[module.__name__] = module
            exec(compile(sources[name], name, "exec", dont_inherit=True), module.__dict__)
        yield {name: sys.modules[name.removesuffix(".py")] for name in sources}
    finally:
        for name in sys.modules.keys() - before.keys():
            del sys.modules[name]
        sys.modules.update(before)
