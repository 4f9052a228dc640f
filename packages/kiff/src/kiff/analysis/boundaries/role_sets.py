"""Sets of roles that a caller may have, as far as they make a difference to one action."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from kiff.domain import Domain

Roles = tuple[str, ...]
_MOST = 12  # roles that are combined, and at most three of them


def role_sets(domains: Sequence[Domain], action: str) -> Iterator[Roles]:
    """The fewest roles that hold what is asked, each role alone, what must be kept apart together, and none.

    Repeats are possible.
    """
    for domain in domains:
        if action in domain.actions:
            yield from _holding(domain, action)
    for domain in domains:
        terms = domain.terms.get(action)
        yield from ((grant.role,) for grant in (() if terms is None else terms.grants))
        yield from ((role,) for role in domain.roles)
        for apart in domain.separate:
            yield tuple(role for role, held in domain.roles.items() if held & set(apart))
    yield ()


def _holding(domain: Domain, action: str) -> list[Roles]:
    """The smallest sets that hold everything the action asks for, whatever their grants depend on."""
    wanted = set(domain.actions[action].required_permissions)
    held = {role: set(permissions) & wanted for role, permissions in domain.roles.items()}
    for grant in domain.terms[action].grants:
        held[grant.role] = held.get(grant.role, set()) | (grant.permissions & wanted)
    useful = [role for role in held if held[role]][:_MOST]
    for size in (1, 2, 3):
        sets = [roles for roles in combinations(useful, size) if set().union(*map(held.__getitem__, roles)) == wanted]
        if sets:
            return sets
    return []
