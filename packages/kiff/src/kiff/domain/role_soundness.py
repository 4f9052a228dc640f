"""Whether roles divide duties as they are meant to; questions as in `soundness`."""

from __future__ import annotations

from collections.abc import Iterator

from kiff.domain.document import contract_of
from kiff.domain.entries import mapped_events
from kiff.domain.issue import Finding, did_you_mean, listed, shown, warning
from kiff.domain.parts import Parts
from kiff.domain.role_problems import INGEST, KNOWN
from kiff.domain.rule_problems import asking
from kiff.protocol.action import ActionContract


def shared_duties(parts: Parts) -> Iterator[Finding]:
    """Are proposing and approving left to different roles?"""
    reviewed = [contract for contract in _reviewed(parts) if contract.required_permissions]
    for role, held in parts.roles.items():
        able = held.union(*(g["permissions"] for _, g in parts.grants() if g["role"] == role))
        both = [
            c for c in reviewed if able.issuperset(c.required_permissions) and held.issuperset(c.reviewer_permissions)
        ]
        if both:
            names = listed(each.name for each in both)
            message = f"{shown(role)} may propose and approve {names}: two who hold it can approve for each other"
            yield warning(("permissions", "roles", role), "shared_duties", message, _apart(parts, both[0]))


def _reviewed(parts: Parts) -> Iterator[ActionContract]:
    """The contracts that say that a person is asked."""
    for _, action in parts.actions("required_permissions", "approval", "approval_policy"):
        if action.get("approval") in ("required", "conditional"):
            yield contract_of(action)


def _either(contract: ActionContract) -> tuple[str, ...]:
    return contract.required_permissions + contract.reviewer_permissions


def _apart(parts: Parts, contract: ActionContract) -> str:
    """How to keep the two apart: by a role that only approves."""
    proposing, approving = contract.required_permissions, contract.reviewer_permissions
    able = [role for role, held in parts.roles.items() if held.issuperset(approving) and not held.issuperset(proposing)]
    owner = f"leave that to {listed(able)}" if able else "give that to a role of its own"
    return f"take {listed(approving)} from it and {owner}, if duties must be apart"


def unused_permissions(parts: Parts) -> Iterator[Finding]:
    """Is every permission asked for by something?"""
    keys = ("name", "required_permissions", "approval_policy")
    if not parts.are_sound(*(("actions", None, key) for key in keys)) or not parts.document.get("actions"):
        return
    asked = {permission for _, action in parts.actions() for permission in _either(contract_of(action))} | KNOWN
    held_by_none = asked.difference(*parts.roles.values())
    for role, held in parts.document["permissions"]["roles"].items() if parts.roles else ():
        for index, permission in enumerate(held):
            if permission not in asked:
                message = f"{shown(role)} holds {shown(permission)}, which no action asks for"
                fix = did_you_mean(permission, held_by_none) or "remove it, or name it in `required_permissions`"
                yield warning(("permissions", "roles", role, index), "unused_permission", message, fix)


def unused_grants(parts: Parts) -> Iterator[Finding]:
    """Does every grant let somebody propose something?"""
    if not parts.are_sound(("actions", None, "required_permissions")) or not parts.document.get("actions"):
        return
    contracts = [contract_of(action) for _, action in parts.actions("approval_policy")]
    asked = {permission for contract in contracts for permission in contract.required_permissions}
    reviewing = {permission for contract in contracts for permission in contract.reviewer_permissions}
    for path, grant in parts.grants() if parts.roles else ():
        for index, permission in enumerate(grant["permissions"]):
            if permission not in asked:
                message = f"a grant counts for what callers must hold, and no action asks them for {shown(permission)}"
                meant = "" if permission in reviewing else did_you_mean(permission, asked)
                yield warning((*path, "permissions", index), "unused_grant", message, meant or "put it into a role")
        if set(grant["permissions"]) <= parts.roles.get(grant["role"], frozenset()):
            message = "it grants nothing"
            if grant["permissions"]:
                message = f"{shown(grant['role'])} holds {listed(grant['permissions'])} without a condition already"
            yield warning((*path, "permissions"), "idle_grant", message, "take it out of the role, or remove the grant")


def idle_roles(parts: Parts) -> Iterator[Finding]:
    """May every role whose yes a rule counts give one?"""
    for path, action in parts.actions("required_permissions", "approval_policy"):
        needed = set(contract_of(action).reviewer_permissions)
        for where, rule in asking(path, action) if parts.roles else ():
            wanted = rule.get("roles", ()) if parts.are_sound((*where, "roles")) else ()
            idle = [role for role in wanted if not needed <= parts.roles[role]]
            for role in idle if len(idle) < len(wanted) else ():
                message = f"{shown(role)} does not hold {listed(sorted(needed))}, so its yes never counts"
                place = (*where, "roles", wanted.index(role))
                yield warning(place, "idle_role", message, "give it the permission, or take it out")


def idle_quorums(parts: Parts) -> Iterator[Finding]:
    """Does a rule ask more people than its contract does anyway?"""
    for path, action in parts.actions("approval_policy"):
        quorum = contract_of(action).approval_policy.quorum
        for where, rule in asking(path, action):
            if parts.are_sound((*where, "quorum")) and rule.get("quorum", quorum) < quorum:
                message = f"{shown(action['name'])} asks {quorum} people whatever rule asks, so fewer say nothing"
                yield warning((*where, "quorum"), "idle_quorum", message, "remove it, or lower that of the contract")


def silent_beginnings(parts: Parts) -> Iterator[Finding]:
    """May somebody say that an entity's first event happened?"""
    told = {event for _, event in mapped_events(parts.document)} & {on for start, on in parts.transitions if not start}
    if parts.reached and parts.roles and not told and not any(INGEST in held for held in parts.roles.values()):
        message = f"no role holds `{INGEST}`, so nobody can report the event that an entity begins with"
        fix = f"add a role for what reports events, such as `event_source: [{INGEST}]`"
        yield warning(("permissions", "roles"), "nobody_can_ingest", message, fix)
