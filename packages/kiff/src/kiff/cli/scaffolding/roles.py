"""Which roles a caller needs: the smallest that will do."""

from __future__ import annotations

from collections.abc import Sequence

from kiff.domain import Domain


def roles_for(domain: Domain, permissions: Sequence[str]) -> tuple[str, ...]:
    """Roles that hold all the permissions together: one role where one does. Empty when nobody holds them."""
    smallest_first = sorted(domain.roles, key=lambda role: len(domain.roles[role]))
    for role in smallest_first:
        if domain.roles[role].issuperset(permissions):
            return (role,)
    holders = [next((r for r in smallest_first if each in domain.roles[r]), None) for each in permissions]
    return tuple(dict.fromkeys(role for role in holders if role is not None)) if all(holders) else ()
