"""Whoever answers an approval: whether they may, and whom their yes counts for. Here refusals are values.

INVARIANT: no caller approves its own proposal, by any name, key or field (DESIGN invariant 3), and nobody is counted
twice.
"""

from __future__ import annotations

from msgspec import json

from kiff.errors import AlreadyReviewed, Forbidden
from kiff.gate import MESSAGES
from kiff.gate.quorum import counts, demands_of, missing, said
from kiff.protocol.actor import Caller, Principal, PrincipalType, proposing
from kiff.protocol.approval import ApprovalRequest, Vote
from kiff.protocol.authority import AUTHOR, Credential, Tenant
from kiff.protocol.instant import rfc3339
from kiff.runtime.commands import Review
from kiff.runtime.step.authority import minted, minters
from kiff.runtime.step.fold import governing
from kiff.runtime.world import Change


def may_not_review(change: Change, command: Review, approval: ApprovalRequest) -> Forbidden | None:
    """Only who holds a reviewer's permission and is what the contract asks for; never who proposed, by any name."""
    reviewer = command.caller.principal
    if command.verdict == "cancel":
        return _may_not_cancel(command.caller, approval)
    if _is_proposer(reviewer, approval) or _is_behind(change, command.caller, approval):
        return Forbidden(MESSAGES["proposer_is_reviewer"], reason="proposer_is_reviewer", approval_id=approval.id)
    unfit = _is_unfit(change, command, approval)
    if unfit is not None:
        return Forbidden(unfit, reason="permission_denied", approval_id=approval.id)
    domain = governing(change, approval.entity)
    needed = approval.reviewers.split(",")
    lacking = [p for p in needed if domain is None or not domain.permits(command.caller.roles, p)]
    if lacking:
        message = f"answering this approval takes {', '.join(lacking) or 'a permission its contract names'}"
        return Forbidden(message, reason="permission_denied", approval_id=approval.id, missing_permissions=lacking)
    assert domain is not None, "without one, every permission is lacking"
    for apart in domain.separate:
        if all(domain.permits(command.caller.roles, permission) for permission in apart):
            message = f"no one may hold {' and '.join(apart)}, and whoever does answers nothing"
            return Forbidden(message, reason="permission_denied", approval_id=approval.id)
    return None


def vote_of(change: Change, command: Review) -> Vote:
    """The caller's yes, with everybody else whose it could be: a key may be in the hands of those who minted it."""
    caller = command.caller
    return Vote(
        by=caller.principal.id,
        person=caller.principal.someone,
        roles=caller.roles,
        at=change.at,
        hands=tuple(sorted(minters(change, caller) - {""})),
        use_by=command.use_by,
    )


def does_not_count(
    change: Change, approval: ApprovalRequest, votes: tuple[Vote, ...], vote: Vote
) -> AlreadyReviewed | Forbidden | None:
    """Why a yes brings nothing closer; None when it does.

    Args:
        votes: those that stand.
    """
    tenant, demands = change.get(Tenant, "tenant"), demands_of(approval)
    before = said(votes, vote, separate=tenant is not None and tenant.separate)
    if before is not None:
        return _counted(approval, vote, before)
    if counts(demands, votes, vote.roles, vote.person):
        return None
    roles = sorted({role for each in missing(demands, votes) for role in each.roles})
    message = f"`{approval.id}` needs a yes with one of the roles {', '.join(roles)}"
    return Forbidden(message, reason="permission_denied", approval_id=approval.id, missing_roles=roles)


def _is_unfit(change: Change, command: Review, approval: ApprovalRequest) -> str | None:
    """What the contract asks of a reviewer, where this one is something else; None when nothing is amiss.

    Evidence is asked for with a yes only: a no withholds, so it takes no more than the permission.
    """
    caller = command.caller
    key = None if caller.credential is None else change.get(Credential, caller.credential)
    if approval.human_only and caller.principal.type != "human":
        return "an approval is answered by a person"
    if caller.principal.type == "agent":
        return "this approval is answered by a person or a service, never by an agent"
    if key is not None and key.principal is None:
        return "this key is bound to nobody, so it answers no approval"
    if command.verdict == "deny" or approval.evidence == "key":
        return None
    if approval.evidence != "session":
        return f"granting this takes a {approval.evidence}, which nobody can bring yet; it can be denied or cancelled"
    if key is not None and key.kind != "session":  # the process vouches for callers without a credential
        return "granting this takes a session of somebody who logged in, found a key"
    return None


def _is_proposer(reviewer: Principal, approval: ApprovalRequest) -> bool:
    """Whether the reviewer asked, under any name.

    A human owner may review their agent's proposals in their own name; what a person proposed themselves, or had a
    service propose for them, they never review.
    """
    return bool({reviewer.id.casefold(), reviewer.someone} & proposing(approval.proposer, *_behind(approval)))


def _behind(approval: ApprovalRequest) -> tuple[str | None, PrincipalType]:
    return approval.proposer_person, approval.proposer_type


def _is_behind(change: Change, caller: Caller, approval: ApprovalRequest) -> bool:
    """Whether the yes would be the proposer's own, by way of a key.

    A key that whoever proposed had a part in never answers what they proposed. With separation of duties on, neither
    an agent's owner nor whoever minted its key answers for it.
    """
    by_way_of = minters(change, caller)
    themselves = {caller.principal.id.casefold(), caller.principal.someone}
    if (by_way_of - themselves) & proposing(approval.proposer, *_behind(approval)):
        return True
    tenant = change.get(Tenant, "tenant")
    if tenant is None or not tenant.separate:
        return False
    used = json.decode(approval.proposal).get("credential")
    asked_with = None if used is None else change.get(Credential, used)
    behind = (approval.proposer_person or approval.proposer).casefold()
    barred = {behind} | (set() if asked_with is None else minted(asked_with))
    return bool(({caller.principal.someone} | by_way_of) & barred)


def _may_not_cancel(caller: Caller, approval: ApprovalRequest) -> Forbidden | None:
    """Whoever asked may take the question back, and so may an owner of the tenant."""
    if caller.principal.id.casefold() == approval.proposer.casefold() or AUTHOR in caller.roles:
        return None
    message = "an approval is cancelled by whoever asked for it, or by an owner of the tenant"
    return Forbidden(message, reason="permission_denied", approval_id=approval.id)


def _counted(approval: ApprovalRequest, vote: Vote, before: Vote) -> AlreadyReviewed:
    """Nobody is counted twice: not under two names, and not by way of a key that they had a part in minting."""
    if vote.person == before.person:
        message = f"`{before.by}` said yes to `{approval.id}` already; it takes somebody else"
    else:
        message = f"because of who minted their keys, `{vote.by}` counts as one with `{before.by}`, who said yes to "
        message += f"`{approval.id}` already; answer it logged in, or with a key of your own"
    return AlreadyReviewed(message, approval_id=approval.id, reviewed_by=before.by, reviewed_at=rfc3339(before.at))
