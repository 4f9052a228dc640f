"""Published versions and what is in force: each must be what the records that published and activated it say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import Struct

from kiff.analysis.fields import Fields
from kiff.analysis.findings import Findings
from kiff.analysis.history import BLOBS
from kiff.canonical import digest
from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.errors import InvalidDomain, InvalidPolicy
from kiff.runtime.ports import Store
from kiff.runtime.rows import POLICY, ActiveDomain, ActivePolicy, DomainVersion, PolicyVersion

Compare = Callable[[Struct, str, Fields], None]
"""Finds out where a row differs from what is expected of it: (row, its name, fields)."""


class Published:
    """A tenant's versions, and which of them are in force, as its records lead to them.

    Attributes:
        domains, policies: version -> digest.
        governs: entity type -> the fields of its active domain.
        policy: the fields of the active policy; None before one was activated.
    """

    def __init__(self) -> None:
        self.domains: dict[str, str] = {}
        self.policies: dict[str, str] = {}
        self.governs: dict[str, Fields] = {}
        self.policy: Fields | None = None

    def take(self, kind: str, data: dict[str, Any]) -> None:
        """The next record.

        Raises:
            UNREADABLE: the record lacks what its kind needs.
        """
        read = _READ.get(kind)
        if read is not None:
            read(self, data)

    def _activated(self, data: dict[str, Any]) -> None:
        self.domains[data["version"]] = data["digest"]
        governs = self.governs.setdefault(data["entity_type"], {"shadow_version": None, "shadow_digest": None})
        governs.update({name: data[name] for name in ("domain", "version", "digest")})
        if data["replaces"] != data["version"]:
            governs.update(shadow_version=None, shadow_digest=None)

    def _shadowed(self, data: dict[str, Any]) -> None:
        if data["version"] is not None:
            self.domains[data["version"]] = data["digest"]
        governs = self.governs.setdefault(data["entity_type"], {})
        governs.update(shadow_version=data["version"], shadow_digest=data["digest"])

    def _policy_activated(self, data: dict[str, Any]) -> None:
        self.policies[data["version"]] = data["digest"]
        self.policy = {name: data[name] for name in ("policy", "version", "digest")}

    def _policy_deactivated(self, data: dict[str, Any]) -> None:
        self.policy = {"policy": "", "version": "", "digest": ""}


_READ: dict[str, Callable[[Published, dict[str, Any]], None]] = {
    "domain_activated": Published._activated,
    "domain_shadowed": Published._shadowed,
    "policy_activated": Published._policy_activated,
    "policy_deactivated": Published._policy_deactivated,
}


class _Kind(NamedTuple):
    """A kind of version: its rows, what a problem calls them, and how their content is read."""

    row: type
    noun: str
    slug: str
    read: Callable[[bytes], Domain | Policy]


_DOMAINS = _Kind(DomainVersion, "domain version", "domain", Domain.from_content)
_POLICIES = _Kind(PolicyVersion, "policy version", "policy", Policy.from_content)


def check_published(store: Store, tenant: str, told: Published, findings: Findings, compare: Compare) -> None:
    """Published versions hold what their digest names, and what is in force is what was activated last."""
    _versions(store, tenant, _DOMAINS, told.domains, findings)
    _versions(store, tenant, _POLICIES, told.policies, findings)
    active = {row.entity_type: row for row in store.rows(ActiveDomain, tenant)}
    for entity_type in sorted(set(told.governs) | set(active), key=str):
        row, expected = active.get(entity_type), told.governs.get(entity_type)
        _in_force(row, f"active domain {entity_type}", expected, findings, compare)
    policy = store.row(ActivePolicy, tenant, POLICY)
    if policy is not None or told.policy is not None:
        _in_force(policy, "active policy", told.policy, findings, compare)


def _in_force(row: Struct | None, where: str, expected: Fields | None, findings: Findings, compare: Compare) -> None:
    if row is None or expected is None:
        findings.add(where, "", "has no row" if row is None else "no record activates one")
    else:
        compare(row, where, expected)


def _versions(store: Store, tenant: str, kind: _Kind, digests: dict[str, str], findings: Findings) -> None:
    after, found = "", set()
    while page := list[Any](store.rows(kind.row, tenant, after=after, limit=BLOBS)):
        for row in page:
            found.add(row.version)
            _version(row, kind, digests, findings)
        after = page[-1].version
    for version in sorted(set(digests) - found, key=str):
        findings.add(f"{kind.noun} {version}", "", "the log tells of it, and it has no row")


def _version(row: Any, kind: _Kind, digests: dict[str, str], findings: Findings) -> None:
    where = f"{kind.noun} {row.version}"
    if row.version not in digests:
        findings.add(where, "version", "no record activates it")
    elif row.digest != digests[row.version]:
        findings.add(where, "digest", f"the log says `{digests[row.version]}`")
    if digest(row.content) != row.digest:
        findings.add(where, "content", "is not what its digest names")
        return
    try:
        published = kind.read(row.content)
    except (InvalidDomain, InvalidPolicy) as error:
        findings.add(where, "content", error.message)
        return
    if (published.version, published.name) != (row.version, getattr(row, kind.slug)):
        field = "version" if published.version != row.version else kind.slug
        findings.add(where, field, f"its content is that of {published.version} of {published.name}")
