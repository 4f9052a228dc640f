"""Whether roles hold what is asked of callers and reviewers, and nothing that must be kept apart."""

from __future__ import annotations

from collections.abc import Iterator

from kiff.domain.document import Json, contract_of
from kiff.domain.entries import Use, each_name, written_actions, written_grants, written_parts
from kiff.domain.issue import Finding, Path, did_you_mean, listed, shown
from kiff.domain.rule_problems import asking
from kiff.protocol.action import ActionContract

INGEST = "events.ingest"
KNOWN = frozenset((INGEST, "records.read"))
"""Permissions that KIFF itself asks for."""


def unknown_roles(document: Json) -> Iterator[Finding]:
    """Is every role that is named declared? While none is, the document is a draft and nothing is wrong."""
    declared = document.get("permissions", {}).get("roles", {})
    used: list[Use] = [((*path, "role"), grant.get("role", "")) for path, grant in written_grants(document)]
    for path, action in written_actions(document):
        for where, rule in written_parts(path, action, "rules"):
            used += each_name((*where, "roles"), rule.get("roles", []))
    for path, name in used if declared else ():
        if name and name not in declared:
            fix = did_you_mean(name, declared) or "add it to `permissions.roles`"
            yield Finding(path, "unknown_role", f"{shown(name)} is not a declared role", fix)


def unfit_separations(document: Json) -> Iterator[Finding]:
    """Are permissions that must be kept apart kept apart?"""
    permissions = document.get("permissions", {})
    known = _known(document)
    for index, names in enumerate(permissions.get("separate", ())):
        path, apart = ("permissions", "separate", index), {name for name in names if name}
        for where, name in each_name(path, names) if known else ():
            if name and name not in known | KNOWN:
                message = f"no role holds {shown(name)} and no action asks for it"
                fix = did_you_mean(name, known | KNOWN) or "remove it"
                yield Finding(where, "unknown_permission", message, fix)
        if len(apart) < 2:
            message = f"expected two permissions or more that are kept apart, found {len(apart)}"
            yield Finding(path, "too_few", message, "name another one, or remove the group")
        else:
            yield from _violations(document, path, apart)


def _known(document: Json) -> set[str]:
    roles = document.get("permissions", {}).get("roles", {})
    asked = (contract_of({"name": ""} | action) for _, action in written_actions(document))
    return {name for contract in asked for name in contract.required_permissions + contract.reviewer_permissions}.union(
        *roles.values(), *(grant.get("permissions", ()) for _, grant in written_grants(document))
    )


def _violations(document: Json, path: Path, apart: set[str]) -> Iterator[Finding]:
    """Roles that hold all of a group; no caller could use them."""
    permissions = document.get("permissions", {})
    for role, held in permissions.get("roles", {}).items():
        own = [grant.get("permissions", ()) for _, grant in written_grants(document) if grant.get("role") == role]
        if apart <= set(held).union(*own):
            when = "" if apart <= set(held) else ", under a condition"
            message = f"{shown(role)} holds {listed(sorted(apart))}{when}, and this keeps them apart"
            fix = f"take one of them from {shown(role)}, or remove the group"
            yield Finding(path, "separate_violated", message, fix)


def unheld_permissions(document: Json) -> Iterator[Finding]:
    """Is there a role for everything that is asked of callers and reviewers?"""
    roles: dict[str, list[str]] = document.get("permissions", {}).get("roles", {})
    held = {permission for permissions in roles.values() for permission in permissions}
    granted = held.union(*(grant.get("permissions", ()) for _, grant in written_grants(document)))
    for path, action in written_actions(document):
        for index, permission in enumerate(action.get("required_permissions", ())):
            if permission not in granted:
                message = f"no role holds {shown(permission)}, so nobody can propose this"
                where = (*path, "required_permissions", index)
                fix = did_you_mean(permission, granted) or "add it to a role"
                yield Finding(where, "nobody_can_propose", message, fix, "activation")
        contract = contract_of({"name": ""} | action)
        unheld = list(_unreviewable(path, action, contract, held))
        yield from unheld or _unanswerable(path, action, contract, roles)


def impossible_callers(document: Json) -> Iterator[Finding]:
    """May one caller, and one reviewer, hold everything that is asked of them?"""
    groups = [set(names) for names in document.get("permissions", {}).get("separate", ()) if len(set(names)) > 1]
    for path, action in written_actions(document) if groups else ():
        contract = contract_of({"name": ""} | action)
        reviewed = action.get("approval") in ("required", "conditional")
        for apart in groups:
            message = f"this needs {listed(sorted(apart))}, which are kept apart, so nobody can"
            fix = "ask for one of them, or remove the group from `separate`"
            if apart <= set(contract.required_permissions):
                where = (*path, "required_permissions")
                yield Finding(where, "nobody_can_propose", f"{message} propose it", fix, "activation")
            if reviewed and apart <= set(contract.reviewer_permissions):
                yield Finding((*path, "approval"), "nobody_can_approve", f"{message} approve it", fix, "activation")


def _unreviewable(path: Path, action: Json, contract: ActionContract, held: set[str]) -> Iterator[Finding]:
    if action.get("approval") not in ("required", "conditional"):
        return
    for permission in contract.reviewer_permissions:
        if permission not in held:
            message = f"no role holds {shown(permission)}, so nobody can approve this"
            fix = did_you_mean(permission, held) or "add it to a role, or set `approval_policy.permissions`"
            yield Finding((*path, "approval"), "nobody_can_approve", message, fix, "activation")


def _unanswerable(path: Path, action: Json, contract: ActionContract, roles: dict[str, list[str]]) -> Iterator[Finding]:
    """Rules that demand a yes of roles, none of which may say it."""
    for where, rule in asking(path, action):
        wanted = rule.get("roles", ())
        known = wanted and set(wanted) <= roles.keys()
        if known and not any(set(contract.reviewer_permissions) <= set(roles[role]) for role in wanted):
            needed = listed(contract.reviewer_permissions)
            lacks = "it does not hold" if len(wanted) == 1 else "none of them holds"
            message = f"only {listed(wanted)} may say yes for this rule, and {lacks} {needed}"
            fix = f"add {needed} to {shown(wanted[0])}, or name a role that may approve"
            yield Finding((*where, "roles"), "nobody_can_approve", message, fix, "activation")
