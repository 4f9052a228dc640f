"""Sensitive parameters: the log commits, the vault keeps, the gate and the executor get the value."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from lane_cases import AGENT, SIGNER, Door, Spied
from msgspec import json
from sensitive_cases import CANARY, ORDER, OWNER, REVIEWER, SECRET, Desk, desk, opened

from kiff import Caller, Principal, Runtime, load
from kiff.domain.policy import load_policy
from kiff.errors import (
    DomainChanged,
    Forbidden,
    IdempotencyConflict,
    InvalidDomain,
    InvalidInput,
    KeyUnusable,
    NotFound,
)
from kiff.protocol.sealed import Sealed, commitments
from kiff.runtime.rehearsal import Rehearsal
from kiff.stores.memory import MemoryStore

FORGED = {"commitment": "sha256:" + "0" * 64, "name": "account"}


def body(shop: Desk) -> dict[str, Any]:
    """The parameters of the last recorded proposal."""
    parameters: dict[str, Any] = shop.records("decision_recorded")[-1]["proposal"]["parameters"]
    return parameters


# --- what is refused ---


def test_a_caller_cannot_point_at_what_another_call_holds() -> None:
    """Else a run after a grant would hand the executor somebody else's value."""
    with opened() as shop:
        refused = shop.place().refund(parameters={"account": FORGED})
        assert (type(refused), refused.field) == (InvalidInput, "parameters.account")
        assert "0000" not in refused.message


def test_a_commitment_under_another_name_is_an_ordinary_value() -> None:
    with opened() as shop:
        assert shop.place().refund(parameters={"account": FORGED | {"name": "reason"}}).reason == "invalid_parameter"


def test_without_a_key_that_can_be_trusted_nothing_is_recorded() -> None:
    def broken() -> bytes:
        raise KeyUnusable("the key file is open to other users")

    with opened(vault=broken) as shop:
        assert isinstance(shop.place().refund(), KeyUnusable)
        assert shop.records("decision_recorded") == []


@pytest.mark.parametrize("secret", [b"", b"\x01" * 31])
def test_a_short_secret_is_refused_at_start(secret: bytes) -> None:
    with pytest.raises(InvalidInput):
        Runtime(MemoryStore(), SIGNER, vault=secret)


@pytest.mark.parametrize(
    "place", ["amount: parameters.amount, kind: budget, per: day", "key: parameters.reason, kind: rate, per: 1h"]
)
def test_what_a_limit_counts_or_is_kept_by_is_never_sensitive(place: str) -> None:
    text = desk().content.decode()
    document = json.decode(text)
    refund = document["actions"][1]
    refund["parameters"]["amount"]["sensitive"] = True
    refund["limits"] = [{"id": "cap", "max": 5} | dict(each.split(": ") for each in place.split(", "))]
    with pytest.raises(InvalidDomain) as refused:
        load(json.encode(document).decode())
    assert {issue.code for issue in refused.value.issues} == {"sensitive_key"}


def test_a_policy_that_would_count_by_a_secret_withholds() -> None:
    policy = load_policy("{policy: house-v1, limits: [{id: cap, kind: rate, max: 1, per: 1h, key: parameters.reason}]}")
    with opened() as shop:
        shop.place().runtime.activate_policy(OWNER, policy).result()
        assert shop.refund().reason == "policy_error"
        assert CANARY not in str(shop.runtime.timeline(OWNER, ORDER))


# --- the log commits, the vault keeps ---


def test_the_record_has_the_commitment_and_the_executor_the_value() -> None:
    with opened() as shop:
        assert shop.place().refund(parameters={"account": {"iban": "NL1"}}).executed
        kept = shop.kept()
        assert commitments(body(shop)) == {name: kept[name].id for name in ("account", "reason")}
        assert body(shop)["amount"] == 49
        assert shop.given == [{"amount": 49, "reason": CANARY, "account": {"iban": "NL1"}}]
        assert {row.entity for row in kept.values()} == {ORDER}
        assert all(row.opens for row in kept.values())


def test_rules_read_the_value() -> None:
    with opened() as shop:
        assert shop.place().refund(reason="stolen").reason == "fraud"
        assert shop.given == []


def test_what_is_refused_is_kept_for_whoever_looks_into_it() -> None:
    with opened() as shop:
        assert shop.place().refund(reason="no").reason == "invalid_parameter"
        assert shop.kept()["reason"].value == b'"no"'


@pytest.mark.parametrize(("action", "parameters"), [("REFUND", {"reson": CANARY}), ("REFUNDS", {"amount": 1})])
def test_what_no_contract_knows_may_be_a_misspelt_secret(action: str, parameters: dict[str, Any]) -> None:
    with opened() as shop:
        assert shop.place().refund(action=action, parameters=parameters).outcome == "invalid"
        assert body(shop).keys() - commitments(body(shop)).keys() == ({"amount"} if action == "REFUND" else set())


