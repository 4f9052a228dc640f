"""Who may answer a held call, and how long the answer counts: in which respects one version asks less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kiff.domain import Domain
from kiff.protocol.action import ActionContract
from kiff.protocol.approval import Demand

_EVIDENCE = ("key", "session", "passkey")
"""What a reviewer must bring, weakest first."""


def unmet(before: Sequence[Demand], after: Sequence[Demand]) -> tuple[Demand, ...]:
    """The demands that people could leave unmet who satisfy all of `after`."""
    return tuple(each for each in before if not any(covers(other, each) for other in after))


def covers(strong: Demand, weak: Demand) -> bool:
    """Whether everybody who satisfies the one satisfies the other."""
    fits = not weak.roles or (bool(strong.roles) and set(strong.roles) <= set(weak.roles))
    return fits and max(strong.quorum, 1) >= max(weak.quorum, 1)


def weaker_review(before: Domain, after: Domain, action: str) -> Iterator[str]:
    """What holds a yes to less than it did."""
    old, new = before.actions[action].approval_policy, after.actions[action].approval_policy
    yield from _more_reviewers(before, after, action)
    if old.human_only and not new.human_only:
        yield "services may answer, where people had to"
    if _EVIDENCE.index(new.evidence) < _EVIDENCE.index(old.evidence):
        yield f"a reviewer brings a `{new.evidence}`, where a `{old.evidence}` was asked for"
    if "entity.version" in old.binds and "entity.version" not in new.binds:
        yield "a grant fits even when the entity moved since"
    if new.expires_seconds > old.expires_seconds:
        yield f"a request may be answered for {new.expires_seconds} s, up from {old.expires_seconds} s"
    if new.use_within_seconds > old.use_within_seconds:
        yield f"a grant may be used for {new.use_within_seconds} s, up from {old.use_within_seconds} s"


def _more_reviewers(before: Domain, after: Domain, action: str) -> Iterator[str]:
    old, new = reviewers(before, before.actions[action]), reviewers(after, after.actions[action])
    for role in sorted(new - old):
        yield f"`{role}` may answer"


def reviewers(domain: Domain, contract: ActionContract) -> frozenset[str]:
    """The roles that hold, alone, everything that a reviewer needs."""
    needed = frozenset(contract.reviewer_permissions)
    return frozenset(role for role, held in domain.roles.items() if needed <= held)
