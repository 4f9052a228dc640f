"""A domain as the gate sees it under an organisation policy: the same, and more that objects."""

from __future__ import annotations

from kiff.canonical import digest
from kiff.domain import Domain, Policy


def governed(domain: Domain, policy: Policy | None) -> Domain:
    """The domain with what a policy adds to its actions, for whoever looks at it without a tenant.

    It has the same content and another digest, since it is decided otherwise.
    """
    if policy is None:
        return domain
    both = Domain.__new__(Domain)
    for name in Domain.__slots__:
        object.__setattr__(both, name, getattr(domain, name))
    object.__setattr__(both, "terms", {action: policy.over(domain, action) for action in domain.actions})
    object.__setattr__(both, "schedules", {**domain.schedules, **policy.schedules})
    object.__setattr__(both, "digest", digest(f"{domain.digest} {policy.digest}".encode()))
    return both