def test_nor_is_a_misspelt_entity_type_told_in_clear() -> None:
    with opened() as shop:
        assert shop.refund(entity="ordr:o_1").reason == "unknown_entity_type"
        assert {row.entity for row in shop.kept().values()} == {"ordr:o_1"}


def test_an_action_without_marks_is_recorded_as_it_is() -> None:
    with opened() as shop:
        shop.place()
        shop.runtime.propose(AGENT, entity=ORDER, action="NOTE", parameters={"text": "plain"}).result()
        assert body(shop) == {"text": "plain"}
        assert shop.kept() == {}


def test_a_message_about_a_sensitive_object_does_not_name_what_is_in_it() -> None:
    with opened() as shop:
        refused = shop.place().refund(parameters={"account": {CANARY: 1}})
        assert refused.reasons[0].detail["parameter"] == "account"
        assert CANARY not in str(refused)


def test_neither_a_proposal_nor_what_is_sealed_shows_a_value_when_it_is_printed() -> None:
    with opened() as shop:
        command = shop.runtime._edge.propose(
            "execute", AGENT, entity=ORDER, action="REFUND", parameters={"reason": CANARY}
        )
        assert CANARY in str(command.proposal.parameters)
        assert CANARY not in repr(command)


# --- the same call, the same digest ---


def test_a_retry_with_the_same_id_is_known_again() -> None:
    with opened() as shop:
        first = shop.place().refund(id="prop_1")
        assert shop.refund(id="prop_1") == first
        assert isinstance(shop.refund(id="prop_1", reason="another reason"), IdempotencyConflict)
        assert len(shop.given) == 1


def test_a_granted_approval_fits_the_same_value_and_no_other() -> None:
    with opened() as shop:
        held = shop.place().refund(900)
        shop.grant(held.approval_id)
        assert shop.refund(900, "another reason", approval_id=held.approval_id).reason == "approval_mismatch"
        assert shop.refund(900, approval_id=held.approval_id).executed
        assert shop.given == [{"amount": 900, "reason": CANARY}]


@pytest.mark.parametrize("other", [{"entity": "order:o_2"}, {"action": "RUN"}])
def test_the_same_value_in_another_call_has_another_commitment(other: dict[str, str]) -> None:
    with opened() as shop:
        shop.place().place("order:o_2")
        shop.refund(900)
        shop.refund(900, **other)
        assert len({row.id for row in shop.store.rows(Sealed, "default")}) == 2


def test_a_held_call_survives_a_restart_with_the_same_secret_only() -> None:
    store = MemoryStore()
    with opened(store) as shop:
        held = shop.place().refund(900)
        shop.grant(held.approval_id)
    with opened(store, vault=b"\x06" * 32) as stranger:
        assert stranger.refund(900, approval_id=held.approval_id).reason == "approval_mismatch"
    with opened(store) as shop:
        assert shop.refund(900, approval_id=held.approval_id).executed


def test_without_a_secret_one_is_drawn_for_each_process() -> None:
    seen = set()
    for _ in range(2):
        with opened(vault=None) as shop:
            shop.place().refund(900)
            seen.add(shop.kept()["reason"].id)
    assert len(seen) == 2


def test_a_rehearsal_with_the_secret_says_what_the_call_would_come_to() -> None:
    with opened() as shop:
        held = shop.place().refund(900)
        shop.grant(held.approval_id)
        named = {"entity": ORDER, "action": "REFUND", "parameters": {"amount": 900, "reason": CANARY}}
        asked = {"approval_id": held.approval_id}
        for secret, would in ((SECRET, None), (b"\x09" * 32, "approval_mismatch")):
            rehearsal = Rehearsal(shop.store, ("desk.refund",), vault=secret)
            told = rehearsal.take(rehearsal.edge.propose("execute", AGENT, **named, **asked)).answer
            assert (told and told.reason) == would


# --- on_grant: run ---


def test_a_granted_call_runs_with_the_value_it_was_held_with() -> None:
    with opened() as shop:
        held = shop.place().refund(900, action="RUN")
        assert shop.grant(held.approval_id).operation_id is not None
        shop.runtime.close()
        assert shop.given == [{"amount": 900, "reason": CANARY}]


def test_the_approvals_row_has_the_commitment() -> None:
    with opened() as shop:
        held = shop.place().refund(900, action="RUN")
        row = shop.approval(held.approval_id)
        assert commitments(json.decode(row.proposal)["parameters"]) == {"reason": shop.kept()["reason"].id}


