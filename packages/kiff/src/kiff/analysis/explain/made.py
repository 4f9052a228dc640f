"""A decision with everything it was made from, so that it can be made again with something changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import structs

from kiff.domain import Domain
from kiff.domain.expr import EvaluationError
from kiff.domain.measure import amount_of
from kiff.domain.policy import Policy
from kiff.domain.terms import BoundLimit, Terms
from kiff.gate import decide
from kiff.gate.case import Env, environment
from kiff.protocol.action import ActionContract
from kiff.protocol.approval import Demand
from kiff.protocol.decision import Decision, Facts
from kiff.protocol.proposal import Proposal


class Made(NamedTuple):
    """A decision that can be made again.

    Args:
        decision: as it comes out now, from the recorded facts.
    """

    domain: Domain
    policy: Policy | None
    contract: ActionContract
    terms: Terms
    proposal: Proposal
    facts: Facts
    decision: Decision

    @property
    def env(self) -> Env:
        return environment(self.proposal, self.facts)

    @property
    def is_asked(self) -> bool:
        """Whether its conditions were asked at all: they read sound parameters, of an entity that there is."""
        sound = not self.domain.parameter_checks[self.contract.name](self.proposal.parameters)
        return sound and self.facts.state is not None and not self.facts.erased

    def with_facts(self, **changed: Any) -> Decision:
        """The decision from other facts."""
        return decide(self.domain, self.proposal, structs.replace(self.facts, **changed), self.policy)

    def with_parameters(self, parameters: Mapping[str, Any]) -> Decision | None:
        """The decision about a call with other parameters, which no approval was asked for yet.

        Returns:
            None when it cannot be told: a limit would count it for somebody else.
        """
        proposal = structs.replace(self.proposal, parameters=dict(parameters))
        fresh = structs.replace(self.facts, approval=None, approval_id=None, operation_id=None, covers=(), erased=())
        usage = {}
        for bound in self.terms.limits if self.terms.limits and self.facts.usage else ():
            counted = self._counted(bound, environment(proposal, fresh))
            if counted is None:
                return None
            usage[bound.code] = counted
        return decide(self.domain, proposal, structs.replace(fresh, usage=usage), self.policy)

    def with_action(self, action: str) -> Decision | None:
        """The decision about another action with the same parameters; None where its limits were not looked at."""
        terms = self.domain.terms[action] if self.policy is None else self.policy.over(self.domain, action)
        if terms.limits or (terms.reads and not self.terms.reads):
            return None
        proposal = structs.replace(self.proposal, action=action)
        facts = structs.replace(self.facts, approval=None, approval_id=None, operation_id=None, covers=(), usage={})
        return decide(self.domain, proposal, facts, self.policy)

    def later(self, at: int, usage: dict[str, dict[str, Any]] | None = None) -> Decision:
        """The decision at another instant, when nothing else happened."""
        schedules = dict(self.domain.schedules) | ({} if self.policy is None else dict(self.policy.schedules))
        opens = {name: schedules[name].is_open(at) for name in self.facts.schedule if name in schedules}
        return self.with_facts(at=at, schedule=opens, usage=self.facts.usage if usage is None else usage)

    def granted(self, demands: tuple[Demand, ...]) -> Decision:
        """The decision with a grant for these demands."""
        return self.with_facts(approval="granted", covers=demands)

    def _counted(self, bound: BoundLimit, env: Env) -> dict[str, Any] | None:
        """How a limit stands for a call with other parameters; None when it is the count of another key."""
        told = self.facts.usage.get(bound.code)
        if told is None or "error" in told:
            return told
        try:
            if bound.key is not None and bound.key(env) != bound.key(self.env):
                return None
            amount = told["amount"] if bound.amount is None else amount_of(bound.limit, bound.amount(env))
        except (EvaluationError, ValueError):
            return None
        return {name: value for name, value in told.items() if name != "retry_after_ms"} | {"amount": amount}
