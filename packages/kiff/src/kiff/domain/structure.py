"""Whether the parts of a document fit together: the questions a schema cannot ask.

One question = one function. Each takes a document of the right shape (what `shape` objected to was taken out,
and an empty text stands where a list lost an item) and gives what it objects to. `ERRORS` keep a document
from loading; `ACTIVATION` keeps it a draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from kiff.domain.adapter_problems import adapter_problems
from kiff.domain.document import Json, contract_of, seconds, starts
from kiff.domain.issue import Finding, Path, did_you_mean, shown
from kiff.domain.schema_problems import schema_problems

MAX_SECONDS = 366 * 86_400
MAX_NAME = 64

Question = Callable[[Json], Iterator[Finding]]
Use = tuple[Path, str]
"""Where a name is used, and the name."""


def written_actions(document: Json) -> Iterator[tuple[Path, Json]]:
    for index, action in enumerate(document.get("actions", ())):
        if isinstance(action, dict):
            yield ("actions", index), action


def written_transitions(document: Json) -> Iterator[tuple[Path, Json]]:
    for index, transition in enumerate(document.get("transitions", ())):
        if isinstance(transition, dict) and "on" in transition:
            yield ("transitions", index), transition


def written_adapters(document: Json) -> Iterator[tuple[Path, Json]]:
    for index, adapter in enumerate(document.get("adapters", ())):
        if isinstance(adapter, dict):
            yield ("adapters", index), adapter


def _name_lists(document: Json) -> Iterator[tuple[Path, list[str]]]:
    for key in ("events", "states", "final"):
        yield (key,), document.get(key, [])
    for path, transition in written_transitions(document):
        if isinstance(transition.get("from"), list):
            yield (*path, "from"), transition["from"]
    for path, action in written_actions(document):
        for key in ("allowed_states", "required_parameters", "required_permissions"):
            yield (*path, key), action.get(key, [])
        yield from event_lists(path, action)
        policy = action.get("approval_policy", {})
        yield (*path, "approval_policy", "permissions"), policy.get("permissions", [])
    for role, permissions in document.get("permissions", {}).get("roles", {}).items():
        yield ("permissions", "roles", role), permissions


def event_lists(path: Path, action: Json) -> Iterator[tuple[Path, list[str]]]:
    emits = action.get("emits", [])
    if isinstance(emits, list):
        yield (*path, "emits"), emits
        return
    for key in ("success", "failure"):
        yield (*path, "emits", key), emits.get(key, [])


def mapped_events(document: Json) -> Iterator[Use]:
    """The events that adapters make of webhooks."""
    for path, adapter in written_adapters(document):
        for source_type, event in adapter.get("map", {}).get("events", {}).items():
            yield (*path, "map", "events", source_type), event


def repeated_names(document: Json) -> Iterator[Finding]:
    """Is every name given once?"""
    for path, names in _name_lists(document):
        yield from _repeated(((*path, i), name) for i, name in enumerate(names))
    for key in ("actions", "adapters"):
        entries = enumerate(document.get(key, ()))
        named = (((key, i, "name"), e["name"]) for i, e in entries if isinstance(e, dict) and "name" in e)
        yield from _repeated(named)


def _repeated(names: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    seen = set()
    for path, name in names:
        if name and name in seen:
            message = f"{shown(name)} is already in this list"
            yield Finding(path, "duplicate_name", message, "remove one of them")
        seen.add(name)


def unknown_states(document: Json) -> Iterator[Finding]:
    """Is every state that is used declared?"""
    used = list(_each(("final",), document.get("final", [])))
    for path, transition in written_transitions(document):
        for key in ("from", "to"):
            used += _each((*path, key), transition.get(key, []))
    for path, action in written_actions(document):
        used += _each((*path, "allowed_states"), action.get("allowed_states", []))
    yield from _unknown("state", document.get("states"), used)


def unknown_events(document: Json) -> Iterator[Finding]:
    """Is every event that is used declared?"""
    used: list[Use] = [((*path, "on"), transition["on"]) for path, transition in written_transitions(document)]
    for path, action in written_actions(document):
        for where, names in event_lists(path, action):
            used += _each(where, names)
    used += mapped_events(document)
    yield from _unknown("event", document.get("events"), used)


def _each(path: Path, names: str | list[str]) -> Iterator[Use]:
    """A name, or the names of a list, each with its place."""
    yield from ((path, names),) if isinstance(names, str) else (((*path, i), name) for i, name in enumerate(names))


def _unknown(noun: str, declared: list[str] | None, used: list[Use]) -> Iterator[Finding]:
    """Names that are not declared. While none is, the document is a draft and nothing is wrong."""
    unknown = [(path, name) for path, name in used if name and name not in declared] if declared else []
    for path, name in unknown:
        fix = _renamed(declared or (), used) or did_you_mean(name, declared or ()) or f"add it to `{noun}s`"
        yield Finding(path, f"unknown_{noun}", f"{shown(name)} is not a declared {noun}", fix)


def _renamed(declared: Sequence[str], used: list[Use]) -> str:
    """A declared name was changed and its uses were not: one name is unknown, one is unused, others fit."""
    names = {name for _, name in used if name}
    unknown, spare = names.difference(declared), [name for name in declared if name not in names]
    if len(unknown) != 1 or len(spare) != 1 or len(names) == 1:
        return ""
    return f"write {shown(spare[0])} if that is its name now: nothing uses it"


def ambiguous_transitions(document: Json) -> Iterator[Finding]:
    """Does every event lead from a state to one place?"""
    table: dict[tuple[str | None, str], str | None] = {}
    for path, transition in written_transitions(document):
        if "from" not in transition and "to" not in transition:
            message = "expected `from`, `to` or both: this transition says nothing"
            yield Finding(path, "empty_transition", message)
            continue
        for start in starts(transition):
            key, to = (start, transition["on"]), transition.get("to", start)
            if key in table:
                yield Finding(path, *_second(key, table[key], to))
            table.setdefault(key, to)


def _second(key: tuple[str | None, str], first: str | None, to: str | None) -> tuple[str, str, str]:
    start, event = key
    where = f"from {shown(start)}" if start else "at the beginning"
    if first == to:
        return "duplicate_name", f"{shown(event)} {where} is already a transition", "remove one of them"
    message = f"{shown(event)} {where} leads to {shown(first)} and to {shown(to)}"
    return "ambiguous_transition", message, "keep one of them"


def parameter_schemas(document: Json) -> Iterator[Finding]:
    """Do the parameter schemas mean what they say, under names a call can use?"""
    for path, action in written_actions(document):
        for name, schema in action.get("parameters", {}).items():
            yield from schema_problems(schema, (*path, "parameters", name))
        for key in ("required_parameters", "parameters"):
            for index, name in enumerate(action.get(key, ())):
                if name in _RESERVED or name.startswith("kiff_"):
                    step = index if key == "required_parameters" else name
                    message = f"{shown(name)} cannot be a parameter: calls that claim authority are refused"
                    yield Finding((*path, key, step), "reserved_parameter", message, "give it another name")


_RESERVED = ("roles", "approved", "state")


def long_durations(document: Json) -> Iterator[Finding]:
    """Does every deadline come?"""
    for path, action in written_actions(document):
        policy = action.get("approval_policy", {})
        given = [((*path, "timeout"), action.get("timeout"))]
        given += [((*path, "approval_policy", key), policy.get(key)) for key in ("expires", "use_within")]
        for where, duration in given:
            if duration is not None and seconds(duration) > MAX_SECONDS:
                yield Finding(where, "too_long", f"expected at most 366d, found {shown(duration)}")


def long_reviewer_permissions(document: Json) -> Iterator[Finding]:
    """Is what a reviewer must hold a name that a role can hold? By default it is made from a proposer's permission."""
    for path, action in written_actions(document):
        for permission in contract_of({"name": ""} | action).reviewer_permissions:
            if len(permission) > MAX_NAME:
                message = f"reviewers would need {shown(permission)}, which is longer than a permission may be"
                fix = "shorten the permission, or set `approval_policy.permissions`"
                yield Finding((*path, "required_permissions"), "too_long", message, fix)


