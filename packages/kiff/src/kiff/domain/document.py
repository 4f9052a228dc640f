"""The two writings of a domain, and the normal form both become.

A normal form is itself a valid kiff.yaml document in which everything is written out: defaults, permissions
of reviewers, seconds. What is not stated about risk and approval stays unstated, so a draft stays a draft.
INVARIANT: a key that this file starts to know later is left out at its default, or old digests would move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from kiff.domain.adapter import Adapter, WebhookMap
from kiff.protocol.action import ActionContract, Approval, ApprovalPolicy, Emits, Lock, Risk, Rule
from kiff.protocol.limit import Limit

Json = dict[str, Any]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TOLERANCE = "5m"


class Transition(msgspec.Struct, frozen=True):
    """What an event does to the state.

    Args:
        on: the event.
        from_: the state or states it starts from; None for an entity that nothing has happened to.
        to: the state it leads to; None leaves the state as it is.
        when: an expression over `entity` and `event` that must be true; empty asks nothing.
        set: attribute -> an expression for its new value.
    """

    on: str
    from_: str | Sequence[str] | None = None
    to: str | None = None
    when: str = ""
    set: Mapping[str, str] = {}


def seconds(duration: str) -> int:
    """`15m` as 900."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def starts(transition: Json) -> list[str | None]:
    """The states a written transition starts from; None stands for the beginning."""
    given = transition.get("from")
    return list(given) if isinstance(given, list) else [given]


def contract_of(action: Json) -> ActionContract:
    """The contract a written action means; `parameters` are shared, not copied."""
    emits = action.get("emits")
    return ActionContract(
        name=action["name"],
        allowed_states=tuple(action.get("allowed_states", ())),
        required_parameters=tuple(action.get("required_parameters", ())),
        required_permissions=tuple(action.get("required_permissions", ())),
        risk=Risk(action.get("risk", Risk.HIGH)),
        approval_requirement=Approval(action.get("approval", Approval.REQUIRED)),
        executor=action.get("executor", ""),
        description=action.get("description", ""),
        parameters=action.get("parameters"),
        approval_policy=_policy_of(action.get("approval_policy", {})),
        lock=_lock_of(action.get("lock", "entity")),
        emits=Emits(declared=False) if emits is None else _emits_of(emits),
        timeout_seconds=seconds(action.get("timeout", "30s")),
        when=action.get("when", ""),
        otherwise=action.get("otherwise", ""),
        rules=rules_of(action.get("rules", ())),
        limits=limits_of(action.get("limits", ())),
        compensate=action.get("compensate", ""),
    )


def rules_of(rules: Sequence[Json]) -> tuple[Rule, ...]:
    """The rules that written ones mean; what lacks a part says nothing yet."""
    return tuple(Rule(**rule) for rule in rules if _has(rule, "id", "when", "then"))


def limits_of(limits: Sequence[Json]) -> tuple[Limit, ...]:
    """The limits that written ones mean; what lacks a part says nothing yet."""
    return tuple(Limit(**limit) for limit in limits if _has(limit, "id", "kind", "max"))


def _has(written: object, *keys: str) -> bool:
    return isinstance(written, dict) and all(key in written for key in keys)


def _lock_of(lock: Any) -> Any:
    if isinstance(lock, dict):
        return Lock(key=lock.get("key", ""), ttl_seconds=seconds(lock.get("ttl", "60s")))
    return lock


def _policy_of(policy: Json) -> ApprovalPolicy:
    return ApprovalPolicy(
        permissions=tuple(policy.get("permissions", ())),
        expires_seconds=seconds(policy.get("expires", "24h")),
        use_within_seconds=seconds(policy.get("use_within", "15m")),
        on_grant=policy.get("on_grant", "wait"),
        quorum=policy.get("quorum", 1),
        human_only=policy.get("human_only", True),
        binds=tuple(policy.get("binds", ("parameters",))),
        evidence=policy.get("evidence", "key"),
    )


def _emits_of(emits: list[str] | Json) -> Emits:
    if isinstance(emits, list):
        return Emits(success=tuple(emits))
    return Emits(success=tuple(emits.get("success", ())), failure=tuple(emits.get("failure", ())))


def adapter_of(adapter: Json) -> Adapter:
    """The adapter a written one means."""
    said = adapter.get("map")
    return Adapter(
        name=adapter["name"],
        source=adapter["source"],
        kind=adapter["kind"],
        signature=adapter.get("signature"),
        tolerance_seconds=seconds(adapter.get("tolerance", _TOLERANCE)),
        map=None if said is None else WebhookMap(**said),
    )


def written(contract: ActionContract) -> Json:
    """The action of a document that means this contract, with nothing left to defaults."""
    policy = contract.approval_policy
    action: Json = {
        "name": contract.name,
        "allowed_states": list(contract.allowed_states),
        "required_parameters": list(contract.required_parameters),
        "required_permissions": list(contract.required_permissions),
        "risk": contract.risk.value,
        "approval": contract.approval_requirement.value,
        "approval_policy": {
            "permissions": list(contract.reviewer_permissions),
            "expires": f"{policy.expires_seconds}s",
            "use_within": f"{policy.use_within_seconds}s",
            "on_grant": policy.on_grant,
            **_unless_default(policy, "quorum", "human_only", "evidence"),
        },
        "lock": _written_lock(contract.lock),
        "timeout": f"{contract.timeout_seconds}s",
        **_unless_default(contract, "when", "otherwise", "compensate"),
    }
    if "entity.version" in policy.binds:
        action["approval_policy"]["binds"] = ["entity.version", "parameters"]
    if contract.rules:
        action["rules"] = [written_rule(rule) for rule in contract.rules]
    if contract.limits:
        action["limits"] = [written_limit(limit) for limit in contract.limits]
    if contract.executor_name:
        action["executor"] = contract.executor_name
    if contract.description:
        action["description"] = contract.description
    if contract.parameters is not None:
        action["parameters"] = contract.parameters
    if contract.emits.declared:
        action["emits"] = {"success": list(contract.emits.success), "failure": list(contract.emits.failure)}
    return action


