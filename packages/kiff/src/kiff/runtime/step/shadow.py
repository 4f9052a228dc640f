"""A whole version of a domain asked beside the one that governs: its answer is recorded, and decides nothing."""

from __future__ import annotations

from typing import Any

from msgspec import json, structs

from kiff.errors import Conflict, Forbidden, IdempotencyConflict, InvalidDomain, KiffError, NotFound
from kiff.protocol.authority import AUTHOR
from kiff.runtime.answers import Shadowed
from kiff.runtime.commands import Shadow
from kiff.runtime.rows import ActiveDomain, CommandRow, DomainVersion
from kiff.runtime.world import Change


def shadow(change: Change, command: Shadow) -> None:
    """Publishes the version without making it govern, and asks it from now on; or asks none any more."""
    if AUTHOR not in command.caller.roles:
        message = f"`{command.caller.principal.id}` may not publish a domain: that needs the role `{AUTHOR}`"
        change.answer = Forbidden(message, reason="permission_denied")
        return
    done = change.get(CommandRow, command.id) if command.key is not None else None
    if done is not None:
        change.answer = _again(done, command)
        return
    active = change.get(ActiveDomain, command.entity_type)
    if active is None or active.domain != command.slug:
        message = f"no version of `{command.slug}` governs; activate one, then another can be asked beside it"
        change.answer = NotFound(message, slug=command.slug)
        return
    refusal = _refusal(change, command, active)
    if refusal is not None:
        change.answer = refusal
        return
    _point(change, command, active)


def _again(done: CommandRow, command: Shadow) -> Shadowed | KiffError:
    """What the same request was answered before."""
    if done.digest != command.asked:
        return IdempotencyConflict("this idempotency key was used before for another request")
    return json.decode(done.answer, type=Shadowed)


def _refusal(change: Change, command: Shadow, active: ActiveDomain) -> KiffError | None:
    """What keeps this version from being asked."""
    domain = command.domain
    if domain is None:
        return None
    if domain.activation_issues:
        message = f"`{domain.name}` cannot be asked yet: {domain.activation_issues[0].message}"
        return InvalidDomain(message, issues=domain.activation_issues)
    if domain.version == active.version:
        return Conflict(f"`{domain.version}` governs already; a shadow is another version", version=domain.version)
    published = change.get(DomainVersion, domain.version)
    if published is not None and published.digest != domain.digest:
        message = f"`{domain.version}` was published with other content; give this one a new version"
        return Conflict(message, version=domain.version, digest=published.digest)
    return None


def _point(change: Change, command: Shadow, active: ActiveDomain) -> None:
    domain, tenant = command.domain, change.tenant
    version, digest = (None, None) if domain is None else (domain.version, domain.digest)
    changed = active.shadow_version != version
    answer = Shadowed(active.domain, version, digest, active.version, changed)
    change.answer = answer
    if command.key is not None:
        change.put(CommandRow(tenant, command.id, command.asked, "final", json.encode(answer)))
    if not changed and command.key is None:
        return
    if domain is not None and change.get(DomainVersion, domain.version) is None:
        change.put(DomainVersion(tenant, domain.version, domain.name, domain.digest, domain.content))
    change.put(structs.replace(active, shadow_version=version, shadow_digest=digest))
    data: dict[str, Any] = {
        "beside": active.version,
        "digest": digest,
        "domain": active.domain,
        "entity_type": active.entity_type,
        "replaces": active.shadow_version,
        "version": version,
    }
    if command.key is not None:
        data |= {"asked": command.asked, "command_id": command.id}
    change.record(
        "domain_shadowed",
        command.caller.principal,
        entity=None,
        trace=f"trace_{command.suffix}",
        cause=f"dom_{command.suffix}",
        version=version,
        data=data,
    )