def unfit_adapters(document: Json) -> Iterator[Finding]:
    """Can every adapter that speaks of webhooks take them?"""
    for path, adapter in written_adapters(document):
        yield from adapter_problems(adapter, path)


def missing_parts(document: Json) -> Iterator[Finding]:
    """Is there everything a governed entity needs?"""
    for key, example in _PARTS.items():
        if not document.get(key):
            message = f"there is no `{key}` yet"
            yield Finding((key,), f"no_{key}", message, f"add it, such as `{key}: {example}`", "activation")


_PARTS = {
    "domain": "refund-ops",
    "entity": "Order",
    "events": "[ORDER_PLACED]",
    "states": "[CREATED]",
    "transitions": "[{on: ORDER_PLACED, to: CREATED}]",
    "actions": "[{name: REFUND_ORDER, ...}]",
}
_STATED = {
    "allowed_states": "list the states it may run in",
    "required_permissions": "list what its callers must hold, such as `[orders.refund]`",
    "risk": "write `risk: low`, `medium` or `high`",
    "approval": "write `approval: never` or `required`",
}


def no_beginning(document: Json) -> Iterator[Finding]:
    """Can an entity get its first state?"""
    if document.get("transitions") and all("from" in t for _, t in written_transitions(document)):
        message = "no transition starts an entity: each has a `from`"
        fix = "leave `from` out of one"
        yield Finding(("transitions",), "no_initial_transition", message, fix, "activation")


