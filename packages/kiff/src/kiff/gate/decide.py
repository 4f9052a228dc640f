"""The gate: an ordered tuple of checks, all objections collected, the most severe one decides.

There is no rule that allows: allowed means nothing objected. This file decides; it never writes.
"""

from __future__ import annotations

from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.gate import checks
from kiff.gate.case import Case, environment, ruling
from kiff.protocol.approval import Demand
from kiff.protocol.decision import SEVERITY, Decision, Facts, Objection
from kiff.protocol.proposal import Proposal

CHECKS: tuple[checks.Check, ...] = (
    checks.state,
    checks.permissions,
    checks.conditions,
    checks.rules,
    checks.limits,
    checks.executor,
    checks.runway,
    checks.approval,
)
"""After `intent` and `parameters`, which find the contract and what its conditions may read. The order is the
protocol (DESIGN section 4)."""

_ALLOWED = Decision("allowed")


def decide(domain: Domain | None, proposal: Proposal, facts: Facts, policy: Policy | None = None) -> Decision:
    """May this proposal run, given these facts?

    Args:
        policy: what holds for every domain of the tenant; it can only object more.

    Returns:
        The outcome of the most severe objection. Objections of that severity come first, in gate order,
        so the first one is the primary reason; milder ones follow.
    """
    contract = checks.intent(domain, proposal)
    if isinstance(contract, Objection):
        return Decision(contract.outcome, (contract,))
    assert domain is not None, "intent found a contract"
    terms = domain.terms[contract.name] if policy is None else policy.over(domain, contract.name)
    erased = checks.vault(facts)
    if erased:
        return Decision("blocked", erased)  # of what is gone nothing else can be asked
    objections = checks.parameters(domain, contract, proposal)
    asks = terms.reads and not objections and facts.state is not None
    env = environment(proposal, facts) if asks else None
    ruled = () if env is None else ruling(terms, env)
    case = Case(domain, contract, terms, proposal, facts, env, ruled)
    for check in CHECKS:
        found = check(case)
        if found:
            objections += found
    if facts.approval == "pending" and not any(each.outcome == "approval_required" for each in objections):
        objections += (checks.still_asked(facts),)
    if not objections and not ruled:
        return _ALLOWED
    return _decision(case, objections)


def _decision(case: Case, objections: tuple[Objection, ...]) -> Decision:
    ordered = tuple(sorted(objections, key=lambda objection: -SEVERITY[objection.outcome]))
    enforced = [each for each in case.ruled if each.bound.rule.mode == "enforce" and each.error is None]
    shadow = [each for each in case.ruled if each.bound.rule.mode == "shadow"]
    asked = _asked(case) if ordered and ordered[0].outcome == "approval_required" else ()
    return Decision(
        ordered[0].outcome if ordered else "allowed",
        ordered,
        tuple(each.bound.code for each in enforced),
        tuple(each.bound.code for each in shadow),
        asked,
    )


def _asked(case: Case) -> tuple[Demand, ...]:
    """Everything that a person is asked about in this call, also what an earlier grant covered: a new hold is whole."""
    codes = [ruled.bound.code for ruled in case.ruled if ruled.bound.rule.mode == "enforce"]
    codes += [bound.code for bound in case.terms.limits if checks.is_over(case, bound)]
    return tuple(case.terms.demands[code] for code in ("approval_required", *codes) if code in case.terms.demands)
