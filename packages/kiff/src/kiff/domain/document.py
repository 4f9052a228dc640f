"""The two writings of a domain, and the normal form both become.

A normal form is itself a valid kiff.yaml document in which everything is written out: defaults, permissions
of reviewers, seconds. What is not stated about risk and approval stays unstated, so a draft stays a draft.
INVARIANT: a key that this file starts to know later is left out at its default, or old digests would move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kiff.domain.adapter import Adapter, WebhookMap
from kiff.protocol.action import ActionContract, Approval, ApprovalPolicy, Emits, Risk

Json = dict[str, Any]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TOLERANCE = "5m"


class Transition(msgspec.Struct, frozen=True):
    """What an event does to the state.

    Args:
        on: the event.
        from_: the state or states it starts from; None for an entity that nothing has happened to.
        to: the state it leads to; None leaves the state as it is.
    """

    on: str
    from_: str | Sequence[str] | None = None
    to: str | None = None


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
        lock=action.get("lock", "entity"),
        emits=Emits(declared=False) if emits is None else _emits_of(emits),
        timeout_seconds=seconds(action.get("timeout", "30s")),
    )


def _policy_of(policy: Json) -> ApprovalPolicy:
    return ApprovalPolicy(
        permissions=tuple(policy.get("permissions", ())),
        expires_seconds=seconds(policy.get("expires", "24h")),
        use_within_seconds=seconds(policy.get("use_within", "15m")),
        on_grant=policy.get("on_grant", "wait"),
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
        },
        "lock": contract.lock,
        "timeout": f"{contract.timeout_seconds}s",
    }
    if contract.executor_name:
        action["executor"] = contract.executor_name
    if contract.description:
        action["description"] = contract.description
    if contract.parameters is not None:
        action["parameters"] = contract.parameters
    if contract.emits.declared:
        action["emits"] = {"success": list(contract.emits.success), "failure": list(contract.emits.failure)}
    return action


def written_transition(transition: Transition) -> Json:
    """The transition of a document that means this one."""
    given = transition.from_
    start = given if given is None or isinstance(given, str) else list(given)
    return {k: v for k, v in (("on", transition.on), ("from", start), ("to", transition.to)) if v is not None}


def normal_form(document: Json) -> Json:
    """The one writing of what a document without errors says. Lists keep their order: people read them."""
    normal: Json = {
        "spec": "kiff/v1",
        **{key: list(document.get(key, ())) for key in ("events", "states", "final")},
        "adapters": [_normal_adapter(adapter) for adapter in document.get("adapters", ())],
        "transitions": _normal_transitions(document.get("transitions", ())),
        "actions": [_normal_action(action) for action in document.get("actions", ())],
        "permissions": {"roles": _normal_roles(document.get("permissions", {}).get("roles", {}))},
    }
    kept = ("domain", "version", "description", "entity", "audit")
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
    rows = [(start, t["on"], t.get("to", start)) for t in transitions for start in starts(t)]
    rows.sort(key=lambda row: (row[0] or "", row[1]))
    return [{"on": event, "to": to} | ({"from": start} if start else {}) for start, event, to in rows]


def _normal_roles(roles: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {role: sorted(set(permissions)) for role, permissions in roles.items()}
