"""Whether the parts of a document fit together: the questions a schema cannot ask.

One question = one function. Each takes a document of the right shape (what `shape` objected to was taken out,
and an empty text stands where a list lost an item) and gives what it objects to. `ERRORS` keep a document
from loading; `ACTIVATION` keeps it a draft.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kiff.domain.action_problems import unfinished_actions, unknown_actions
from kiff.domain.adapter_problems import adapter_problems
from kiff.domain.attribute_problems import attribute_schemas, parameter_words, payload_schemas, unknown_attributes
from kiff.domain.conditions import unsound_conditions
from kiff.domain.document import Json, contract_of, seconds
from kiff.domain.entries import (
    Question,
    event_lists,
    written_actions,
    written_adapters,
    written_parts,
    written_timeouts,
    written_transitions,
)
from kiff.domain.issue import Finding, Path, shown
from kiff.domain.limit_problems import conflicting_limits, unfit_limits
from kiff.domain.machine_problems import (
    ambiguous_transitions,
    unfit_groups,
    unfit_timeouts,
    unknown_events,
    unknown_states,
)
from kiff.domain.reading import unset_readings
from kiff.domain.role_problems import impossible_callers, unfit_separations, unheld_permissions, unknown_roles
from kiff.domain.rule_problems import asking_never, asking_nobody, idle_words, later_evidence, unfit_ids
from kiff.domain.schedule import schedule_problems
from kiff.domain.schema_problems import schema_problems

MAX_SECONDS = 366 * 86_400
MAX_NAME = 64


def _name_lists(document: Json) -> Iterator[tuple[Path, list[str]]]:
    for key in ("events", "states", "final"):
        yield (key,), document.get(key, [])
    for group, states in document.get("groups", {}).items():
        yield ("groups", group), states
    for path, transition in written_transitions(document):
        if isinstance(transition.get("from"), list):
            yield (*path, "from"), transition["from"]
    for path, action in written_actions(document):
        for key in ("allowed_states", "required_parameters", "required_permissions"):
            yield (*path, key), action.get(key, [])
        yield from event_lists(path, action)
        policy = action.get("approval_policy", {})
        yield (*path, "approval_policy", "permissions"), policy.get("permissions", [])
        yield (*path, "approval_policy", "binds"), policy.get("binds", [])
        for where, rule in written_parts(path, action, "rules"):
            yield (*where, "roles"), rule.get("roles", [])
    yield from _lists_of_permissions(document.get("permissions", {}))
    for name, schedule in document.get("schedules", {}).items():
        for key in ("days", "except"):
            yield ("schedules", name, key), schedule.get(key, [])


def _lists_of_permissions(permissions: Json) -> Iterator[tuple[Path, list[str]]]:
    for role, held in permissions.get("roles", {}).items():
        yield ("permissions", "roles", role), held
    for path, grant in written_parts(("permissions",), permissions, "grants"):
        yield (*path, "permissions"), grant.get("permissions", [])
    for index, apart in enumerate(permissions.get("separate", ())):
        yield ("permissions", "separate", index), apart


def repeated_names(document: Json) -> Iterator[Finding]:
    """Is every name given once?"""
    for path, names in _name_lists(document):
        yield from repeated(((*path, i), name) for i, name in enumerate(names))
    for key in ("actions", "adapters"):
        entries = enumerate(document.get(key, ()))
        named = (((key, i, "name"), e["name"]) for i, e in entries if isinstance(e, dict) and "name" in e)
        yield from repeated(named)


def repeated(names: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    """Names that stand in one list twice."""
    seen = set()
    for path, name in names:
        if name and name in seen:
            message = f"{shown(name)} is already in this list"
            yield Finding(path, "duplicate_name", message, "remove one of them")
        seen.add(name)


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
    timed = [((*path, "after"), timeout.get("after")) for path, timeout in written_timeouts(document)]
    yield from _too_long(timed)
    for path, action in written_actions(document):
        policy = action.get("approval_policy", {})
        given = [((*path, "timeout"), action.get("timeout"))]
        given += [((*path, "approval_policy", key), policy.get(key)) for key in ("expires", "use_within")]
        if isinstance(action.get("lock"), dict):
            given.append(((*path, "lock", "ttl"), action["lock"].get("ttl")))
        yield from _too_long(given)


def _too_long(given: Iterable[tuple[Path, str | None]]) -> Iterator[Finding]:
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


def unfit_schedules(document: Json) -> Iterator[Finding]:
    """Can every time window be told from the clock?"""
    for name, schedule in document.get("schedules", {}).items():
        yield from schedule_problems(schedule, ("schedules", name))


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


def no_beginning(document: Json) -> Iterator[Finding]:
    """Can an entity get its first state?"""
    if document.get("transitions") and all("from" in t for _, t in written_transitions(document)):
        message = "no transition starts an entity: each has a `from`"
        fix = "leave `from` out of one"
        yield Finding(("transitions",), "no_initial_transition", message, fix, "activation")


ERRORS: tuple[Question, ...] = (
    repeated_names,
    unknown_states,
    unknown_events,
    unfit_groups,
    ambiguous_transitions,
    unfit_timeouts,
    attribute_schemas,
    payload_schemas,
    unknown_attributes,
    parameter_schemas,
    parameter_words,
    long_durations,
    long_reviewer_permissions,
    unfit_adapters,
    unfit_schedules,
    unknown_actions,
    unknown_roles,
    unfit_separations,
    unfit_ids,
    idle_words,
    asking_never,
    unfit_limits,
    conflicting_limits,
    unsound_conditions,
)
ACTIVATION: tuple[Question, ...] = (
    missing_parts,
    no_beginning,
    unfinished_actions,
    asking_nobody,
    later_evidence,
    unheld_permissions,
    impossible_callers,
    unset_readings,
)


def structure(document: Json) -> list[Finding]:
    """Everything about a document of the right shape that does not fit, errors first."""
    return [finding for question in ERRORS + ACTIVATION for finding in question(document)]
