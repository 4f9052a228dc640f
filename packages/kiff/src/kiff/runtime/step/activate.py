"""Publishing a domain version and making it the one that governs its entity type: atomic, versioned, recorded."""

from __future__ import annotations

from kiff.errors import Conflict, Forbidden, InvalidDomain
from kiff.runtime.answers import Activated
from kiff.runtime.commands import AUTHOR, Activate
from kiff.runtime.rows import ActiveDomain, DomainVersion
from kiff.runtime.world import Change


def activate(change: Change, command: Activate) -> None:
    """Moves the pointer. A version name, once published, never means other content."""
    domain = command.domain
    if AUTHOR not in command.caller.roles:
        message = f"`{command.caller.principal.id}` may not publish a domain: that needs the role `{AUTHOR}`"
        change.answer = Forbidden(message, reason="permission_denied")
        return
    if domain.activation_issues:
        message = f"`{domain.name}` cannot be activated yet: {domain.activation_issues[0].message}"
        change.answer = InvalidDomain(message, issues=domain.activation_issues)
        return
    active = change.get(ActiveDomain, domain.entity_type)
    if active is not None and active.domain != domain.name:
        message = f"`{active.domain}` governs `{domain.entity_type}` already; an entity type has one active domain"
        change.answer = Conflict(message, domain=active.domain, entity_type=domain.entity_type)
        return
    published = change.get(DomainVersion, domain.version)
    if published is not None and published.digest != domain.digest:
        message = f"`{domain.version}` was published with other content; give this one a new version"
        change.answer = Conflict(message, version=domain.version, digest=published.digest)
        return
    changed = active is None or active.version != domain.version
    if changed:
        if published is None:
            change.put(DomainVersion(change.tenant, domain.version, domain.name, domain.digest, domain.content))
        _point(change, command, replaces=None if active is None else active.version)
    change.answer = Activated(domain.name, domain.version, domain.digest, changed)


def _point(change: Change, command: Activate, *, replaces: str | None) -> None:
    domain, tenant = command.domain, change.tenant
    change.put(ActiveDomain(tenant, domain.entity_type, domain.name, domain.version, domain.digest))
    change.record(
        "domain_activated",
        command.caller.principal,
        entity=None,
        trace=f"trace_{command.suffix}",
        cause=f"dom_{command.suffix}",
        version=domain.version,
        data={
            "digest": domain.digest,
            "domain": domain.name,
            "entity_type": domain.entity_type,
            "replaces": replaces,
            "version": domain.version,
        },
    )
