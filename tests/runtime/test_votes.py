"""Several people answer one approval: who is counted, how often, and what is written when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from authority_cases import FOUNDER, ORDER, PARCEL, TENANT, Shop, code, opened, told
from msgspec import json, structs

from kiff import Caller, Principal
from kiff.errors import AlreadyReviewed, ApprovalDecided, Forbidden, IdempotencyConflict
from kiff.gate.quorum import Needed, demands_of, votes_of
from kiff.protocol.approval import ApprovalRequest, Demand
from kiff.protocol.authority import Member
from kiff.protocol.instant import rfc3339
from kiff.runtime.ports import Append
from kiff.stores.sqlite import SqliteStore

TWO = Demand("approval_required", "that of the contract", 2)
THREE = Demand("approval_required", "that of the contract", 3)
FINANCE = Demand("amount_above_threshold", "sha256:2", 1, ("finance",))
TWO_OF_EITHER = Demand("amount_needs_two", "sha256:3", 2, ("admin", "finance"))
PATIENCE_SECONDS = 60.0
MINUTE = 60_000


@pytest.fixture
def shop() -> Iterator[Shop]:
    with opened() as shop:
        yield shop


def asks(shop: Shop, *demands: Demand, entity: str = PARCEL, by: Caller | None = None, **more: Any) -> str:
    """A held call whose approval asks for this; its id."""
    approval_id = shop.held(by or shop.agent(), entity)
    row = approval(shop, approval_id)
    [own] = demands_of(row)
    asked = [structs.replace(each, digest=own.digest) if each.rule == own.rule else each for each in demands]
    row = structs.replace(row, demands=json.encode(asked), **more)
    shop.store.append(Append([], [row], [], (), [], []))
    return approval_id


def approval(shop: Shop, approval_id: str) -> ApprovalRequest:
    row = shop.store.row(ApprovalRequest, TENANT, approval_id)
    assert row is not None
    return row


def reviewer(shop: Shop, id: str, roles: str = "", type: Any = "human", **more: Any) -> Caller:
    """Somebody who may review, by a key that the process minted unless `created_by` says otherwise."""
    minted = {name: more.pop(name) for name in ("created_by", "kind") if name in more}
    shop.member(id, type, ",".join(filter(None, ("ops_operator", roles))), **more)
    return shop.caller(shop.key(id, **({"created_by": "kiff"} | minted)))


def grant(shop: Shop, who: Caller, approval_id: str, **more: Any) -> Any:
    return told(shop.runtime.grant(who, approval_id, "looked at it", **more))


def voters(shop: Shop, approval_id: str) -> list[str]:
    return [vote.by for vote in votes_of(approval(shop, approval_id))]


# --- who is not counted, or not again ---


def test_the_same_person_twice_is_told_that_they_were_counted(shop: Shop) -> None:
    held, ann = asks(shop, TWO), reviewer(shop, "ann")
    assert grant(shop, ann, held).status == "pending"
    size, again = shop.size, grant(shop, ann, held)
    assert (type(again), again.detail["reviewed_by"]) == (AlreadyReviewed, "ann")
    assert (approval(shop, held).status, shop.size) == ("pending", size)


def second_key(shop: Shop) -> Caller:
    return shop.caller(shop.key("ann", created_by="kiff"))


def second_identity(shop: Shop) -> Caller:
    return reviewer(shop, "ann-at-work", person="Ann")


def a_service_of_hers(shop: Shop) -> Caller:
    return reviewer(shop, "ann-robot", type="service", person="ann")


def a_key_she_minted(shop: Shop) -> Caller:
    return reviewer(shop, "bob", created_by="ann")


def a_key_minted_with_a_key_she_minted(shop: Shop) -> Caller:
    return reviewer(shop, "bob", created_by="carol,ann")


HERS = (second_key, second_identity, a_service_of_hers, a_key_she_minted, a_key_minted_with_a_key_she_minted)


@pytest.mark.parametrize("hers", HERS, ids=lambda hers: hers.__name__)
@pytest.mark.parametrize("first", ["in_her_name", "by_the_other"])
def test_one_person_is_counted_once_whatever_they_answer_with(
    shop: Shop, hers: Callable[[Shop], Caller], first: str
) -> None:
    held = asks(shop, TWO, human_only=False)
    order = [reviewer(shop, "ann"), hers(shop)]
    if first == "by_the_other":
        order.reverse()
    assert grant(shop, order[0], held).status == "pending"
    assert code(grant(shop, order[1], held)) == "already_reviewed"
    assert approval(shop, held).status == "pending"


def by_keys_of_one_minter(shop: Shop) -> list[str]:
    """What becomes of it when two people answer with keys that a third one minted."""
    held = asks(shop, TWO)
    people = [reviewer(shop, id, created_by="olga") for id in ("bob", "carol")]
    answers = [grant(shop, who, held) for who in people]
    return [getattr(answer, "status", None) or code(answer) for answer in answers]


def test_with_separation_of_duties_two_keys_that_one_person_minted_count_once(shop: Shop) -> None:
    shop.separate()
    assert by_keys_of_one_minter(shop) == ["pending", "already_reviewed"]


def test_control_without_it_two_people_whose_keys_an_owner_minted_are_two(shop: Shop) -> None:
    assert by_keys_of_one_minter(shop) == ["pending", "granted"]


def test_control_two_people_with_keys_of_their_own_are_two(shop: Shop) -> None:
    held = asks(shop, TWO, human_only=False)
    assert grant(shop, reviewer(shop, "ann"), held).status == "pending"
    assert (
        grant(shop, reviewer(shop, "robot", type="service", person="bob", created_by="bob"), held).status == "granted"
    )


def proposer(shop: Shop) -> Caller:
    return shop.caller(shop.key("pat", created_by="kiff"))


def the_person_who_proposed(shop: Shop) -> Caller:
    return reviewer(shop, "pat-at-home", person="pat")


def a_key_of_the_proposer(shop: Shop) -> Caller:
    return reviewer(shop, "friend", created_by="pat")


@pytest.mark.parametrize("who", [proposer, the_person_who_proposed, a_key_of_the_proposer], ids=lambda w: w.__name__)
def test_whoever_proposed_is_not_counted_as_the_third_either(shop: Shop, who: Callable[[Shop], Caller]) -> None:
    shop.member("pat", "human", "ops_agent,ops_operator,admin,finance")
    held = asks(shop, THREE, by=proposer(shop))
    for name in ("ann", "bob"):
        assert grant(shop, reviewer(shop, name), held).status == "pending"
    assert code(grant(shop, who(shop), held)) == "proposer_is_reviewer"
    assert voters(shop, held) == ["ann", "bob"]


def test_an_agent_never_answers_though_services_may(shop: Shop) -> None:
    held, robot = asks(shop, TWO, human_only=False), reviewer(shop, "robot", type="agent")
    assert code(grant(shop, robot, held)) == "permission_denied"
    assert code(told(shop.runtime.deny(robot, held, "no"))) == "permission_denied"


def test_a_service_answers_only_where_the_contract_lets_it(shop: Shop) -> None:
    robot = reviewer(shop, "robot", type="service")
    assert code(grant(shop, robot, asks(shop, human_only=True))) == "permission_denied"
    assert grant(shop, robot, asks(shop, entity=ORDER, human_only=False)).status == "granted"


def test_a_key_that_is_bound_to_nobody_answers_nothing(shop: Shop) -> None:
    held = asks(shop, human_only=False)
    unbound = shop.caller(shop.key(None, "ops_operator", created_by="kiff"))
    assert unbound.principal.type == "service"
    assert code(grant(shop, unbound, held)) == "permission_denied"


def test_every_yes_takes_the_permission(shop: Shop) -> None:
    held = asks(shop, TWO_OF_EITHER)
    shop.member("ann", "human", "admin")
    answer = grant(shop, shop.caller(shop.key("ann", created_by="kiff")), held)
    assert answer.detail["missing_permissions"] == ["parcels.approve"]


# --- evidence ---


def test_a_key_does_not_do_where_a_session_is_asked_for(shop: Shop) -> None:
    held = asks(shop, evidence="session")
    assert code(grant(shop, reviewer(shop, "ann"), held)) == "permission_denied"
    assert grant(shop, reviewer(shop, "bob", kind="session"), held).status == "granted"


def test_the_process_vouches_for_whom_it_names(shop: Shop) -> None:
    held = asks(shop, evidence="session")
    embedded = Caller(Principal("eve", "human"), ("ops_operator",), TENANT)
    assert grant(shop, embedded, held).status == "granted"


@pytest.mark.parametrize("evidence", ["passkey", "retina"])
def test_evidence_that_nobody_can_bring_yet_grants_nothing(shop: Shop, evidence: str) -> None:
    held = asks(shop, evidence=evidence)
    answer = grant(shop, reviewer(shop, "ann", kind="session"), held)
    assert (code(answer), "nobody can bring" in answer.message) == ("permission_denied", True)
    embedded = Caller(Principal("eve", "human"), ("ops_operator",), TENANT)
    assert code(grant(shop, embedded, held)) == "permission_denied"


def test_a_no_takes_no_more_than_the_permission(shop: Shop) -> None:
    held = asks(shop, TWO_OF_EITHER, evidence="passkey")
    assert told(shop.runtime.deny(reviewer(shop, "ann"), held, "no")).status == "denied"


# --- demands with roles ---


def test_a_yes_that_no_demand_needs_is_refused_and_says_whose_is_needed(shop: Shop) -> None:
    held = asks(shop, FINANCE, TWO_OF_EITHER)
    answer = grant(shop, reviewer(shop, "ann", "legal"), held)
    assert (code(answer), answer.detail["missing_roles"]) == ("permission_denied", ["admin", "finance"])
    assert voters(shop, held) == []
    assert shop.kinds(PARCEL)[-1] == "review_refused"


def test_the_demands_of_two_rules_are_satisfied_together(shop: Shop) -> None:
    held = asks(shop, FINANCE, TWO_OF_EITHER)
    first = grant(shop, reviewer(shop, "ann", "admin"), held)
    assert first.still_needed == (
        Needed("amount_above_threshold", 1, ("finance",)),
        Needed("amount_needs_two", 1, ("admin", "finance")),
    )
    assert grant(shop, reviewer(shop, "fay", "finance"), held).status == "granted"


def test_enough_people_of_the_wrong_role_are_not_enough(shop: Shop) -> None:
    held = asks(shop, FINANCE, TWO_OF_EITHER)
    assert grant(shop, reviewer(shop, "ann", "admin"), held).status == "pending"
    second = grant(shop, reviewer(shop, "bob", "admin"), held)
    assert second.still_needed == (Needed("amount_above_threshold", 1, ("finance",)),)
    third = grant(shop, reviewer(shop, "cid", "admin"), held)
    assert (code(third), third.detail["missing_roles"]) == ("permission_denied", ["finance"])


def test_the_roles_of_a_yes_are_those_the_key_gives(shop: Shop) -> None:
    held = asks(shop, FINANCE)
    shop.member("fay", "human", "ops_operator,finance")
    narrowed = shop.caller(shop.key("fay", "ops_operator", created_by="kiff"))
    assert grant(shop, narrowed, held).detail["missing_roles"] == ["finance"]


def test_roles_that_were_taken_meanwhile_are_of_no_use(shop: Shop) -> None:
    held, fay = asks(shop, FINANCE), reviewer(shop, "fay", "finance")
    shop.establish(Member(TENANT, "fay", "human", None, None, "ops_operator", True))
    assert grant(shop, fay, held).detail["missing_roles"] == ["finance"]


# --- what is written ---


def test_a_single_yes_that_is_enough_writes_no_vote_record(shop: Shop) -> None:
    held = shop.held(shop.agent())
    assert grant(shop, reviewer(shop, "ann"), held).still_needed == ()
    assert shop.kinds(PARCEL)[-2:] == ["approval_required", "approval_granted"]


def test_each_yes_is_recorded_and_the_last_one_grants_with_all_of_them(shop: Shop) -> None:
    held = asks(shop, TWO_OF_EITHER)
    grant(shop, reviewer(shop, "ann", "admin"), held)
    grant(shop, reviewer(shop, "fay", "finance"), held)
    vote, granted = shop.runtime.timeline(FOUNDER, PARCEL)[-2:]
    assert (vote["kind"], vote["actor"]["id"]) == ("approval_vote", "ann")
    assert (vote["data"]["vote"]["by"], vote["data"]["vote"]["roles"]) == ("ann", ["ops_operator", "admin"])
    assert vote["data"]["still_needed"] == [{"rule": "amount_needs_two", "more": 1, "roles": ["admin", "finance"]}]
    assert (granted["kind"], granted["actor"]["id"]) == ("approval_granted", "fay")
    assert [each["by"] for each in granted["data"]["votes"]] == ["ann", "fay"]


def test_a_yes_changes_nothing_but_the_votes(shop: Shop) -> None:
    held = asks(shop, TWO)
    before = approval(shop, held)
    answer = grant(shop, reviewer(shop, "ann"), held)
    assert structs.replace(approval(shop, held), votes=before.votes) == before
    assert (answer.status, answer.reviewed_by, answer.use_by, answer.receipt_id) == ("pending", "ann", None, None)


def test_the_call_is_held_until_the_last_yes(shop: Shop) -> None:
    agent = shop.agent()
    held = asks(shop, TWO, by=agent)
    send = lambda: told(shop.runtime.execute(agent, entity=PARCEL, action="SEND", approval_id=held))  # noqa: E731
    grant(shop, reviewer(shop, "ann"), held)
    assert (send().outcome, shop.refunds.made) == ("approval_required", [])
    grant(shop, reviewer(shop, "bob"), held)
    assert (send().outcome, len(shop.refunds.made)) == ("allowed", 1)


def test_a_call_that_runs_on_its_grant_runs_with_the_last_yes_only(shop: Shop) -> None:
    held = asks(shop, TWO, entity=ORDER)
    assert grant(shop, reviewer(shop, "ann"), held).operation_id is None
    assert shop.refunds.made == []
    assert grant(shop, reviewer(shop, "bob"), held).operation_id is not None


def test_the_same_review_again_is_answered_as_it_was_and_counts_once(shop: Shop) -> None:
    held, ann = asks(shop, TWO), reviewer(shop, "ann")
    first = grant(shop, ann, held, key="r1")
    assert grant(shop, ann, held, key="r1") == first
    assert (first.status, voters(shop, held)) == ("pending", ["ann"])
    assert isinstance(told(shop.runtime.grant(ann, held, "another reason", key="r1")), IdempotencyConflict)


def test_a_vote_in_the_batch_of_another_counts_beside_it(shop: Shop) -> None:
    held, ann, bob = asks(shop, TWO), reviewer(shop, "ann"), reviewer(shop, "bob")
    answers = shop.together(
        lambda: shop.runtime.grant(ann, held, "yes"),
        lambda: shop.runtime.grant(ann, held, "yes"),
        lambda: shop.runtime.grant(bob, held, "yes"),
        lambda: shop.runtime.grant(bob, held, "yes"),
    )
    told_so = [getattr(each, "status", type(each)) for each in answers]
    assert told_so == ["pending", AlreadyReviewed, "granted", ApprovalDecided]


# --- how it ends otherwise ---


def test_a_no_after_a_yes_is_the_end(shop: Shop) -> None:
    held, ann = asks(shop, TWO), reviewer(shop, "ann")
    grant(shop, ann, held)
    assert told(shop.runtime.deny(reviewer(shop, "bob"), held, "disputed")).status == "denied"
    assert isinstance(grant(shop, reviewer(shop, "cid"), held), ApprovalDecided)
    assert (approval(shop, held).status, voters(shop, held)) == ("denied", ["ann"])


def test_whoever_said_yes_may_still_say_no(shop: Shop) -> None:
    held, ann = asks(shop, TWO), reviewer(shop, "ann")
    grant(shop, ann, held)
    assert told(shop.runtime.deny(ann, held, "looked again")).status == "denied"


def test_some_yeses_and_then_nobody_is_expired(shop: Shop) -> None:
    held = asks(shop, TWO)
    grant(shop, reviewer(shop, "ann"), held)
    shop.clock.wall = approval(shop, held).expires_at
    late = grant(shop, reviewer(shop, "bob"), held)
    assert (type(late), late.detail["status"]) == (ApprovalDecided, "expired")
    assert shop.kinds(PARCEL)[-2:] == ["approval_vote", "approval_expired"]


def test_a_grant_is_good_no_longer_than_any_of_its_votes(shop: Shop) -> None:
    held = asks(shop, TWO)
    soon = shop.clock.wall + MINUTE
    grant(shop, reviewer(shop, "ann"), held, expires_at=rfc3339(soon))
    assert grant(shop, reviewer(shop, "bob"), held).use_by == rfc3339(soon)


def test_a_yes_for_a_while_that_is_over_is_not_counted_and_can_be_given_again(shop: Shop) -> None:
    held, ann = asks(shop, TWO), reviewer(shop, "ann")
    grant(shop, ann, held, expires_at=rfc3339(shop.clock.wall + MINUTE))
    shop.clock.wall += MINUTE
    assert grant(shop, reviewer(shop, "bob"), held).status == "pending"
    assert voters(shop, held) == ["bob"]
    assert grant(shop, ann, held).status == "granted"


# --- at once, and over a restart ---


def test_of_eight_at_once_one_grants_and_one_record_says_so(tmp_path: Path) -> None:
    with opened(SqliteStore(tmp_path / "votes.db")) as shop:
        held = asks(shop, THREE)
        people = [reviewer(shop, f"person-{number}") for number in range(8)]
        answers = at_once([lambda who=who: grant(shop, who, held) for who in people])  # type: ignore[misc]
        kinds = shop.kinds(PARCEL)
        statuses = sorted(getattr(each, "status", "decided") for each in answers)
        assert statuses == ["decided"] * 5 + ["granted"] + ["pending"] * 2
        assert (kinds.count("approval_granted"), kinds.count("approval_vote")) == (1, 2)
        assert len(set(voters(shop, held))) == 3


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    start, brought = threading.Barrier(len(works)), [None] * len(works)

    def one(number: int) -> None:
        start.wait(PATIENCE_SECONDS)
        brought[number] = works[number]()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return brought


def test_a_restart_in_between_forgets_no_vote(tmp_path: Path) -> None:
    path = tmp_path / "votes.db"
    with opened(SqliteStore(path)) as shop:
        held, ann = asks(shop, TWO), reviewer(shop, "ann")
        grant(shop, ann, held)
    with opened(SqliteStore(path)) as shop:
        assert voters(shop, held) == ["ann"]
        again = grant(shop, shop.caller(str(ann.credential)), held)
        assert code(again) == "already_reviewed"
        shop._minted = 100
        assert grant(shop, reviewer(shop, "bob"), held).status == "granted"


def test_a_refusal_says_nothing_but_what_a_reviewer_may_know(shop: Shop) -> None:
    held = asks(shop, TWO)
    stranger = shop.person("sam", "")
    grant(shop, reviewer(shop, "ann"), held)
    answer = grant(shop, stranger, held)
    assert (type(answer), "reviewed_by" in answer.detail) == (Forbidden, False)
