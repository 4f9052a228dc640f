"""The gate: an ordered tuple of checks, all objections collected, the most severe one decides.

There is no rule that allows: allowed means nothing objected. This file decides; it never writes.
"""

from __future__ import annotations

from kiff.domain import Domain
from kiff.gate import checks
from kiff.protocol.decision import SEVERITY, Decision, Facts, Objection
from kiff.protocol.proposal import Proposal

CHECKS: tuple[checks.Check, ...] = (
    checks.parameters,
    checks.state,
    checks.permissions,
    checks.executor,
    checks.runway,
    checks.approval,
)
"""After `intent`, which finds the contract they ask about. The order is the protocol (DESIGN section 4)."""

_ALLOWED = Decision("allowed")


def decide(domain: Domain | None, proposal: Proposal, facts: Facts) -> Decision:
    """May this proposal run, given these facts?

    Returns:
        The outcome of the most severe objection. Objections of that severity come first, in gate order,
        so the first one is the primary reason; milder ones follow.
    """
    contract = checks.intent(domain, proposal)
    if isinstance(contract, Objection):
        return Decision(contract.outcome, (contract,))
    assert domain is not None, "intent found a contract"
    objections: tuple[Objection, ...] = ()
    for check in CHECKS:
        found = check(domain, contract, proposal, facts)
        if found:
            objections += found
    if not objections:
        return _ALLOWED
    ordered = sorted(objections, key=lambda objection: -SEVERITY[objection.outcome])
    return Decision(ordered[0].outcome, tuple(ordered))
