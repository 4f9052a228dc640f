"""A policy in force: who may change it, what it does to decisions and to open approvals, and what tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lane_cases import AGENT, HUMAN, SHOP, SIGNER, STRIPE, shop, told
from limit_cases import TILL, TRUSTED, SetClock
from msgspec import json

from kiff import Caller, Domain, Policy, Principal, Runtime, load, load_policy
from kiff.analysis import replay_store, verify_store
from kiff.errors import Conflict, Forbidden, IdempotencyConflict, InvalidInput, NotFound
from kiff.protocol.limit import Usage
from kiff.runtime.ports import Store
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

OWNER = Caller(Principal("ada", "human"), ("tenant_owner",))
SECOND = Caller(Principal("second-human", "human"), ("ops_operator",))
HOLD = "rules: [{id: large, when: parameters.amount > 50, then: require_approval, match: {domain: till}}]"
DENY = "rules: [{id: frozen, when: 'true', then: deny, match: {domain: till}}]"
TWO = HOLD.replace("require_approval", "require_approval, quorum: 2")


def till(label: str = "v1", *, entity: str = "Till", name: str = "till", limit: str = "") -> Domain:
    text = TILL % {"limit": limit, "approval": "never", "rules": ""}
    text = text.replace("    limits:\n      - \n", "") if not limit else text
    return load(
        text.replace("version: v1", f"version: {label}")
        .replace("Till", entity)
        .replace("domain: till", f"domain: {name}")
    )


def policy(rules: str, label: str = "v1") -> Policy:
    return load_policy(f"policy: house\nversion: {label}\n{rules}\n")


class House:
    """A runtime over two tills of two domains, with a policy to be put over both."""

    def __init__(self, store: Store, clock: SetClock) -> None:
        self.store, self.clock = store, clock
        domains = [till(), till(entity="Desk", name="desk"), shop()]
        executors = {"till.pay": lambda _: {"status": "succeeded"}, "shop.refund": lambda _: {"status": "succeeded"}}
        self.runtime = Runtime(store, SIGNER, domains=domains, executors=executors, clock=self.clock)
        for entity in ("till:t1", "desk:d1"):
            told(self.runtime.ingest(STRIPE, type="OPENED", entity=entity))

    def put(self, rules: str | None, label: str = "v1", **more: Any) -> Any:
        given = None if rules is None else policy(rules, label)
        return told(self.runtime.activate_policy(more.pop("who", OWNER), given, **more))

    def pay(self, amount: float = 10, *, entity: str = "till:t1", who: Caller = AGENT, **more: Any) -> Any:
        return told(self.runtime.execute(who, entity=entity, action="PAY", parameters={"amount": amount}, **more))

    def receipt(self, answer: Any) -> dict[str, Any]:
        return self.runtime.read.receipt(answer.receipt_id)

    def last(self, kind: str) -> dict[str, Any]:
        told = (json.decode(row.body) for row in reversed(self.store.records("default")))
        return next(each for each in told if each["kind"] == kind)

    def is_whole(self) -> bool:
        self.runtime.close()
        return verify_store(self.store, TRUSTED).problems == () and replay_store(self.store).problems == ()


@pytest.fixture
def house() -> Iterator[House]:
    clock = SetClock()
    house = House(MemoryStore(clock), clock)
    yield house
    house.runtime.close()


class TestRefusals:
    @pytest.mark.parametrize("who", [AGENT, HUMAN, Caller(Principal("ada", "human"), ("ops_agent",))])
    def test_only_a_tenant_owner_changes_it(self, house: House, who: Caller) -> None:
        for rules in (HOLD, None):
            answer = house.put(rules, who=who)
            assert isinstance(answer, Forbidden)
            assert answer.code == "permission_denied"
        assert house.runtime.read.policies() == []

    def test_a_version_name_never_means_other_content(self, house: House) -> None:
        assert house.put(HOLD).changed
        answer = house.put(DENY)
        assert isinstance(answer, Conflict)
        assert answer.detail["version"] == "house-v1"
        assert house.runtime.read.policy() == policy(HOLD)

    def test_a_key_is_for_one_request(self, house: House) -> None:
        assert house.put(HOLD, key="once").changed
        assert isinstance(house.put(DENY, "v2", key="once"), IdempotencyConflict)
        assert house.runtime.read.policy() == policy(HOLD)

    def test_a_broken_key_is_refused(self, house: House) -> None:
        with pytest.raises(InvalidInput):
            house.runtime.activate_policy(OWNER, policy(HOLD), key="no key")

    def test_a_version_that_is_not_published_is_not_found(self, house: House) -> None:
        with pytest.raises(NotFound):
            house.runtime.read.policy_version("house-v1")

    def test_without_one_nothing_is_different(self, house: House) -> None:
        answer = house.pay(60)
        assert answer.executed
        core = house.receipt(answer)
        assert (core["policy_version"], core["policy_digest"]) == (None, None)
        assert house.last("decision_recorded")["versions"] == {"domain": "till-v1", "policy": None}


class TestInForce:
    def test_it_holds_what_the_contract_never_asks_about(self, house: House) -> None:
        assert house.pay(60).executed
        house.put(HOLD)
        held = house.pay(60)
        assert (held.outcome, [each.code for each in held.reasons]) == ("approval_required", ["large"])
        assert house.pay(50).executed

    def test_it_is_over_every_domain_that_it_matches(self, house: House) -> None:
        house.put(DENY.replace("match: {domain: till}", "match: {domain: [till, desk]}"))
        assert [house.pay(entity=each).reasons[0].code for each in ("till:t1", "desk:d1")] == ["frozen", "frozen"]
        house.put(DENY, "v2")
        assert house.pay(entity="desk:d1").executed
        assert house.pay().reasons[0].code == "frozen"

    def test_the_next_decision_is_made_without_it_once_it_is_taken_back(self, house: House) -> None:
        house.put(DENY)
        assert house.pay().outcome == "blocked"
        gone = house.put(None)
        assert (gone.policy, gone.version, gone.changed) == (None, None, True)
        assert house.pay().executed
        assert house.runtime.read.policy() is None
        assert [row.version for row in house.runtime.read.policies()] == ["house-v1"], "published versions stay"

    def test_what_holds_already_changes_nothing(self, house: House) -> None:
        house.put(HOLD)
        size = len(house.store.records("default"))
        assert house.put(HOLD).changed is False
        assert len(house.store.records("default")) == size

    def test_a_request_that_is_sent_again_is_answered_and_not_carried_out(self, house: House) -> None:
        first = house.put(HOLD, key="once")
        house.put(None)
        assert house.put(HOLD, key="once") == first
        assert house.runtime.read.policy() is None

    def test_its_limits_count_over_the_domains(self, house: House) -> None:
        house.put(
            "limits: [{id: spent, kind: budget, max: 100, per: day, amount: parameters.amount, match: {action: PAY}}]"
        )
        assert house.pay(60).executed
        over = house.pay(60, entity="desk:d1")
        assert (over.outcome, over.reasons[0].detail["limit"]) == ("limit_exceeded", "spent")
        assert house.pay(40, entity="desk:d1").executed
        assert len(house.store.rows(Usage, "default")) == 1

    def test_its_schedules_are_recorded_and_decide(self, house: House) -> None:
        rules = "rules: [{id: shut, when: '!schedule.office', then: deny, match: {domain: till}}]"
        house.put(f"schedules: {{office: {{hours: '00:00-00:01'}}}}\n{rules}")
        refused = house.pay()
        assert refused.reasons[0].code == "shut"
        assert house.last("decision_recorded")["data"]["facts"]["schedule"] == {"house.office": False}

    def test_a_rule_that_does_not_fit_withholds(self, house: House) -> None:
        house.put("rules: [{id: typo, when: parameters.amuont > 5, then: require_approval, match: {domain: till}}]")
        answer = house.pay()
        assert (answer.outcome, answer.reasons[0].code) == ("blocked", "policy_error")
        assert answer.reasons[0].detail["rule"] == "typo"

    def test_another_tenants_policy_is_nobody_elses(self, house: House) -> None:
        elsewhere = Caller(OWNER.principal, OWNER.roles, "other")
        assert told(house.runtime.activate_policy(elsewhere, policy(DENY))).changed
        assert house.pay().executed


class TestPendingApprovals:
    """They stay, and are decided again under what is in force when they are used."""

    def test_the_change_says_how_many_there_are(self, house: House) -> None:
        house.put(HOLD)
        house.pay(60)
        answer = house.put(DENY, "v2")
        assert answer.pending_approvals == 1
        assert house.last("policy_activated")["data"]["pending_approvals"] == 1
        house.put(None)
        assert house.last("policy_deactivated")["data"]["pending_approvals"] == 1

    def test_an_activation_of_a_domain_counts_its_own(self, house: House) -> None:
        house.put(HOLD)
        house.pay(60)
        assert told(house.runtime.activate(OWNER, till("v2"))).pending_approvals == 1
        assert house.last("domain_activated")["data"]["pending_approvals"] == 1
        second = load(SHOP.replace("version: v1", "version: v2"))
        assert told(house.runtime.activate(OWNER, second)).pending_approvals == 0

    def test_a_stricter_policy_asks_again(self, house: House) -> None:
        house.put(HOLD)
        held = house.pay(60)
        told(house.runtime.grant(HUMAN, held.approval_id, "fine"))
        house.put(TWO, "v2")
        again = house.pay(60, approval_id=held.approval_id)
        assert again.outcome == "approval_required"
        assert again.approval_id != held.approval_id, "its grant was given for one yes"

    def test_a_denying_policy_wins_over_a_grant(self, house: House) -> None:
        house.put(HOLD)
        held = house.pay(60)
        house.put(DENY, "v2")
        told(house.runtime.grant(HUMAN, held.approval_id, "fine"))
        assert house.pay(60, approval_id=held.approval_id).reasons[0].code == "frozen"

    def test_a_grant_of_the_same_demand_is_good_under_the_next_version(self, house: House) -> None:
        house.put(HOLD)
        held = house.pay(60)
        house.put(f"description: other words\n{HOLD}", "v2")
        told(house.runtime.grant(HUMAN, held.approval_id, "fine"))
        assert house.pay(60, approval_id=held.approval_id).executed

    def test_two_people_say_yes_where_the_policy_asks_for_two(self, house: House) -> None:
        house.put(TWO)
        held = house.pay(60)
        told(house.runtime.grant(HUMAN, held.approval_id, "fine"))
        assert house.pay(60, approval_id=held.approval_id).outcome == "approval_required"
        told(house.runtime.grant(SECOND, held.approval_id, "fine"))
        assert house.pay(60, approval_id=held.approval_id).executed


class TestEvidence:
    def test_receipts_and_records_name_the_version_and_the_digest(self, house: House) -> None:
        house.put(HOLD)
        held = house.pay(60)
        core = house.receipt(held)
        assert (core["policy_version"], core["policy_digest"]) == ("house-v1", policy(HOLD).digest)
        assert core["domain_version"] == "till-v1"
        for kind in ("decision_recorded", "approval_required", "policy_activated"):
            assert house.last(kind)["versions"]["policy"] == "house-v1", kind
        assert house.last("event_ingested")["versions"]["policy"] is None, "it has no say in events"

    def test_the_end_of_a_hold_names_what_is_in_force_by_then(self, house: House) -> None:
        house.put(HOLD)
        held = house.pay(60)
        house.put(TWO, "v2")
        denied = told(house.runtime.deny(HUMAN, held.approval_id, "no"))
        core = house.receipt(denied)
        assert (core["policy_version"], core["policy_digest"]) == ("house-v2", policy(TWO, "v2").digest)

    def test_an_expiry_names_it_too(self, house: House) -> None:
        house.put(HOLD)
        held = house.pay(60)
        house.clock.at += 3_600_001
        told(house.runtime.grant(HUMAN, held.approval_id, "late"))
        assert house.last("approval_expired")["versions"]["policy"] == "house-v1"

    def test_history_is_decided_again_under_the_version_of_its_time(self, house: House) -> None:
        house.put(HOLD)
        held = house.pay(60)
        told(house.runtime.grant(HUMAN, held.approval_id, "fine"))
        house.pay(60, approval_id=held.approval_id)
        house.put(DENY, "v2")
        house.pay()
        house.put(None)
        house.pay()
        assert house.is_whole()

    def test_a_version_that_is_gone_is_missed(self, house: House) -> None:
        house.put(HOLD)
        house.pay(60)
        house.runtime.close()
        store: Any = house.store
        store._rows = {key: row for key, row in store._rows.items() if key[2] != "house-v1"}
        problems = [str(each) for each in (*verify_store(store, TRUSTED).problems, *replay_store(store).problems)]
        assert any("policy version house-v1" in each for each in problems)
        assert any("versions.policy" in each for each in problems)

    def test_a_pointer_that_was_moved_is_named(self, house: House) -> None:
        house.put(DENY)
        house.put(HOLD, "v2")
        house.runtime.close()
        store: Any = house.store
        [key] = [key for key in store._rows if key[2] == "policy"]
        first = policy(DENY)
        store._rows[key] = type(store._rows[key])("default", "policy", "house", "house-v1", first.digest)
        assert {each.where for each in verify_store(store, TRUSTED).problems} == {"active policy"}


def test_it_holds_again_after_a_restart(tmp_path: Path) -> None:
    first = House(SqliteStore(tmp_path / "kiff.db"), SetClock())
    first.put(DENY)
    first.runtime.close()
    store = SqliteStore(tmp_path / "kiff.db")
    with Runtime(store, SIGNER, executors={"till.pay": lambda _: {"status": "succeeded"}}) as runtime:
        answer = told(runtime.execute(AGENT, entity="till:t1", action="PAY", parameters={"amount": 1}))
        assert answer.reasons[0].code == "frozen"
        assert runtime._policies.keys() == {policy(DENY).digest}, "it was ready before the first command"


def test_one_that_was_never_compiled_here_is_compiled_when_it_is_met(house: House) -> None:
    house.put(DENY)
    house.runtime._policies.clear()
    assert house.pay().reasons[0].code == "frozen"


def test_a_rehearsal_asks_it_too(house: House) -> None:
    house.put(DENY)
    rehearsal = house.runtime.rehearsal
    command = rehearsal.edge.propose("execute", AGENT, entity="till:t1", action="PAY", parameters={"amount": 1})
    assert rehearsal.take(command).answer.reasons[0].code == "frozen"
