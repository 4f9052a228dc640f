"""Who has to say yes before a held call is granted, and whose yes brings that closer. It decides; it writes nothing.

INVARIANT: somebody is counted once, whatever keys, principals or identities they hold. A yes by way of a key that
another voter had a part in minting could be that voter's, so the two count as one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from msgspec import Struct, json

from kiff.protocol.approval import ApprovalRequest, Demand, Vote
from kiff.protocol.instant import parse_rfc3339, rfc3339

ANYBODY = Demand("approval_required", "")
"""What an approval without demands asks for, such as one from before there were any: one yes of a reviewer."""


class Needed(Struct, frozen=True, gc=False):
    """What one demand still lacks.

    Args:
        rule: whose demand it is; see `Demand`.
        more: how many more people must say yes.
        roles: whose yes counts; anybody's who may review, when empty.
    """

    rule: str
    more: int
    roles: tuple[str, ...] = ()


def missing(demands: Sequence[Demand], votes: Sequence[Vote]) -> tuple[Needed, ...]:
    """What is still needed, a line for every demand that is not satisfied; nothing once the approval is granted."""
    lacking = ((demand, max(demand.quorum, 1) - _people(demand, votes)) for demand in demands or (ANYBODY,))
    return tuple(Needed(demand.rule, more, demand.roles) for demand, more in lacking if more > 0)


def counts(demands: Sequence[Demand], votes: Sequence[Vote], roles: Collection[str], person: str) -> bool:
    """Whether this person's yes would bring anything closer.

    Args:
        person: in lower case, as `Principal.someone` is.
    """
    counted = any(person in _hands(vote) for vote in votes)
    return not counted and any(_fits(each.roles, roles) for each in missing(demands, votes))


def concerns(demands: Sequence[Demand], roles: Collection[str]) -> bool:
    """Whether a yes with these roles is of any use to any of the demands, met or not."""
    return any(_fits(demand.roles, roles) for demand in demands or (ANYBODY,))


def said(votes: Sequence[Vote], vote: Vote, *, separate: bool = False) -> Vote | None:
    """The yes among those given that the same person could have given.

    Args:
        separate: with separation of duties on, a third one who minted the keys of two could have given both.
    """
    for before in votes:
        if _could_be_one(before, vote) or (separate and not _hands(before).isdisjoint(_hands(vote))):
            return before
    return None


def lasting(votes: Sequence[Vote], now: int) -> tuple[Vote, ...]:
    """The votes that still stand: whoever gave a yes for a while may give it again when it has lapsed."""
    return tuple(vote for vote in votes if vote.use_by is None or now < vote.use_by)


def asked_for(demands: Sequence[Demand]) -> int:
    """How many people it takes at least."""
    return max((max(demand.quorum, 1) for demand in demands), default=1)


def demands_of(approval: ApprovalRequest) -> tuple[Demand, ...]:
    """What the approval was asked for; one yes of any reviewer when it does not say."""
    return json.decode(approval.demands, type=tuple[Demand, ...]) or (ANYBODY,)


def votes_of(approval: ApprovalRequest) -> tuple[Vote, ...]:
    """Who said yes so far, the first one first."""
    return json.decode(approval.votes, type=tuple[Vote, ...])


def demands_from(data: Sequence[dict[str, Any]]) -> tuple[Demand, ...]:
    """The demands that a record carries.

    Raises:
        KeyError, TypeError: they are none.
    """
    return tuple(Demand(each["rule"], each["digest"], each["quorum"], tuple(each["roles"])) for each in data)


def vote_json(vote: Vote) -> dict[str, Any]:
    """A vote as a record carries it."""
    data: dict[str, Any] = {
        "at": rfc3339(vote.at),
        "by": vote.by,
        "hands": list(vote.hands),
        "person": vote.person,
        "roles": list(vote.roles),
    }
    return data if vote.use_by is None else data | {"use_by": rfc3339(vote.use_by)}


def vote_from(data: dict[str, Any]) -> Vote:
    """The vote that a record carries.

    Raises:
        KeyError, TypeError, InvalidInput: it is not one.
    """
    use_by = data.get("use_by")
    return Vote(
        by=data["by"],
        person=data["person"],
        roles=tuple(data["roles"]),
        at=parse_rfc3339(data["at"], field="at"),
        hands=tuple(data["hands"]),
        use_by=None if use_by is None else parse_rfc3339(use_by, field="use_by"),
    )


def _people(demand: Demand, votes: Sequence[Vote]) -> int:
    """How many different people satisfy a demand so far; two who could be one are one."""
    counted: list[Vote] = []
    for vote in votes:
        if _fits(demand.roles, vote.roles) and said(counted, vote) is None:
            counted.append(vote)
    return len(counted)


def _could_be_one(one: Vote, other: Vote) -> bool:
    """Whether the voter of one of them may be behind the other, under another name or by way of its key."""
    return not (_names(one).isdisjoint(_hands(other)) and _names(other).isdisjoint(_hands(one)))


def _names(vote: Vote) -> set[str]:
    return {vote.by.casefold(), vote.person}


def _hands(vote: Vote) -> set[str]:
    return {*_names(vote), *vote.hands}


def _fits(wanted: Collection[str], held: Collection[str]) -> bool:
    return not wanted or not set(wanted).isdisjoint(held)