def test_a_value_that_was_erased_meanwhile_withholds_with_a_reason() -> None:
    with opened() as shop:
        held = shop.place().refund(900, action="RUN")
        shop.runtime.erase(OWNER, ORDER).result()
        told = shop.grant(held.approval_id)
        assert (told.operation_id, told.decision.reason) == (None, "sensitive_erased")
        assert told.decision.reasons[0].detail == {"parameters": ["reason"]}
        assert shop.records("decision_recorded")[-1]["facts"]["erased"] == ["reason"]
        assert (shop.given, shop.kept()["reason"].value) == ([], None)


# --- a domain that changes meanwhile ---


def activate_behind(shop: Desk, door: Door, spied: Spied, marked: bool) -> tuple[Any, Any]:
    """A call that was drawn up before an activation, and is stepped after it."""
    spied.before = door
    first = threading.Thread(target=shop.place, args=("order:o_9",))
    first.start()
    door.wait_for_someone()
    activated = shop.runtime.activate(OWNER, desk("v2", marked=marked))
    stale = shop.runtime.execute(AGENT, entity=ORDER, action="REFUND", parameters={"amount": 49, "reason": CANARY})
    spied.before = lambda batch: None
    door.open()
    first.join()
    activated.result(20)
    return stale, activated


@pytest.mark.parametrize("marked", [True, False], ids=["marks come", "marks go"])
def test_a_call_that_was_sealed_for_another_version_is_recorded_nowhere(marked: bool) -> None:
    spied = Spied()
    with opened(spied, domains=[desk("v1", marked=not marked)]) as shop:
        shop.place()
        stale, _ = activate_behind(shop, Door(), spied, marked)
        with pytest.raises(DomainChanged):
            stale.result(20)
        assert (shop.records("decision_recorded"), shop.kept(), shop.given) == ([], {}, [])
        assert shop.refund().executed  # asked again, it is sealed as the new version says
        assert ("reason" in commitments(body(shop))) == marked


# --- erasing ---


def test_only_an_owner_erases() -> None:
    with opened() as shop:
        shop.place().refund()
        for who in (AGENT, REVIEWER):
            with pytest.raises(Forbidden):
                shop.runtime.erase(who, ORDER).result()
        assert shop.kept()["reason"].opens


def test_another_tenants_owner_finds_nothing() -> None:
    with opened() as shop:
        shop.place().refund()
        stranger = Caller(Principal("eve", "human"), ("tenant_owner",), "other")
        with pytest.raises(NotFound):
            shop.runtime.erase(stranger, shop.kept()["reason"].id).result()
        assert shop.runtime.erase(stranger, ORDER).result().commitments == ()
        assert shop.kept()["reason"].opens


def test_what_is_neither_a_commitment_nor_an_entity_is_refused() -> None:
    with opened() as shop, pytest.raises(InvalidInput):
        shop.runtime.erase(OWNER, "sha256")


def test_an_erased_value_leaves_value_and_salt_and_a_record_with_commitments() -> None:
    with opened() as shop:
        shop.place().refund(900, parameters={"account": {"iban": "NL1"}})
        ids = {row.id for row in shop.kept().values()}
        told = shop.runtime.erase(OWNER, ORDER).result()
        assert (set(told.commitments), told.more) == (ids, False)
        assert {(row.value, row.salt) for row in shop.kept().values()} == {(None, b"")}
        [erased] = shop.records("sensitive_erased")
        assert set(erased["commitments"]) == ids


def test_one_value_is_erased_by_its_commitment_once() -> None:
    with opened() as shop:
        shop.place().refund(900, parameters={"account": {"iban": "NL1"}})
        kept = shop.kept()
        assert shop.runtime.erase(OWNER, kept["reason"].id).result().commitments == (kept["reason"].id,)
        assert shop.runtime.erase(OWNER, kept["reason"].id).result().commitments == ()
        assert len(shop.records("sensitive_erased")) == 1
        assert shop.kept()["account"] == kept["account"]


def test_many_values_are_told_in_several_small_records() -> None:
    with opened() as shop:
        shop.place()
        for number in range(45):
            shop.refund(900, f"reason {number:03d}")
        assert len(shop.runtime.erase(OWNER, ORDER).result().commitments) == 45
        assert sorted(len(each["commitments"]) for each in shop.records("sensitive_erased")) == [5, 40]


def test_a_value_that_is_sent_again_is_kept_again() -> None:
    """The caller has it, and asks for something new with it."""
    with opened() as shop:
        shop.place().refund(900)
        before = shop.kept()["reason"]
        shop.runtime.erase(OWNER, before.id).result()
        shop.refund(900)
        assert shop.kept()["reason"] == before
