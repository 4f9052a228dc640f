"""policy.py: the roles, and what each may do."""

from __future__ import annotations

from kiff.cli.scaffolding.source import assigned
from kiff.domain import Domain

_HEAD = '''\
"""Who may do what: role -> the permissions it holds. Written by `kiff scaffold`; yours to edit."""

from __future__ import annotations

'''


def policy_module(domain: Domain) -> str:
    """The source of policy.py."""
    roles = {role: tuple(sorted(held)) for role, held in domain.roles.items()}
    return _HEAD + assigned("ROLES", roles, "dict[str, tuple[str, ...]]") + "\n"
