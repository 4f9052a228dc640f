"""Who must say yes, and how often somebody counts: once, whatever they are called and whosever key they use."""

from __future__ import annotations

from itertools import combinations

import pytest
from msgspec import DecodeError, json

from kiff.errors import InvalidInput
from kiff.gate import quorum
from kiff.gate.quorum import Needed
from kiff.protocol.approval import Demand, Vote
from kiff.stores import conformance_rows as some

TWO = Demand("approval_required", "sha256:1", 2)
FINANCE = Demand("amount_above_threshold", "sha256:2", 1, ("finance",))
TWO_OF_EITHER = Demand("amount_needs_two", "sha256:3", 2, ("admin", "finance"))


def yes(person: str, *roles: str, hands: tuple[str, ...] = (), use_by: int | None = None) -> Vote:
    return Vote(f"{person}-key", person, roles, 1, hands, use_by)


def test_nothing_is_granted_without_a_yes() -> None:
    assert quorum.missing((TWO,), ()) == (Needed("approval_required", 2),)
    assert quorum.missing((), ()) == (Needed("approval_required", 1),)


@pytest.mark.parametrize("quorum_of", [0, -1])
def test_a_demand_of_nobody_takes_one_yes(quorum_of: int) -> None:
    demand = Demand("odd", "sha256:4", quorum_of)
    assert quorum.missing((demand,), ()) == (Needed("odd", 1),)
    assert quorum.missing((demand,), (yes("ann"),)) == ()


def test_the_same_person_counts_once() -> None:
    assert quorum.missing((TWO,), (yes("ann"), yes("ann"))) == (Needed("approval_required", 1),)
    assert not quorum.counts((TWO,), (yes("ann"),), (), "ann")


HERS_BY_ANOTHERS_KEY = yes("robot", hands=("ann", "olga"))


@pytest.mark.parametrize("votes", [(yes("ann"), HERS_BY_ANOTHERS_KEY), (HERS_BY_ANOTHERS_KEY, yes("ann"))])
def test_a_yes_by_a_key_that_another_voter_minted_counts_with_theirs(votes: tuple[Vote, Vote]) -> None:
    assert quorum.missing((TWO,), votes) == (Needed("approval_required", 1),)
    assert quorum.said(votes[:1], votes[1]) == votes[0]


def test_the_voters_own_id_is_a_name_of_theirs_too() -> None:
    vote, minted = Vote("Ann-Work", "ann", (), 1), yes("bob", hands=("ann-work",))
    assert quorum.said((vote,), minted) == vote


def test_two_keys_of_a_third_one_are_one_only_with_separation_of_duties() -> None:
    bob, carol = yes("bob", hands=("olga",)), yes("carol", hands=("olga",))
    assert quorum.said((bob,), carol, separate=True) == bob
    assert quorum.said((bob,), carol) is None
    assert quorum.said((bob,), yes("dan", hands=("owen",)), separate=True) is None


def test_a_yes_without_the_role_is_of_no_use() -> None:
    assert quorum.missing((FINANCE,), (yes("ann", "admin"), yes("bob"))) == (
        Needed("amount_above_threshold", 1, ("finance",)),
    )
    assert not quorum.counts((FINANCE,), (), ("admin",), "ann")
    assert not quorum.concerns((FINANCE,), ("admin",))


def test_a_yes_that_only_a_satisfied_demand_would_take_is_of_no_use() -> None:
    votes = (yes("ann", "finance"),)
    assert not quorum.counts((FINANCE, Demand("other", "", 1, ("legal",))), votes, ("finance",), "bob")
    assert quorum.counts((FINANCE, Demand("other", "", 1, ("legal",))), votes, ("legal",), "bob")


def test_the_demands_of_two_rules_are_all_satisfied_or_it_is_not_granted() -> None:
    demands = (FINANCE, TWO_OF_EITHER)
    admins = (yes("ann", "admin"), yes("bob", "admin"))
    assert quorum.missing(demands, admins) == (Needed("amount_above_threshold", 1, ("finance",)),)
    assert quorum.missing(demands, (yes("fay", "finance"),)) == (Needed("amount_needs_two", 1, ("admin", "finance")),)
    assert quorum.missing(demands, (yes("fay", "finance"), yes("ann", "admin"))) == ()


def test_control_different_people_are_different() -> None:
    assert quorum.missing((TWO,), (yes("ann"), yes("bob"))) == ()
    assert quorum.counts((TWO,), (yes("ann"),), (), "bob")


def test_a_grant_is_never_nearer_with_fewer_votes() -> None:
    """Whatever is enough stays enough with one vote more, and one of them fewer never needs less."""
    people = [
        yes("a", "admin"),
        yes("b", "finance"),
        yes("c"),
        yes("d", "admin", hands=("b", "d")),
        yes("a", "finance"),
    ]
    demands = (TWO, FINANCE, TWO_OF_EITHER)
    for size in range(len(people) + 1):
        for votes in combinations(people, size):
            more = sum(each.more for each in quorum.missing(demands, votes))
            for fewer in combinations(votes, max(0, size - 1)):
                assert sum(each.more for each in quorum.missing(demands, fewer)) >= more, votes


def test_a_yes_for_a_while_is_gone_when_the_while_is_over() -> None:
    vote = yes("ann", use_by=1_000)
    assert quorum.lasting((vote, yes("bob")), 999) == (vote, yes("bob"))
    assert quorum.lasting((vote, yes("bob")), 1_000) == (yes("bob"),)


def test_an_approval_that_says_nothing_asks_for_one_yes() -> None:
    demands = quorum.demands_of(some.approval("appr_1"))
    assert (quorum.asked_for(demands), demands[0].roles) == (1, ())
    assert quorum.asked_for((FINANCE, TWO_OF_EITHER)) == 2


def test_demands_and_votes_come_back_as_they_were_put() -> None:
    votes = (yes("ann", "admin", hands=("ann",), use_by=5), yes("bob"))
    row = some.approval("appr_1", demands=json.encode((TWO, FINANCE)), votes=json.encode(votes))
    assert (quorum.demands_of(row), quorum.votes_of(row)) == ((TWO, FINANCE), votes)


@pytest.mark.parametrize("column", [b"", b"{}", b'[{"rule":"r"}]', b"[1]", b"null"])
def test_what_cannot_be_read_is_no_demand_and_no_vote(column: bytes) -> None:
    with pytest.raises(DecodeError):
        quorum.demands_of(some.approval("appr_1", demands=column))
    with pytest.raises(DecodeError):
        quorum.votes_of(some.approval("appr_1", votes=column))


def test_a_vote_comes_out_of_a_record_as_it_went_in() -> None:
    for vote in (yes("ann", "admin", hands=("ann", "olga"), use_by=1_779_616_435_001), yes("bob")):
        assert quorum.vote_from(json.decode(json.encode(quorum.vote_json(vote)))) == vote


def test_a_record_that_carries_no_vote_is_not_read_as_one() -> None:
    with pytest.raises(KeyError):
        quorum.vote_from({"by": "ann"})
    with pytest.raises(InvalidInput):
        quorum.vote_from(quorum.vote_json(yes("ann")) | {"at": "today"})
