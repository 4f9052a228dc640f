"""What history is decided under: a draft of a domain, of the policy, or of both; the rest as it was in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kiff.analysis.history import Versions
from kiff.analysis.simulate.past import Past
from kiff.domain import Domain
from kiff.domain.calendar import PERIODS
from kiff.domain.document import seconds
from kiff.domain.expr import Expression
from kiff.domain.policy import Policy
from kiff.domain.schedule import Schedule
from kiff.domain.terms import Terms
from kiff.protocol.action import ActionContract
from kiff.protocol.limit import Limit
from kiff.runtime.ports import Store

_MINUTE = 60_000
_DAY = 86_400_000
_LONGEST = {
    "hour": _DAY // 24,
    "day": _DAY + _DAY // 24,
    "week": 7 * _DAY + _DAY // 24,
    "month": 31 * _DAY + _DAY // 24,
}
"""How long a window of the calendar may be, clocks that are put back included."""
_IN_FLIGHT = _DAY
"""How far back operations are looked for that are still in flight."""
_OWN = frozenset({"id", "state", "version"})


class Windows:
    """The time windows that an action reads. They open and close on full minutes, so an answer is good for a minute."""

    __slots__ = ("_minute", "_open", "_schedules")

    def __init__(self, schedules: Iterable[tuple[str, Schedule]]) -> None:
        self._schedules = tuple(schedules)
        self._minute = -1
        self._open: dict[str, bool] = {}

    def at(self, at_ms: int) -> dict[str, bool]:
        """Which are open; nobody changes what is given."""
        minute = at_ms // _MINUTE
        if minute != self._minute:
            self._open = {name: schedule.is_open(at_ms) for name, schedule in self._schedules}
            self._minute = minute
        return self._open


class Asks(NamedTuple):
    """What an action asks under one law.

    Args:
        windows: the time windows that its conditions read.
        attributes: those of the entity that they read.
        money: (parameter, unit) of those that have one and are no secret.
    """

    contract: ActionContract
    terms: Terms
    windows: Windows
    attributes: frozenset[str]
    money: tuple[tuple[str, str], ...]


class Law:
    """A domain and a policy, worked out once for every action."""

    def __init__(self, domain: Domain, policy: Policy | None) -> None:
        self.domain = domain
        self.policy = policy
        self.schedules = dict(domain.schedules) | ({} if policy is None else dict(policy.schedules))
        self._asks: dict[str, Asks | None] = {}

    def asks(self, action: str) -> Asks | None:
        """None when the domain has no such action."""
        if action not in self._asks:
            contract = self.domain.actions.get(action)
            self._asks[action] = None if contract is None else self._worked_out(contract)
        return self._asks[action]

    def _worked_out(self, contract: ActionContract) -> Asks:
        name = contract.name
        terms = self.domain.terms[name] if self.policy is None else self.policy.over(self.domain, name)
        reads = {path for expression in expressions(terms) for path in expression.reads}
        windows = Windows((n, each) for n, each in self.schedules.items() if f"schedule.{n}" in reads)
        read = {path.split(".")[1] for path in reads if path.startswith("entity.")}
        money = tuple(
            (parameter, schema["unit"])
            for parameter, schema in (contract.parameters or {}).items()
            if schema.get("unit") and not schema.get("sensitive")
        )
        return Asks(contract, terms, windows, frozenset(read - _OWN), money)


def expressions(terms: Terms) -> Iterator[Expression]:
    """Every expression that an action asks."""
    yield from filter(None, (terms.precondition, terms.lock))
    yield from (grant.condition for grant in terms.grants)
    yield from (rule.condition for rule in terms.rules)
    for limit in terms.limits:
        yield from filter(None, (limit.amount, limit.key))


class Draft:
    """What to decide under.

    Args:
        domain: for entities of its type; None keeps the version of each decision.
        policy: for all of them; None keeps the policy of each decision.
    """

    def __init__(self, domain: Domain | None = None, policy: Policy | None = None) -> None:
        self.domain = domain
        self.policy = policy

    def laws(self, store: Store, tenant: str) -> Laws:
        """The laws that the decisions of a tenant are made under."""
        return Laws(self, store, tenant)

    @property
    def longest_ms(self) -> int:
        """How long its limits remember at most; 0 when it has none."""
        limits = [] if self.domain is None else [each for c in self.domain.actions.values() for each in c.limits]
        limits += [] if self.policy is None else [each.limit for each in self.policy.limits]
        return max(map(_memory_ms, limits), default=0)


class Laws:
    """Which law a decision is made under; each is worked out once."""

    def __init__(self, draft: Draft, store: Store, tenant: str) -> None:
        self._draft = draft
        self._versions = Versions(store, tenant)
        self._known: dict[tuple[str | None, str | None], Law | None] = {}

    def concern(self, record: Past) -> bool:
        """Whether the draft has a say in it."""
        return self._draft.policy is not None or self._is_of_domain(record)

    def _is_of_domain(self, record: Past) -> bool:
        domain = self._draft.domain
        return domain is not None and record.entity_type == domain.entity_type

    def of(self, record: Past) -> Law | None:
        """None when a version that was in force is not in the store."""
        mine = self._is_of_domain(record)
        key = (
            None if mine else record.versions.domain or "",
            None if self._draft.policy is not None else record.versions.policy,
        )
        if key not in self._known:
            self._known[key] = self._made(*key)
        return self._known[key]

    def recorded(self, record: Past) -> Domain | None:
        """The version that a decision was made under, as far as it is still there."""
        return self._versions.get(record.versions.domain)

    def _made(self, version: str | None, policy_version: str | None) -> Law | None:
        domain = self._draft.domain if version is None else self._versions.get(version)
        policy = self._draft.policy if policy_version is None else self._versions.policy(policy_version)
        if domain is None or (policy is None and policy_version is not None):
            return None
        return Law(domain, policy)


def _memory_ms(limit: Limit) -> int:
    if limit.kind == "concurrency":
        return _IN_FLIGHT
    if limit.per in PERIODS:
        return _LONGEST[limit.per]
    span = 1000 * seconds(limit.per)
    if limit.kind == "budget":
        return span + span // 32
    return int(span * max(1.0, (limit.burst or limit.max) / max(limit.max, 1)))
