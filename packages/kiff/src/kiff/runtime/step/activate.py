"""Publishing a domain version and making it the one that governs its entity type: atomic, versioned, recorded."""

from __future__ import annotations

from typing import Any

from msgspec import json

from kiff.errors import Conflict, Forbidden, IdempotencyConflict, InvalidDomain, KiffError, StateInUse
from kiff.protocol.authority import AUTHOR
from kiff.protocol.state import EntityState
from kiff.runtime.answers import Activated
from kiff.runtime.commands import Activate
from kiff.runtime.in_use import Moves
from kiff.runtime.rows import ActiveDomain, CommandRow, DomainVersion
from kiff.runtime.world import Change


def activate(change: Change, command: Activate) -> None:
    """Moves the pointer. A version name, once published, never means other content."""
    domain = command.domain
    if AUTHOR not in command.caller.roles:
        message = f"`{command.caller.principal.id}` may not publish a domain: that needs the role `{AUTHOR}`"
        change.answer = Forbidden(message, reason="permission_denied")
        return
    done = change.get(CommandRow, command.id) if command.key is not None else None
    if done is not None:
        change.answer = _again(done, command)
        return
    active = change.get(ActiveDomain, domain.entity_type)
    published = change.get(DomainVersion, domain.version)
    refusal = _refusal(change, command, active, published)
    if refusal is not None:
        change.answer = refusal
        return
    changed = active is None or active.version != domain.version
    answer = Activated(domain.name, domain.version, domain.digest, changed, command.pending or 0)
    change.answer = answer
    if published is None:
        change.put(DomainVersion(change.tenant, domain.version, domain.name, domain.digest, domain.content))
    if command.key is not None:
        change.put(CommandRow(change.tenant, command.id, command.asked, "final", json.encode(answer)))
    if changed or command.key is not None:
        _point(change, command, active)


def _again(done: CommandRow, command: Activate) -> Activated | KiffError:
    """What the same request was answered before."""
    if done.digest != command.asked:
        return IdempotencyConflict("this idempotency key was used before for another request")
    return json.decode(done.answer, type=Activated)


def _refusal(
    change: Change, command: Activate, active: ActiveDomain | None, published: DomainVersion | None
) -> KiffError | None:
    """What keeps this version from governing now."""
    domain = command.domain
    if domain.activation_issues:
        message = f"`{domain.name}` cannot be activated yet: {domain.activation_issues[0].message}"
        return InvalidDomain(message, issues=domain.activation_issues)
    if active is not None and active.domain != domain.name:
        message = f"`{active.domain}` governs `{domain.entity_type}` already; an entity type has one active domain"
        return Conflict(message, domain=active.domain, entity_type=domain.entity_type)
    if published is not None and published.digest != domain.digest:
        message = f"`{domain.version}` was published with other content; give this one a new version"
        return Conflict(message, version=domain.version, digest=published.digest)
    return None if active is None else _drops(change, command, active)


def _drops(change: Change, command: Activate, active: ActiveDomain) -> KiffError | None:
    """Entities in states that the new version does not have. Whoever came into one since somebody looked counts too."""
    domain, seen = command.domain, command.seen
    dropped = set(change.domain(active.version, active.digest).states) - set(domain.states)
    if not dropped:
        return None
    if seen is None or not dropped <= seen.states:
        return Conflict("another version became active meanwhile; ask again", version=active.version)
    moves = change.get(Moves, seen.since)
    assert moves is not None, "a log can always be read"
    if not moves.complete:
        return Conflict("too many entities moved while this was looked at; ask again", version=active.version)
    found = seen.found | moves.into | _came_into(change, domain.entity_type)
    in_use = {state: found[state] for state in sorted(dropped & found.keys())}
    if not in_use:
        return None
    said = ", ".join(f"`{entity}` in {state}" for state, entity in in_use.items())
    message = f"`{domain.version}` drops states that entities are in ({said}); keep the states, or move the entities"
    return StateInUse(message, in_use=in_use)


def _came_into(change: Change, entity_type: str) -> dict[str, str]:
    """State -> an entity that an earlier command of the same batch brought into it."""
    return {
        row.state: row.entity
        for row in change.world.changed.values()
        if isinstance(row, EntityState)
        and row.tenant == change.tenant
        and row.entity.startswith(f"{entity_type}:")
        and row.state is not None
    }


def _point(change: Change, command: Activate, active: ActiveDomain | None) -> None:
    """Another version than before is asked alone: a shadow was one of the version that is replaced."""
    domain, tenant = command.domain, change.tenant
    replaces = None if active is None else active.version
    if active is None or replaces != domain.version:
        change.put(ActiveDomain(tenant, domain.entity_type, domain.name, domain.version, domain.digest))
    data: dict[str, Any] = {
        "digest": domain.digest,
        "domain": domain.name,
        "entity_type": domain.entity_type,
        "replaces": replaces,
        "version": domain.version,
    }
    if command.pending is not None:
        data["pending_approvals"] = command.pending
    if command.key is not None:
        data |= {"asked": command.asked, "command_id": command.id}
    change.record(
        "domain_activated",
        command.caller.principal,
        entity=None,
        trace=f"trace_{command.suffix}",
        cause=f"dom_{command.suffix}",
        version=domain.version,
        data=data,
    )