def unfinished_actions(document: Json) -> Iterator[Finding]:
    """Does every action say where it may run, who may ask, how risky it is and whether a person is asked?"""
    for path, action in written_actions(document):
        for key, fix in _STATED.items():
            if not action.get(key):
                message = f"{shown(action.get('name', ''))} does not state `{key}`"
                yield Finding((*path, key), f"no_{key}", message, fix, "activation")
        if action.get("approval") == "conditional":
            message = "`conditional` needs rules, which are not supported yet"
            fix = "write `required` until then"
            yield Finding((*path, "approval"), "not_supported_yet", message, fix, "activation")


def unheld_permissions(document: Json) -> Iterator[Finding]:
    """Is there a role for everything that is asked of callers and reviewers?"""
    roles = document.get("permissions", {}).get("roles", {})
    held = {permission for permissions in roles.values() for permission in permissions}
    for path, action in written_actions(document):
        for index, permission in enumerate(action.get("required_permissions", ())):
            if permission not in held:
                message = f"no role holds {shown(permission)}, so nobody can propose this"
                where = (*path, "required_permissions", index)
                fix = did_you_mean(permission, held) or "add it to a role"
                yield Finding(where, "nobody_can_propose", message, fix, "activation")
        yield from _unreviewable(path, action, held)


def _unreviewable(path: Path, action: Json, held: set[str]) -> Iterator[Finding]:
    if action.get("approval") not in ("required", "conditional"):
        return
    contract = contract_of({"name": ""} | action)
    for permission in contract.reviewer_permissions:
        if permission not in held:
            message = f"no role holds {shown(permission)}, so nobody can approve this"
            fix = did_you_mean(permission, held) or "add it to a role, or set `approval_policy.permissions`"
            yield Finding((*path, "approval"), "nobody_can_approve", message, fix, "activation")


ERRORS: tuple[Question, ...] = (
    repeated_names,
    unknown_states,
    unknown_events,
    ambiguous_transitions,
    parameter_schemas,
    long_durations,
    long_reviewer_permissions,
    unfit_adapters,
)
ACTIVATION: tuple[Question, ...] = (missing_parts, no_beginning, unfinished_actions, unheld_permissions)


def structure(document: Json) -> list[Finding]:
    """Everything about a document of the right shape that does not fit, errors first."""
    return [finding for question in ERRORS + ACTIVATION for finding in question(document)]