def written_rule(rule: Rule) -> Json:
    """The rule of a document that means this one."""
    roles = {"roles": list(rule.roles)} if rule.roles else {}
    named = {"id": rule.id, "when": rule.when, "then": rule.then}
    return named | _unless_default(rule, "quorum", "message", "mode") | roles


def written_limit(limit: Limit) -> Json:
    """The limit of a document that means this one."""
    said = ("per", "burst", "timezone", "amount", "key", "over")
    return {"id": limit.id, "kind": limit.kind, "max": limit.max} | _unless_default(limit, *said)


def _written_lock(lock: Any) -> Any:
    return {"key": lock.key, "ttl": f"{lock.ttl_seconds}s"} if isinstance(lock, Lock) else lock


def _unless_default(struct: msgspec.Struct, *fields: str) -> Json:
    defaults = _defaults(type(struct))
    return {name: value for name in fields if (value := getattr(struct, name)) != defaults[name]}


@cache
def _defaults(kind: type[msgspec.Struct]) -> Json:
    """Kept, because msgspec reads the annotations of a class anew each time: a fifth of loading a domain."""
    return {field.name: field.default for field in msgspec.structs.fields(kind)}


def written_transition(transition: Transition) -> Json:
    """The transition of a document that means this one."""
    given = transition.from_
    start = given if given is None or isinstance(given, str) else list(given)
    said = (("on", transition.on), ("from", start), ("to", transition.to))
    more = (("when", transition.when), ("set", dict(transition.set)))
    return {k: v for k, v in said if v is not None} | {k: v for k, v in more if v}


def expanded(document: Json) -> Json:
    """The document with every group of states written out; it says the same and names no group.

    Transitions and actions keep their places.
    """
    groups = document.get("groups")
    if not groups:
        return document

    def states(given: Any) -> Any:
        if isinstance(given, str):
            return list(groups[given]) if given in groups else given
        return list(dict.fromkeys(state for name in given for state in groups.get(name, (name,))))

    def written_out(thing: Json, key: str) -> Json:
        return thing | {key: states(thing[key])} if key in thing else thing

    whole = written_out({key: value for key, value in document.items() if key != "groups"}, "final")
    for part, key in (("transitions", "from"), ("actions", "allowed_states")):
        if part in document:
            whole[part] = [written_out(each, key) if isinstance(each, dict) else each for each in document[part]]
    if "timeouts" in document:
        whole["timeouts"] = [
            timeout | {"in": state}
            for timeout in document["timeouts"]
            if isinstance(timeout, dict) and "in" in timeout
            for state in groups.get(timeout["in"], (timeout["in"],))
        ]
    return whole


def normal_form(document: Json) -> Json:
    """The one writing of what a document without errors says. Lists keep their order: people read them."""
    document = expanded(document)
    normal: Json = {
        "spec": "kiff/v1",
        **{key: list(document.get(key, ())) for key in ("events", "states", "final")},
        "adapters": [_normal_adapter(adapter) for adapter in document.get("adapters", ())],
        "transitions": _normal_transitions(document.get("transitions", ())),
        "actions": [_normal_action(action) for action in document.get("actions", ())],
        "permissions": _normal_permissions(document.get("permissions", {})),
    }
    if document.get("timeouts"):
        normal["timeouts"] = [each | {"after": f"{seconds(each['after'])}s"} for each in document["timeouts"]]
    kept = ("domain", "version", "description", "entity", "audit", "attributes", "payloads", "schedules")
    return normal | {key: document[key] for key in kept if document.get(key)}


def _normal_action(action: Json) -> Json:
    normal = written(contract_of(action))
    for unstated in {"risk", "approval"} - action.keys():
        del normal[unstated]
    return normal


def _normal_adapter(adapter: Json) -> Json:
    normal = {key: value for key, value in adapter.items() if key != "tolerance"}
    tolerance = seconds(adapter.get("tolerance", _TOLERANCE))
    if tolerance != seconds(_TOLERANCE):
        normal["tolerance"] = f"{tolerance}s"
    if "map" in adapter:
        normal["map"] = {key: value for key, value in adapter["map"].items() if value != {}}
    return normal


def _normal_transitions(transitions: Sequence[Json]) -> list[Json]:
    """One entry per start, a staying state named, in an order of their own: the table has none."""
    rows = [(start, t["on"], t.get("to", start), t) for t in transitions for start in starts(t)]
    rows.sort(key=lambda row: (row[0] or "", *row[1:3], row[3].get("when", ""), sorted(row[3].get("set", {}).items())))
    return [
        {"on": event, "to": to} | ({"from": start} if start else {}) | {k: t[k] for k in ("when", "set") if t.get(k)}
        for start, event, to, t in rows
    ]


def _normal_permissions(permissions: Json) -> Json:
    roles = {role: sorted(set(held)) for role, held in permissions.get("roles", {}).items()}
    return {"roles": roles} | {key: permissions[key] for key in ("grants", "separate") if permissions.get(key)}
