"""A whole version asked beside the one that governs: its answers are recorded, and change nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lane_cases import AGENT, HUMAN, SIGNER, STRIPE, told
from limit_cases import BUDGET, TILL, TRUSTED, SetClock
from msgspec import json

from kiff import Caller, Domain, Principal, Runtime, load, load_policy
from kiff.analysis import replay_store, verify_store
from kiff.errors import Conflict, Forbidden, IdempotencyConflict, InvalidDomain, InvalidInput, NotFound
from kiff.protocol.limit import Usage
from kiff.runtime.ports import Store
from kiff.runtime.rows import ActiveDomain, DomainVersion
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

OWNER = Caller(Principal("ada", "human"), ("tenant_owner",))
FLAT = "{id: daily, kind: budget, max: 1000, per: day, amount: parameters.amount, key: actor.id}"
DENIES = "    rules: [{id: large, when: parameters.amount > 50, then: deny}]"
ASKS = "    rules: [{id: large, when: parameters.amount > 50, then: require_approval}]"


def version(label: str, *, rules: str = "", limit: str = FLAT, approval: str = "never") -> Domain:
    return load(
        (TILL % {"limit": limit, "approval": approval, "rules": rules}).replace("version: v1", f"version: {label}")
    )


class Till:
    """A runtime over one till, where another version may be asked as well."""

    def __init__(self, store: Store | None = None, *domains: Domain) -> None:
        self.clock = SetClock()
        self.store = store or MemoryStore(self.clock)
        paid = {"till.pay": lambda _: {"status": "succeeded"}}
        self.runtime = Runtime(self.store, SIGNER, domains=domains or [version("v1")], executors=paid, clock=self.clock)
        told(self.runtime.ingest(STRIPE, type="OPENED", entity="till:t1"))

    def shadow(self, domain: Domain | None, *, who: Caller = OWNER, **more: Any) -> Any:
        return told(self.runtime.shadow(who, domain, of="till", **more))

    def pay(self, amount: float = 10, **more: Any) -> Any:
        return told(self.runtime.execute(AGENT, entity="till:t1", action="PAY", parameters={"amount": amount}, **more))

    @property
    def active(self) -> ActiveDomain:
        [row] = self.store.rows(ActiveDomain, "default")
        return row

    def records(self, kind: str) -> list[dict[str, Any]]:
        told = (json.decode(row.body) for row in self.store.records("default"))
        return [each for each in told if each["kind"] == kind]

    def said(self) -> Any:
        """What the shadow said to the last call; None when it was not asked."""
        return self.records("decision_recorded")[-1]["data"].get("shadow_decision")


@pytest.fixture
def till() -> Iterator[Till]:
    till = Till()
    yield till
    till.runtime.close()


class TestRefusals:
    @pytest.mark.parametrize("who", [AGENT, HUMAN])
    def test_only_a_tenant_owner_asks_for_one(self, till: Till, who: Caller) -> None:
        for domain in (version("v2"), None):
            assert isinstance(till.shadow(domain, who=who), Forbidden)
        assert till.active.shadow_version is None

    def test_what_governs_is_no_shadow(self, till: Till) -> None:
        assert isinstance(till.shadow(version("v1")), Conflict)

    def test_a_version_name_never_means_other_content(self, till: Till) -> None:
        assert till.shadow(version("v2")).changed
        assert isinstance(till.shadow(version("v2", rules=DENIES)), Conflict)
        assert till.active.shadow_digest == version("v2").digest

    def test_a_draft_is_not_asked(self, till: Till) -> None:
        draft = load("domain: till\nversion: v2\nentity: Till\n")
        assert isinstance(till.shadow(draft), InvalidDomain)
        assert till.store.row(DomainVersion, "default", "till-v2") is None

    def test_a_domain_that_governs_nothing_has_none(self, till: Till) -> None:
        other = load(version("v1").content.replace(b'"Till"', b'"Desk"'))
        for domain, slug in ((other, "till"), (None, "nothing")):
            assert isinstance(told(till.runtime.shadow(OWNER, domain, of=slug)), NotFound)

    def test_to_end_one_names_the_domain(self, till: Till) -> None:
        with pytest.raises(InvalidInput):
            till.runtime.shadow(OWNER, None)

    def test_a_key_is_for_one_request(self, till: Till) -> None:
        first = till.shadow(version("v2"), key="once")
        assert isinstance(till.shadow(None, key="once"), IdempotencyConflict)
        till.shadow(None)
        assert till.shadow(version("v2"), key="once") == first
        assert till.active.shadow_version is None, "it was answered, not carried out"


class TestAsked:
    def test_its_answer_is_recorded_and_decides_nothing(self, till: Till) -> None:
        stricter = version("v2", rules=DENIES)
        answer = till.shadow(stricter)
        assert (answer.version, answer.beside, answer.changed) == ("till-v2", "till-v1", True)
        assert till.pay(60).executed
        assert till.said() == {
            "digest": stricter.digest,
            "outcome": "blocked",
            "reason": "large",
            "version": "till-v2",
        }
        assert till.pay(40).executed
        assert (till.said()["outcome"], till.said()["reason"]) == ("allowed", "allowed")

    def test_it_is_published_and_does_not_govern(self, till: Till) -> None:
        till.shadow(version("v2"))
        assert till.store.row(DomainVersion, "default", "till-v2") is not None
        assert (till.active.version, till.active.shadow_version) == ("till-v1", "till-v2")
        assert [each["data"]["version"] for each in till.records("domain_shadowed")] == ["till-v2"]

    def test_no_one_is_asked_after_it_ends(self, till: Till) -> None:
        till.shadow(version("v2"))
        ended = till.shadow(None)
        assert (ended.version, ended.changed) == (None, True)
        till.pay()
        assert till.said() is None
        assert till.shadow(None).changed is False

    def test_an_activation_ends_it(self, till: Till) -> None:
        till.shadow(version("v2", rules=DENIES))
        told(till.runtime.activate(OWNER, version("v2", rules=DENIES)))
        assert (till.active.version, till.active.shadow_version) == ("till-v2", None)
        assert till.pay(60).reasons[0].code == "large"
        assert till.said() is None

    def test_activating_what_governs_leaves_it(self, till: Till) -> None:
        till.shadow(version("v2"))
        assert told(till.runtime.activate(OWNER, version("v1"), key="again")).changed is False
        assert till.active.shadow_version == "till-v2"

    def test_a_hold_and_a_refusal_are_asked_about_too(self, till: Till) -> None:
        told(till.runtime.activate(OWNER, version("v2", rules=ASKS, approval="conditional")))
        till.shadow(version("v1"))
        held = till.pay(60)
        assert held.outcome == "approval_required"
        assert till.said()["outcome"] == "allowed"
        till.shadow(version("v3", approval="required"))
        assert till.pay(20).executed
        assert (till.said()["outcome"], till.said()["reason"]) == ("approval_required", "approval_required")

    def test_an_action_that_it_dropped_is_unknown_to_it(self, till: Till) -> None:
        text = version("v2").content.replace(b'"PAY"', b'"PAY_OUT"')
        till.shadow(load(text))
        assert till.pay().executed
        assert (till.said()["outcome"], till.said()["reason"]) == ("invalid", "unknown_action")

    def test_it_looks_at_its_limits_and_reserves_nothing(self, till: Till) -> None:
        till.shadow(version("v2", limit=BUDGET.replace("daily", "tight")))
        assert till.pay(60).executed
        assert till.pay(60).executed
        assert till.said()["outcome"] == "allowed", "nothing was ever counted for it"
        assert till.pay(101).executed
        assert till.said()["reason"] == "budget_exceeded"
        assert [row.id.split("/")[1] for row in till.store.rows(Usage, "default")] == ["daily"]

    def test_a_limit_that_both_have_counts_what_the_governing_one_counted(self, till: Till) -> None:
        till.shadow(version("v2", limit=BUDGET))
        assert till.pay(60).executed
        assert till.said()["outcome"] == "allowed"
        assert till.pay(60).executed
        assert till.said()["reason"] == "budget_exceeded"

    def test_the_policy_is_over_it_too(self, till: Till) -> None:
        till.shadow(version("v2"))
        policy = load_policy("policy: house\nrules: [{id: frozen, when: parameters.amount > 50, then: deny}]")
        told(till.runtime.activate_policy(OWNER, policy))
        till.pay(60)
        assert till.said()["reason"] == "frozen"

    def test_what_goes_wrong_in_it_stays_there(self, till: Till) -> None:
        broken = version("v2", rules=DENIES)
        till.shadow(broken)
        compiled = till.runtime._domains[broken.digest]
        object.__setattr__(compiled, "terms", {})
        assert till.pay(60).executed
        assert till.said() == {
            "digest": broken.digest,
            "error": "KeyError",
            "outcome": "blocked",
            "reason": "policy_error",
            "version": "till-v2",
        }

    def test_one_that_is_not_at_hand_is_compiled_when_it_is_asked(self, till: Till) -> None:
        shadow = version("v2", rules=DENIES)
        till.shadow(shadow)
        del till.runtime._domains[shadow.digest]
        assert till.pay(60).executed
        assert till.said()["reason"] == "large"

    def test_it_is_asked_again_after_a_restart(self, tmp_path: Path) -> None:
        first = Till(SqliteStore(tmp_path / "kiff.db"))
        first.shadow(version("v2", rules=DENIES))
        first.runtime.close()
        again = Till(SqliteStore(tmp_path / "kiff.db"), version("v1"))
        again.pay(60)
        assert again.said()["reason"] == "large"
        again.runtime.close()


def lived(seed: int, *, shadowed: bool) -> tuple[list[Any], Till]:
    """The outcomes of one life, which is the same whether or not a shadow is asked."""
    chance = random.Random(seed)
    till = Till(None, version("v1", rules=ASKS, limit=BUDGET, approval="conditional"))
    shadows = (version("v2", rules=DENIES), version("v3", limit=BUDGET), version("v4", approval="required"), None)
    outcomes: list[Any] = []
    for _ in range(40):
        shadow, deed = chance.choice(shadows), chance.random()
        if deed < 0.2 and shadowed:
            till.shadow(shadow)
        waiting = till.runtime.read.approvals(status="pending")
        if 0.2 <= deed < 0.4 and waiting:
            told(till.runtime.grant(HUMAN, waiting[0].id, "fine"))
        if deed >= 0.4:
            answer = till.pay(chance.choice((10, 30, 60, 120)))
            outcomes.append((answer.outcome, [each.code for each in answer.reasons]))
        till.clock.at += chance.choice((0, 1_000, 3_700_000))
    return outcomes, till


@pytest.mark.parametrize("run", range(6))
def test_outcomes_are_those_without_a_shadow(run: int) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed: {seed}")
    with_shadow, till = lived(seed, shadowed=True)
    without, alone = lived(seed, shadowed=False)
    assert with_shadow == without
    assert len({outcome for outcome, _ in without}) > 1, "the control: lives differ within themselves"
    assert [row.state for row in till.store.rows(Usage, "default")] == (
        [row.state for row in alone.store.rows(Usage, "default")]
    )
    till.runtime.close()
    alone.runtime.close()
    assert verify_store(till.store, TRUSTED).problems == ()
    assert replay_store(till.store).problems == ()


def test_a_pointer_to_another_shadow_is_named() -> None:
    till = Till()
    till.shadow(version("v2"))
    till.runtime.close()
    store: Any = till.store
    [key] = [key for key in store._rows if key[0] is ActiveDomain]
    row = till.active
    store._rows[key] = ActiveDomain(row.tenant, row.entity_type, row.domain, row.version, row.digest)
    fields = [(each.where, each.field) for each in verify_store(store, TRUSTED).problems]
    assert fields == [("active domain till", "shadow_version"), ("active domain till", "shadow_digest")]
