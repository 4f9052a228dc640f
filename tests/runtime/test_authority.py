"""Authority is read in the batch that decides: what a credential may do, who may change that, and who answers whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from authority_cases import (
    FOUNDER,
    ORDER,
    PARCEL,
    PARCELS,
    SHOP,
    START,
    TENANT,
    Shop,
    code,
    domain_of,
    opened,
    told,
)
from msgspec import json, structs

from kiff import Caller, Principal
from kiff.errors import (
    AuthorityChanged,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    Unauthorized,
)
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.instant import rfc3339
from kiff.runtime.answers import Established
from kiff.runtime.rows import CommandRow

HOUR = 3_600_000
OWNER = "tenant_owner"


@pytest.fixture
def shop() -> Iterator[Shop]:
    with opened() as shop:
        yield shop


def refund(shop: Shop, caller: Caller, **more: Any) -> Any:
    return shop.runtime.execute(caller, entity=ORDER, action="REFUND", **more)


# --- a credential that is not good ---


def unknown(shop: Shop, caller: Caller) -> Caller:
    return structs.replace(caller, credential="key_nobody")


def of_another_tenant(shop: Shop, caller: Caller) -> Caller:
    return structs.replace(caller, tenant="zebra")


def revoked(shop: Shop, caller: Caller) -> Caller:
    assert caller.credential is not None
    told(shop.runtime.revoke(FOUNDER, caller.credential))
    return caller


def expired(shop: Shop, caller: Caller) -> Caller:
    shop.clock.wall += HOUR
    return caller


def expired_and_the_clock_set_back(shop: Shop, caller: Caller) -> Caller:
    shop.clock.wall += HOUR
    shop.ingest("PLACED", "order:later")  # the log has seen that time, and does not go back
    shop.clock.wall -= HOUR
    return caller


def of_a_member_that_was_switched_off(shop: Shop, caller: Caller) -> Caller:
    shop.member("ops-agent", "agent", "ops_agent", active=False)
    return caller


SPOILS = (
    unknown,
    of_another_tenant,
    revoked,
    expired,
    expired_and_the_clock_set_back,
    of_a_member_that_was_switched_off,
)


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_a_credential_that_is_not_good_does_nothing_and_the_answer_does_not_say_why(
    shop: Shop, spoil: Callable[[Shop, Caller], Caller]
) -> None:
    shop.member("ops-agent", "agent", "ops_agent")
    caller = shop.caller(shop.key("ops-agent", expires_at=START + HOUR))
    caller, size = spoil(shop, caller), shop.size
    answer = told(refund(shop, caller))
    assert (type(answer), answer.args) == (Unauthorized, ("the credential is not valid",))
    assert (shop.size, shop.refunds.made) == (size, [])


def test_control_before_it_is_spoiled_it_is_good(shop: Shop) -> None:
    shop.member("ops-agent", "agent", "ops_agent")
    caller = shop.caller(shop.key("ops-agent", expires_at=START + HOUR))
    assert told(refund(shop, caller)).executed


COMMANDS: dict[str, Callable[[Shop, Caller], Any]] = {
    "execute": lambda shop, caller: refund(shop, caller),
    "decide": lambda shop, caller: shop.runtime.propose(caller, entity=ORDER, action="REFUND"),
    "ask": lambda shop, caller: shop.runtime.ask(caller, entity=PARCEL, action="SEND"),
    "ingest": lambda shop, caller: shop.runtime.ingest(caller, type="PLACED", entity="order:o_9"),
    "grant": lambda shop, caller: shop.runtime.grant(caller, "appr_1", "yes"),
    "deny": lambda shop, caller: shop.runtime.deny(caller, "appr_1", "no"),
    "cancel": lambda shop, caller: shop.runtime.cancel(caller, "appr_1", "never mind"),
    "settle": lambda shop, caller: shop.runtime.settle(caller, "clr_1", "failed"),
    "activate": lambda shop, caller: shop.runtime.activate(caller, domain_of(SHOP)),
    "establish": lambda shop, caller: shop.runtime.establish(caller, shop.row("owner")),
    "revoke": lambda shop, caller: shop.runtime.revoke(caller, caller.credential or ""),
    "note": lambda shop, caller: shop.runtime.note(caller, "draft:shop", b"domain: shop"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_of_a_revoked_key_is_served(shop: Shop, command: str) -> None:
    everything = "tenant_owner,ops_agent,ops_operator,event_source"
    caller = revoked(shop, shop.person("owner", everything))
    size = shop.size
    assert isinstance(told(COMMANDS[command](shop, caller)), Unauthorized)
    assert shop.size == size


def test_a_revocation_acts_on_the_next_command_of_the_same_batch(shop: Shop) -> None:
    caller = shop.agent()
    assert caller.credential is not None
    key = caller.credential
    first, _, second = shop.together(
        lambda: shop.runtime.propose(caller, entity=ORDER, action="REFUND"),
        lambda: shop.runtime.revoke(FOUNDER, key),
        lambda: shop.runtime.propose(caller, entity=PARCEL, action="SEND"),
    )
    assert (first.outcome, type(second)) == ("allowed", Unauthorized)
    assert shop.kinds()[-3:] == ["decision_recorded", "action_validated", "credential_revoked"]


def test_a_grant_that_runs_asks_whether_the_key_that_proposed_is_still_good(shop: Shop) -> None:
    agent, reviewer = shop.agent(), shop.person("eve", "ops_operator")
    approval_id = shop.held(agent, ORDER)
    revoked(shop, agent)
    answer = told(shop.runtime.grant(reviewer, approval_id, "fine"))
    assert (answer.status, answer.operation_id, answer.decision.reason) == ("granted", None, "permission_denied")
    assert shop.refunds.made == []


def test_a_grant_that_runs_does_so_with_the_roles_of_now(shop: Shop) -> None:
    agent, reviewer = shop.agent(), shop.person("eve", "ops_operator")
    approval_id = shop.held(agent, ORDER)
    shop.member("ops-agent", "agent", "ops_operator")
    answer = told(shop.runtime.grant(reviewer, approval_id, "fine"))
    assert (answer.operation_id, answer.decision.reason) == (None, "permission_denied")


def test_control_a_grant_runs_what_a_good_key_proposed(shop: Shop) -> None:
    agent, reviewer = shop.agent(), shop.person("eve", "ops_operator")
    answer = told(shop.runtime.grant(reviewer, shop.held(agent, ORDER), "fine"))
    assert (answer.decision, answer.operation_id is not None) == (None, True)


# --- roles and names are those of the batch ---


def test_roles_that_were_taken_meanwhile_are_gone(shop: Shop) -> None:
    caller = shop.agent()
    shop.member("ops-agent", "agent", "")
    answer = told(refund(shop, caller))
    assert answer.reason == "permission_denied"
    [record] = [each for each in shop.runtime.timeline(FOUNDER, ORDER) if each["kind"] == "decision_recorded"]
    assert record["data"]["facts"]["roles"] == []


def test_roles_that_were_given_meanwhile_count(shop: Shop) -> None:
    caller = shop.agent(roles="")
    shop.member("ops-agent", "agent", "ops_agent")
    assert told(refund(shop, caller)).executed


def test_roles_that_a_caller_claims_count_for_nothing(shop: Shop) -> None:
    caller = structs.replace(shop.agent(roles=""), roles=("ops_agent", OWNER))
    assert told(refund(shop, caller)).reason == "permission_denied"
    assert code(told(shop.runtime.activate(caller, domain_of(SHOP)))) == "permission_denied"


def test_the_roles_of_a_bound_key_narrow_those_of_its_member(shop: Shop) -> None:
    shop.member("ops-agent", "agent", "ops_agent,reader")
    narrowed = shop.caller(shop.key("ops-agent", "reader,ops_operator"))
    assert narrowed.roles == ("reader",)
    assert told(refund(shop, narrowed)).reason == "permission_denied"


@pytest.mark.parametrize("change", [{"person": "mallory"}, {"type": "service"}, {"name": "The new agent"}])
def test_somebody_who_is_known_differently_by_now_is_told_to_ask_again(shop: Shop, change: dict[str, Any]) -> None:
    caller = shop.agent(person="olive")
    shop.member("ops-agent", **({"type": "agent", "person": "olive", "roles": "ops_agent"} | change))
    size = shop.size
    assert isinstance(told(refund(shop, caller)), AuthorityChanged)
    assert shop.size == size
    assert caller.credential is not None
    assert told(refund(shop, shop.caller(caller.credential))).executed


def test_a_bound_key_acts_as_nobody_else(shop: Shop) -> None:
    caller = shop.agent()
    other = structs.replace(caller, principal=Principal("other-agent", "agent"))
    assert code(told(refund(shop, other))) == "actor_not_key_holder"


# --- a credential that is good for one domain ---


def settle_of(entity: str, action: str) -> Callable[[Shop, Caller], Any]:
    def settle(shop: Shop, caller: Caller) -> Any:
        unbound = shop.agent("other", "ops_agent")
        cleared = told(shop.runtime.propose(unbound, entity=entity, action=action))
        return shop.runtime.settle(caller, cleared.clearance_id, "failed")

    return settle


ABROAD: dict[str, Callable[[Shop, Caller], Any]] = {
    "execute": lambda shop, caller: refund(shop, caller),
    "decide": lambda shop, caller: shop.runtime.propose(caller, entity=ORDER, action="REFUND"),
    "ask": lambda shop, caller: shop.runtime.ask(caller, entity=ORDER, action="REFUND_MUCH"),
    "ingest": lambda shop, caller: shop.runtime.ingest(caller, type="PLACED", entity="order:o_9"),
    "grant": lambda shop, caller: shop.runtime.grant(caller, shop.held(shop.agent(), ORDER), "yes"),
    "deny": lambda shop, caller: shop.runtime.deny(caller, shop.held(shop.agent(), ORDER), "no"),
    "cancel": lambda shop, caller: shop.runtime.cancel(caller, shop.held(shop.agent(), ORDER), "never mind"),
    "settle": settle_of(ORDER, "REFUND"),
    "activate": lambda shop, caller: shop.runtime.activate(caller, domain_of(SHOP)),
    "a member": lambda shop, caller: shop.runtime.establish(caller, Member(TENANT, "x", "agent", None, None, "", True)),
    "a key": lambda shop, caller: shop.runtime.establish(caller, shop.row("owner")),
    "another's key": lambda shop, caller: shop.runtime.revoke(caller, shop.key("owner")),
}
"""Each of them would be served if the key were not limited to `parcels`."""


def everywhere(shop: Shop, domain: str | None) -> Caller:
    shop.member("owner", "human", "tenant_owner,ops_agent,ops_operator,event_source")
    return shop.caller(shop.key("owner", domain=domain))


@pytest.mark.parametrize("command", ABROAD)
def test_a_key_of_one_domain_does_nothing_in_another(shop: Shop, command: str) -> None:
    answer = told(ABROAD[command](shop, everywhere(shop, "parcels")))
    assert isinstance(answer, Forbidden)
    assert answer.message == "this key is good for `parcels` only"


@pytest.mark.parametrize("command", ABROAD)
def test_control_a_key_of_every_domain_does(shop: Shop, command: str) -> None:
    assert not isinstance(told(ABROAD[command](shop, everywhere(shop, None))), Exception)


@pytest.mark.parametrize("command", ["ask", "ingest", "activate", "revoke", "note"])
def test_a_key_of_one_domain_is_good_for_it(shop: Shop, command: str) -> None:
    at_home = ABROAD | {
        "ask": COMMANDS["ask"],
        "ingest": lambda shop, caller: shop.runtime.ingest(caller, type="PACKED", entity="parcel:p_9"),
        "activate": lambda shop, caller: shop.runtime.activate(caller, domain_of(PARCELS)),
        "revoke": COMMANDS["revoke"],
        "note": COMMANDS["note"],
    }
    assert not isinstance(told(at_home[command](shop, everywhere(shop, "parcels"))), Exception)


# --- a credential that is bound to nobody ---


def test_an_unbound_key_that_acts_for_a_person_is_a_service_of_theirs(shop: Shop) -> None:
    shop.member("bob", "human", OWNER, name="Bob")
    caller = shop.caller(shop.key(None, "ops_agent"), "bob")
    assert caller.principal == Principal("bob", "service", "bob", "Bob")
    assert caller.roles == ("ops_agent",), "its own roles, not bob's"
    assert told(refund(shop, caller)).executed


@pytest.mark.parametrize("acting", [None, "bob", "stranger"])
def test_an_unbound_key_never_reviews(shop: Shop, acting: str | None) -> None:
    shop.member("bob", "human", "ops_operator")
    approval_id = shop.held(shop.agent())
    caller = shop.caller(shop.key(None, "ops_operator"), acting)
    answer = told(shop.runtime.grant(caller, approval_id, "yes"))
    assert (code(answer), answer.message) == ("permission_denied", "an approval is answered by a person")


def test_nor_does_the_person_it_acted_for_answer_what_it_proposed(shop: Shop) -> None:
    bob = shop.person("bob", "ops_operator")
    approval_id = shop.held(shop.caller(shop.key(None, "ops_agent"), "bob"))
    assert code(told(shop.runtime.grant(bob, approval_id, "yes"))) == "proposer_is_reviewer"


def test_an_unbound_key_does_not_act_for_a_member_that_was_switched_off(shop: Shop) -> None:
    key = shop.key(None, "ops_agent")
    caller = shop.caller(key, "ops-agent")
    shop.member("ops-agent", "agent", active=False)
    answer = told(refund(shop, caller))
    assert (code(answer), answer.detail["actor_id"]) == ("permission_denied", "ops-agent")


# --- who may change authority ---

ROWS: dict[str, Callable[[Shop], Any]] = {
    "tenant": lambda shop: Tenant(TENANT, "tenant", True, 0),
    "member": lambda shop: Member(TENANT, "x", "agent", None, None, "", True),
    "bound key": lambda shop: shop.row("eve"),
    "unbound key": lambda shop: shop.row(None, "ops_agent"),
}


@pytest.mark.parametrize("row", ROWS)
def test_only_an_owner_of_the_tenant_establishes(shop: Shop, row: str) -> None:
    eve = shop.person("eve", "ops_operator,operator,admin")
    size = shop.size
    answer = told(shop.runtime.establish(eve, ROWS[row](shop)))
    assert (code(answer), answer.detail["missing_roles"]) == ("permission_denied", [OWNER])
    assert shop.size == size
    shop.member("eve", "human", OWNER)
    assert isinstance(told(shop.runtime.establish(eve, ROWS[row](shop))), Established)


@pytest.mark.parametrize("row", ROWS)
def test_nobody_establishes_anything_in_another_tenant(shop: Shop, row: str) -> None:
    embedded = structs.replace(FOUNDER, tenant="zebra")
    shop.member("eve")
    assert code(told(shop.runtime.establish(embedded, ROWS[row](shop)))) == "permission_denied"


def test_a_key_of_one_tenant_establishes_nothing_in_another_where_its_id_is_an_owners(shop: Shop) -> None:
    shop.member("owner", "human", "reader")
    mine = shop.row("owner")
    shop.establish(mine)
    there = structs.replace(FOUNDER, tenant="zebra")
    told(shop.runtime.establish(there, Member("zebra", "owner", "human", None, None, OWNER, True)))
    told(shop.runtime.establish(there, structs.replace(mine, tenant="zebra")))
    mallory = Member("zebra", "mallory", "human", None, None, OWNER, True)
    assert isinstance(told(shop.runtime.establish(shop.caller(mine.id), mallory)), Unauthorized)
    assert shop.store.row(Member, "zebra", "mallory") is None


OPERATORS: dict[str, Callable[[Shop], Any]] = {
    "gives the role to a member": lambda shop: Member(TENANT, "eve", "human", None, None, "operator", True),
    "gives it to a new member": lambda shop: Member(TENANT, "new", "human", None, None, "reader,operator", True),
    "gives it to an unbound key": lambda shop: shop.row(None, "operator"),
    "takes it from a member": lambda shop: Member(TENANT, "root", "human", None, None, "", True),
    "switches an operator off": lambda shop: Member(TENANT, "root", "human", None, None, "operator", False),
    "says who an operator is": lambda shop: Member(TENANT, "root", "human", "eve", None, "operator", True),
    "mints a key for an operator": lambda shop: shop.row("root"),
    "mints a narrowed key for an operator": lambda shop: shop.row("root", "reader"),
}


@pytest.mark.parametrize("change", OPERATORS)
def test_what_concerns_an_operator_takes_an_operator(shop: Shop, change: str) -> None:
    shop.member("eve")
    shop.member("root", "human", "operator")
    owner = shop.person("owner", OWNER)
    size = shop.size
    answer = told(shop.runtime.establish(owner, OPERATORS[change](shop)))
    assert (code(answer), answer.detail["missing_roles"]) == ("permission_denied", ["operator"])
    assert shop.size == size
    shop.member("owner", "human", "tenant_owner,operator")
    assert isinstance(told(shop.runtime.establish(owner, OPERATORS[change](shop))), Established)


def test_a_key_is_for_a_member_that_is_there(shop: Shop) -> None:
    answer = told(shop.runtime.establish(FOUNDER, shop.row("nobody")))
    assert (type(answer), answer.detail) == (NotFound, {"principal": "nobody"})


@pytest.mark.parametrize("after", ["it was minted", "it was revoked"])
def test_the_id_of_a_key_is_given_once(shop: Shop, after: str) -> None:
    shop.member("eve")
    row = shop.row("eve")
    shop.establish(row)
    if after == "it was revoked":
        told(shop.runtime.revoke(FOUNDER, row.id))
    answer = told(shop.runtime.establish(FOUNDER, structs.replace(row, digest=bytes(32))))
    assert (type(answer), answer.detail) == (Conflict, {"key_id": row.id})
    kept = shop.store.row(Credential, TENANT, row.id)
    assert kept is not None
    assert kept.digest == row.digest


@pytest.mark.parametrize("row", [("kiff", None), ("KIFF", None), ("eve", "Kiff")])
def test_nobody_is_called_what_kiff_itself_is_called(shop: Shop, row: tuple[str, str | None]) -> None:
    id, person = row
    answer = told(shop.runtime.establish(FOUNDER, Member(TENANT, id, "human", person, None, "", True)))
    assert isinstance(answer, Conflict)
    assert shop.store.rows(Member, TENANT) == []


def test_who_minted_a_key_is_who_called_whatever_the_row_says(shop: Shop) -> None:
    shop.member("eve")
    row = shop.row("eve", created_by="somebody-else")
    assert isinstance(told(shop.runtime.establish(shop.person("owner", OWNER, person="olive"), row)), Established)
    kept = shop.store.row(Credential, TENANT, row.id)
    assert kept is not None
    assert (kept.created_by, kept.created_at) == ("owner,olive", START)


def test_the_same_row_again_changes_nothing(shop: Shop) -> None:
    row = shop.member("eve", "human", "reader")
    size = shop.size
    assert isinstance(told(shop.runtime.establish(FOUNDER, row)), Established)
    assert shop.size == size


# --- an idempotency key ---


def test_a_key_that_is_asked_for_again_is_minted_once(shop: Shop) -> None:
    shop.member("eve")
    first, second = shop.row("eve"), shop.row("eve")  # each attempt of a client draws its own secret
    minted = shop.establish(first, key="mint-1")
    again = shop.establish(second, key="mint-1")
    assert again == structs.replace(minted, repeated=True)
    assert [row.id for row in shop.store.rows(Credential, TENANT)] == [first.id]
    assert shop.kinds().count("credential_issued") == 1


def test_an_idempotency_key_brings_nobody_elses_answer(shop: Shop) -> None:
    shop.member("bob")
    shop.establish(shop.row("bob"), key="mint-1")
    eve = shop.person("eve")
    answer = told(shop.runtime.establish(eve, shop.row("bob"), key="mint-1"))
    assert code(answer) == "permission_denied"


@pytest.mark.parametrize("row", ROWS)
def test_an_idempotency_key_with_other_content_is_refused(shop: Shop, row: str) -> None:
    shop.member("eve")
    shop.establish(Member(TENANT, "bob", "human", None, None, "", True), key="once")
    assert isinstance(told(shop.runtime.establish(FOUNDER, ROWS[row](shop), key="once")), IdempotencyConflict)


def test_a_request_that_changed_nothing_has_used_its_idempotency_key_too(shop: Shop) -> None:
    row = shop.member("eve", "human", "reader")
    first = shop.establish(row, key="once")
    assert shop.establish(row, key="once") == structs.replace(first, repeated=True)
    other = structs.replace(row, roles="reader,ops_operator")
    assert isinstance(told(shop.runtime.establish(FOUNDER, other, key="once")), IdempotencyConflict)


# --- revoking ---


def test_somebody_elses_key_is_revoked_by_an_owner_only(shop: Shop) -> None:
    eve, bob = shop.person("eve", "ops_operator"), shop.person("bob")
    assert bob.credential is not None
    assert code(told(shop.runtime.revoke(eve, bob.credential))) == "permission_denied"
    assert code(told(shop.runtime.revoke(eve, "key_nobody"))) == "permission_denied", "nor does it say what is there"
    assert told(shop.runtime.revoke(shop.person("owner", OWNER), bob.credential)).id == bob.credential


def test_whoever_holds_a_key_may_revoke_it(shop: Shop) -> None:
    eve = shop.person("eve")
    assert eve.credential is not None
    assert told(shop.runtime.revoke(eve, eve.credential)) == Established(eve.credential, rfc3339(START))


def test_a_key_that_is_not_there_is_not_found_by_an_owner(shop: Shop) -> None:
    answer = told(shop.runtime.revoke(shop.person("owner", OWNER), "key_nobody"))
    assert (type(answer), answer.detail) == (NotFound, {"key_id": "key_nobody"})


def test_revoking_twice_leaves_the_first_time_and_one_record(shop: Shop) -> None:
    eve = shop.person("eve")
    assert eve.credential is not None
    first = told(shop.runtime.revoke(FOUNDER, eve.credential))
    shop.clock.wall += HOUR
    again = told(shop.runtime.revoke(FOUNDER, eve.credential))
    assert again == structs.replace(first, repeated=True)
    assert shop.kinds().count("credential_revoked") == 1


# --- separation of duties ---


def separation(shop: Shop, reviewer: str) -> tuple[Caller, Caller]:
    """An agent that olive owns, whose key max minted, and a reviewer."""
    for id in ("olive", "max", "eve"):
        shop.member(id, "human", "ops_operator")
    shop.member("olive-again", "human", "ops_operator", person="olive")
    agent = shop.agent(person="olive", created_by="max")
    keys = {
        "the agent's owner": ("olive", "olive"),
        "another name of the owner": ("olive-again", "owner"),
        "who minted the agent's key": ("max", "max"),
        "a key that the owner minted": ("eve", "olive"),
        "a key that the agent's minter minted": ("eve", "max"),
        "somebody else": ("eve", "owner"),
        "a key that the process minted": ("eve", "kiff"),
    }
    whose, minted_by = keys[reviewer]
    return agent, shop.caller(shop.key(whose, created_by=minted_by))


REVIEWERS = {
    "the agent's owner": False,
    "another name of the owner": False,
    "who minted the agent's key": False,
    "a key that the owner minted": False,
    "a key that the agent's minter minted": False,
    "somebody else": True,
    "a key that the process minted": True,
}
"""Reviewer -> whether they may answer with separation of duties on. With it off, all of them may."""


@pytest.mark.parametrize("reviewer", REVIEWERS)
@pytest.mark.parametrize("verdict", ["grant", "deny"])
def test_with_separation_on_nobody_behind_an_agent_answers_for_it(shop: Shop, reviewer: str, verdict: str) -> None:
    agent, person = separation(shop, reviewer)
    shop.separate()
    answer = told(getattr(shop.runtime, verdict)(person, shop.held(agent), "looks right"))
    expected = {"grant": "granted", "deny": "denied"}[verdict] if REVIEWERS[reviewer] else "proposer_is_reviewer"
    assert getattr(answer, "status", None) == expected or code(answer) == expected


@pytest.mark.parametrize("reviewer", REVIEWERS)
def test_with_separation_off_a_person_may_answer_for_their_agent(shop: Shop, reviewer: str) -> None:
    agent, person = separation(shop, reviewer)
    assert told(shop.runtime.grant(person, shop.held(agent), "looks right")).status == "granted"


def test_two_keys_that_the_process_minted_are_not_one_persons(shop: Shop) -> None:
    shop.separate()
    agent = shop.agent(person="olive", created_by="kiff")
    shop.member("eve", "human", "ops_operator")
    eve = shop.caller(shop.key("eve", created_by="kiff"))
    assert told(shop.runtime.grant(eve, shop.held(agent), "looks right")).status == "granted"


OWN_KEYS: dict[str, tuple[str, str, bool]] = {
    "their own key": ("bob", "bob", False),
    "their other name's key": ("bob-again", "owner", False),
    "somebody's key that they minted": ("eve", "bob", False),
    "somebody's key that somebody else minted": ("eve", "owner", True),
}


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("reviewer", OWN_KEYS)
def test_what_a_person_proposed_they_answer_by_no_key(shop: Shop, reviewer: str, separate: bool) -> None:
    """With or without separation: by no name, and by no key that they handed out."""
    shop.member("bob-again", "human", "ops_operator", person="bob")
    shop.member("eve", "human", "ops_operator")
    shop.member("bob", "human", "ops_agent,ops_operator")
    bob = shop.caller(shop.key("bob", created_by="bob"))
    if separate:
        shop.separate()
    whose, minted_by, may = OWN_KEYS[reviewer]
    approval_id = shop.held(bob)
    person = bob if whose == "bob" else shop.caller(shop.key(whose, created_by=minted_by))
    answer = told(shop.runtime.grant(person, approval_id, "I say so"))
    assert answer.status == "granted" if may else code(answer) == "proposer_is_reviewer"


@pytest.mark.parametrize(
    ("minter", "may"),
    [("owner", False), ("bob", True), ("bob-again", True), ("a service of bob", False)],
)
def test_with_separation_on_a_persons_key_is_minted_by_themselves(shop: Shop, minter: str, may: bool) -> None:
    shop.member("bob", "human", OWNER)
    callers = {
        "owner": lambda: shop.person("owner", OWNER),
        "bob": lambda: shop.caller(shop.key("bob")),
        "bob-again": lambda: shop.person("bob-again", OWNER, person="bob"),
        "a service of bob": lambda: shop.caller(shop.key(None, OWNER), "bob"),
    }
    caller = callers[minter]()
    shop.separate()
    answer = told(shop.runtime.establish(caller, shop.row("bob")))
    assert isinstance(answer, Established) if may else code(answer) == "permission_denied"


@pytest.mark.parametrize("separate", [False, True])
def test_with_separation_off_or_for_an_agent_an_owner_mints_any_key(shop: Shop, separate: bool) -> None:
    shop.member("bob", "agent" if separate else "human")
    owner = shop.person("owner", OWNER)
    if separate:
        shop.separate()
    assert isinstance(told(shop.runtime.establish(owner, shop.row("bob"))), Established)


# --- taking a question back ---


def test_a_question_is_taken_back_by_whoever_asked_or_by_an_owner(shop: Shop) -> None:
    agent = shop.agent()
    approval_id = shop.held(agent)
    for other in (shop.person("eve", "ops_operator"), shop.agent("other-agent")):
        assert code(told(shop.runtime.cancel(other, approval_id, "never mind"))) == "permission_denied"
    assert shop.kinds(PARCEL)[-2:] == ["review_refused", "review_refused"]
    assert told(shop.runtime.cancel(agent, approval_id, "never mind")).status == "cancelled"
    again = shop.held(agent)
    assert told(shop.runtime.cancel(shop.person("owner", OWNER), again, "not today")).status == "cancelled"


def test_what_was_taken_back_has_ended(shop: Shop) -> None:
    agent, eve = shop.agent(), shop.person("eve", "ops_operator")
    held = told(shop.runtime.execute(agent, entity=PARCEL, action="SEND", id="call-1"))
    told(shop.runtime.cancel(agent, held.approval_id, "never mind"))
    late = told(shop.runtime.grant(eve, held.approval_id, "fine"))
    assert (code(late), late.detail["status"]) == ("approval_decided", "cancelled")
    again = told(shop.runtime.execute(agent, entity=PARCEL, action="SEND", id="call-1", approval_id=held.approval_id))
    assert (again.outcome, again.reason) == ("blocked", "approval_expired")
    named = told(shop.runtime.execute(agent, entity=PARCEL, action="SEND", approval_id=held.approval_id))
    assert named.reason == "approval_expired"


def test_the_end_of_a_question_has_its_record_its_receipt_and_the_calls_final_answer(shop: Shop) -> None:
    agent = shop.agent()
    held = told(shop.runtime.execute(agent, entity=PARCEL, action="SEND", id="call-1"))
    answer = told(shop.runtime.cancel(agent, held.approval_id, "never mind"))
    record = shop.runtime.timeline(FOUNDER, PARCEL)[-1]
    assert (record["kind"], record["actor"]["id"]) == ("approval_cancelled", "ops-agent")
    assert (record["data"]["reason"], record["data"]["receipt"]["id"]) == ("never mind", answer.receipt_id)
    receipt = shop.runtime.read.receipt(answer.receipt_id, tenant=TENANT)
    assert (receipt["decision"], receipt["previous_receipt"]) == ("blocked", held.receipt_id)
    command = shop.store.row(CommandRow, TENANT, "propose:call-1")
    assert command is not None
    assert (command.status, json.decode(command.answer)["receipt_id"]) == ("final", answer.receipt_id)


# --- asking ahead ---


def test_asking_opens_the_approval_and_runs_nothing(shop: Shop) -> None:
    agent = shop.agent()
    asked = told(shop.runtime.ask(agent, entity=ORDER, action="REFUND_MUCH"))
    again = told(shop.runtime.ask(agent, entity=ORDER, action="REFUND_MUCH"))
    assert asked.outcome == again.outcome == "approval_required"
    assert asked.approval_id == again.approval_id
    assert (shop.refunds.made, len(shop.runtime.read.approvals(tenant=TENANT))) == ([], 1)


def test_asking_for_a_call_that_takes_no_approval_clears_nothing(shop: Shop) -> None:
    agent = shop.agent()
    size = shop.size
    assert isinstance(told(shop.runtime.ask(agent, entity=ORDER, action="REFUND")), Conflict)
    assert (shop.size, shop.runtime.read.operations(tenant=TENANT)) == (size, [])


def test_asking_with_a_grant_in_hand_clears_nothing(shop: Shop) -> None:
    agent, eve = shop.agent(), shop.person("eve", "ops_operator")
    asked = told(shop.runtime.ask(agent, entity=PARCEL, action="SEND", id="call-1"))
    told(shop.runtime.grant(eve, asked.approval_id, "fine"))
    again = told(shop.runtime.ask(agent, entity=PARCEL, action="SEND", id="call-1"))
    assert (again.outcome, again.approval_id) == ("approval_required", asked.approval_id)
    assert shop.runtime.read.operations(tenant=TENANT) == []
    done = told(shop.runtime.execute(agent, entity=PARCEL, action="SEND", id="call-1", approval_id=asked.approval_id))
    assert done.executed


# --- what a grant may say besides yes ---


@pytest.mark.parametrize(
    ("until", "use_by"),
    [(START + 60_000, START + 60_000), (START + 24 * HOUR, START + 900_000), (START - 1, START - 1)],
    ids=["sooner", "later than the contract says", "already over"],
)
def test_a_grant_can_only_shorten_its_use(shop: Shop, until: int, use_by: int) -> None:
    agent, eve = shop.agent(), shop.person("eve", "ops_operator")
    approval_id = shop.held(agent)
    answer = told(shop.runtime.grant(eve, approval_id, "fine", expires_at=rfc3339(until)))
    assert answer.use_by == rfc3339(use_by)
    shop.clock.wall = max(use_by, START)
    late = told(shop.runtime.execute(agent, entity=PARCEL, action="SEND", approval_id=approval_id))
    assert (late.outcome, late.reason) == ("blocked", "approval_expired")


def test_a_grant_is_good_until_just_before(shop: Shop) -> None:
    agent, eve = shop.agent(), shop.person("eve", "ops_operator")
    approval_id = shop.held(agent)
    told(shop.runtime.grant(eve, approval_id, "fine", expires_at=rfc3339(START + 60_000)))
    shop.clock.wall = START + 59_999
    assert told(shop.runtime.execute(agent, entity=PARCEL, action="SEND", approval_id=approval_id)).executed


def test_a_time_that_is_none_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="expires_at"):
        shop.runtime.grant(shop.person("eve", "ops_operator"), "appr_1", "fine", expires_at="tomorrow")


def test_the_terms_of_a_grant_are_in_its_record(shop: Shop) -> None:
    agent, eve = shop.agent(), shop.person("eve", "ops_operator")
    terms = {"conditions": ["call the customer"], "evidence": {"ticket": 7.0}}
    told(shop.runtime.grant(eve, shop.held(agent), "fine", terms=terms))
    record = shop.runtime.timeline(FOUNDER, PARCEL)[-1]
    assert (record["kind"], record["data"]["terms"]) == (
        "approval_granted",
        {"conditions": ["call the customer"], "evidence": {"ticket": 7}},
    )


def test_long_terms_stand_beside_the_log_bound_by_their_digest(shop: Shop) -> None:
    agent, eve = shop.agent(), shop.person("eve", "ops_operator")
    told(shop.runtime.grant(eve, shop.held(agent), "fine", terms={"evidence": "x" * 5_000}))
    data = shop.runtime.timeline(FOUNDER, PARCEL)[-1]["data"]
    assert "terms" not in data
    assert data["terms_beside"]["digest"].startswith("sha256:")


def test_without_terms_the_record_says_nothing_of_them(shop: Shop) -> None:
    agent, eve = shop.agent(), shop.person("eve", "ops_operator")
    approval_id = shop.held(agent)
    told(shop.runtime.grant(eve, approval_id, "fine"))
    data = shop.runtime.timeline(FOUNDER, PARCEL)[-1]["data"]
    assert not {"terms", "terms_beside"} & data.keys()
    row = shop.store.row(ApprovalRequest, TENANT, approval_id)
    assert row is not None
    assert (row.status, row.reviewed_by) == ("granted", "eve")
