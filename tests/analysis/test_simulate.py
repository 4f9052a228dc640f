"""History under a draft: the same draft changes nothing, a planted change changes exactly what it must."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec.structs import replace
from simulate_cases import AGENT, HOUR, OWNER, SECOND, START, TILL, Life, Till

from kiff import load
from kiff.analysis.simulate import Draft, Question, Simulated, simulate
from kiff.domain.policy import load_policy
from kiff.protocol.instant import rfc3339
from kiff.protocol.sealed import Sealed
from kiff.runtime.rows import Blob, PolicyVersion

pytestmark = pytest.mark.slow

SIXTY = TILL.replace("amount > 50,", "amount > 60,")


def edited(old: str, new: str, text: str = TILL) -> str:
    assert old in text
    return text.replace(old, new)


def told(simulated: Simulated) -> dict[tuple[str, str, str], int]:
    return {(flip.before, flip.after, flip.reason): flip.decisions for flip in simulated.flips}


def receipts(simulated: Simulated) -> set[str]:
    return {example.receipt_id for flip in simulated.flips for example in flip.examples}


# The same draft


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_domain_that_decided_changes_nothing(seed: int, sequential: bool) -> None:
    print(f"seed {seed}")
    simulated = Life(seed).live(150).simulate(TILL, sequential=sequential)
    assert (simulated.flips, simulated.undecided, simulated.moot, simulated.other_reasons) == ([], 0, 0, 0)
    assert simulated.decisions == simulated.same > 50
    assert (simulated.approvals.added, simulated.approvals.removed) == (0, 0)
    assert simulated.approvals.people_before == simulated.approvals.people_after > 0


def test_control_the_histories_hold_grants_denials_limits_and_lost_answers() -> None:
    outcomes: set[tuple[str, str]] = set()
    for seed in range(6):
        till = Life(seed).live(150)
        outcomes |= {(each.status, "approval") for each in till.runtime.read.approvals()}
        outcomes |= {(each.status, "operation") for each in till.runtime.read.operations()}
        for reason in ("rate_limited", "budget_exceeded", "concurrency_exceeded", "rolling", "permission_denied"):
            if any(f'"code":"{reason}"'.encode() in row.body for row in till.store.records("default", limit=10_000)):
                outcomes.add((reason, "decision"))
    assert outcomes >= {(status, "approval") for status in ("pending", "denied", "expired", "consumed")}
    assert outcomes >= {(status, "operation") for status in ("succeeded", "failed", "unknown", "expired")}
    assert {what for what, kind in outcomes if kind == "decision"} == {
        "rate_limited", "budget_exceeded", "concurrency_exceeded", "rolling", "permission_denied",
    }  # fmt: skip


def test_a_draft_of_another_entity_type_has_no_say() -> None:
    till = Till()
    till.pay(5)
    simulated = till.simulate(edited("entity: Till", "entity: Safe"))
    assert (simulated.decisions, simulated.window.complete) == (0, True)


# A planted change


def test_a_higher_threshold_flips_exactly_the_calls_in_between() -> None:
    till = Till()
    paid = {amount: till.pay(amount).receipt_id for amount in (49.99, 50, 50.01, 55, 60, 60.01, 75)}
    simulated = till.simulate(SIXTY, examples=10)
    assert told(simulated) == {("approval_required", "allowed", "large"): 3}
    assert receipts(simulated) == {paid[50.01], paid[55], paid[60]}
    assert (simulated.new_allows, simulated.approvals.removed, simulated.approvals.added) == (3, 3, 0)


@pytest.mark.parametrize("seed", range(3))
def test_in_any_history_the_flips_of_a_planted_change_are_those_in_between(seed: int) -> None:
    print(f"seed {seed}")
    till = Life(seed).live(120)
    simulated = till.simulate(SIXTY, examples=1000)
    flipped = [each for flip in simulated.flips for each in flip.examples if flip.reason == "large"]
    assert flipped
    assert all(50 < amount_of(till, example.receipt_id) <= 60 for example in flipped)


def amount_of(till: Till, receipt_id: str) -> float:
    receipt = till.store.receipt("default", receipt_id)
    assert receipt is not None
    [row] = till.store.records("default", after=receipt.seq - 1, limit=1)
    amount: float = orjson.loads(row.body)["data"]["proposal"]["parameters"]["amount"]
    return amount


def test_a_lower_threshold_asks_for_people_and_says_what_is_at_stake() -> None:
    till = Till()
    for amount in (49.99, 20.5, 5, 30):
        till.pay(amount)
    till.later(48 * HOUR)
    till.pay(0.01)
    simulated = till.simulate(edited("amount > 50,", "amount > 20,"), minutes=6)
    [flip] = simulated.flips
    assert (flip.action, flip.before, flip.after, flip.reason) == ("PAY", "allowed", "approval_required", "large")
    assert [(each.parameter, each.unit, each.sum) for each in flip.value] == [("amount", "USD", "100.49")]
    asked = simulated.approvals
    assert (asked.added, asked.added_per_day, asked.people_per_day, asked.minutes_per_day) == (3, 1.5, 1.5, 9)


def test_more_people_is_more_time_though_the_outcome_is_the_same() -> None:
    till = Till()
    till.pay(75)
    simulated = till.simulate(
        edited("id: large, when: parameters.amount > 50,", "id: large, quorum: 3, when: parameters.amount > 50,")
    )
    assert (simulated.flips, simulated.approvals.people_before, simulated.approvals.people_after) == ([], 1, 3)


def test_a_window_of_another_schedule_is_opened_by_the_drafts_clock() -> None:
    enforced = edited(", mode: shadow}", "}")
    till = Till()  # 2026-05-28T20:26Z is a Thursday afternoon in New York
    till.pay(5)
    assert till.simulate(enforced).flips == []
    night = edited('hours: "08:00-20:00"', 'hours: "01:00-02:00"', enforced)
    assert told(till.simulate(night)) == {("allowed", "approval_required", "off_hours"): 1}


def test_roles_are_those_that_the_caller_had_with_what_the_draft_gives_them() -> None:
    till = Till()
    till.pay(5)
    narrower = edited("ops_agent: [till.pay]", "ops_agent: []")
    assert told(till.simulate(narrower)) == {("allowed", "blocked", "permission_denied"): 1}


def test_a_sensitive_value_is_opened_to_be_asked_about_and_shown_nowhere() -> None:
    till = Till()
    till.pay(5, secret="bribe money")
    rule = (
        "{id: odd, when: 'has(parameters.for) && parameters.for.contains(\"bribe\")', then: deny}\n      - {id: large"
    )
    simulated = till.simulate(edited("{id: large", rule))
    assert told(simulated) == {("allowed", "blocked", "odd"): 1}
    assert "bribe" not in repr(simulated)


# Grants


def granted(till: Till, amount: float) -> Any:
    held = till.pay(amount)
    till.grant(held.approval_id)
    return till.pay(amount, approval_id=held.approval_id, id=held.proposal_id)


def test_a_grant_still_covers_a_rule_that_is_worded_otherwise() -> None:
    till = Till()
    granted(till, 75)
    assert till.simulate(SIXTY).flips == []


def test_a_grant_covers_nothing_that_was_not_asked_for() -> None:
    till = Till()
    again = granted(till, 75)
    more = edited("{id: large", "{id: fresh, when: parameters.amount > 70, then: require_approval}\n      - {id: large")
    simulated = till.simulate(more)
    assert told(simulated) == {("allowed", "approval_required", "fresh"): 1}
    assert receipts(simulated) == {again.receipt_id}


def test_a_grant_of_one_covers_no_demand_for_two() -> None:
    till = Till()
    granted(till, 75)
    two = edited("id: large, when: parameters.amount > 50,", "id: large, quorum: 2, when: parameters.amount > 50,")
    assert told(till.simulate(two)) == {("allowed", "approval_required", "large"): 1}


def test_what_came_of_an_approval_that_nobody_would_be_asked_for_is_not_compared() -> None:
    till = Till()
    granted(till, 55)
    simulated = till.simulate(SIXTY)
    assert (told(simulated), simulated.moot) == ({("approval_required", "allowed", "large"): 1}, 1)
    assert simulated.decisions == 2


def test_a_denial_that_nobody_would_be_asked_for_blocks_nothing() -> None:
    till = Till()
    till.deny(till.pay(55).approval_id)
    assert till.pay(55).outcome == "blocked"
    simulated = till.simulate(SIXTY)
    assert (simulated.flipped, simulated.moot, simulated.same) == (1, 1, 0)


def test_control_a_denial_that_is_still_asked_for_blocks() -> None:
    till = Till()
    till.deny(till.pay(75).approval_id)
    till.pay(75)
    simulated = till.simulate(SIXTY)
    assert (simulated.flipped, simulated.moot, simulated.same) == (0, 0, 2)


# What cannot be decided again


def test_an_action_that_the_draft_lacks_is_counted_and_shown() -> None:
    till = Till()
    paid = till.pay(5)
    simulated = till.simulate(edited("name: PAY", "name: SPEND"))
    [why] = simulated.undecided_because
    assert (why.why, why.decisions, why.receipts) == ("unknown_action", 1, [paid.receipt_id])
    assert simulated.flips == []


def test_an_erased_value_is_counted_and_not_guessed() -> None:
    till = Till()
    till.pay(5)
    for key, row in till.store._rows.items():
        if isinstance(row, Sealed):
            till.store._rows[key] = Sealed(row.tenant, row.id, row.entity, row.name, b"", None)
    [why] = till.simulate(SIXTY).undecided_because
    assert (why.why, why.decisions) == ("sensitive_erased", 1)


def test_a_proposal_that_is_gone_is_counted() -> None:
    till = Till()
    till.pay(5, evidence={"photo": "p" * 5000})
    for key in [key for key, row in till.store._rows.items() if isinstance(row, Blob)]:
        del till.store._rows[key]
    [why] = till.simulate(SIXTY).undecided_because
    assert (why.why, why.decisions) == ("proposal_missing", 1)


def test_a_decision_that_cannot_be_read_is_counted() -> None:
    till = Till()
    till.pay(5)
    rows = till.store._records["default"]
    rows[:] = [replace(row, body=row.body.replace(b'"outcome":', b'"outc0me":')) for row in rows]
    [why] = till.simulate(SIXTY).undecided_because
    assert (why.why, why.decisions) == ("unreadable", 1)


def test_control_a_proposal_beside_the_log_is_decided_again() -> None:
    till = Till()
    till.pay(55, evidence={"photo": "p" * 5000})
    simulated = till.simulate(SIXTY)
    assert told(simulated) == {("approval_required", "allowed", "large"): 1}
    assert simulated.flips[0].value[0].sum == "55.00"


def test_attributes_that_nobody_recorded_are_not_made_up() -> None:
    plain = edited(
        "  note: {type: string, optional: true}\n",
        "  note: {type: string, optional: true}\n  risk: {type: integer, optional: true}\n",
    )
    bare = TILL[: TILL.index("    rules:")] + TILL[TILL.index("  - name: CLOSE") :]
    till = Till(bare.replace("approval: conditional", "approval: never"))
    till.pay(5)
    [why] = till.simulate(plain).undecided_because
    assert (why.why, why.decisions) == ("attributes_not_recorded", 1)
    assert till.simulate(plain, sequential=True).undecided == 0


# A draft of the policy


POLICY = """
policy: caution-v1
rules:
  - {id: careful, match: {action: [PAY]}, when: parameters.amount > 30, then: require_approval}
"""


def test_a_draft_policy_holds_what_no_contract_holds() -> None:
    till = Till()
    for amount in (5, 30, 30.01, 49):
        till.pay(amount)
    simulated = till.simulate(Draft(None, load_policy(POLICY)))
    assert told(simulated) == {("allowed", "approval_required", "careful"): 2}
    assert (simulated.domain, simulated.policy) == (None, "caution-v1")


def test_a_draft_of_both_is_both() -> None:
    till = Till()
    for amount in (5, 40, 55):
        till.pay(amount)
    draft = Draft(load(SIXTY), load_policy(POLICY))
    simulated = till.simulate(draft)
    assert told(simulated) == {("allowed", "approval_required", "careful"): 1}
    assert simulated.other_reasons == 1  # 55 is held by another rule


def test_the_policy_in_force_still_holds_under_a_draft_of_the_domain() -> None:
    till = Till()
    till.runtime.activate_policy(OWNER, load_policy(POLICY)).result()
    held, free = till.pay(45), till.pay(20)
    assert (held.outcome, free.outcome) == ("approval_required", "allowed")
    assert till.simulate(TILL).flips == []
    lower = edited("amount > 50,", "amount > 10,")
    assert receipts(till.simulate(lower)) == {free.receipt_id}


def test_a_policy_that_cannot_be_had_leaves_decisions_undecided() -> None:
    till = Till()
    till.runtime.activate_policy(OWNER, load_policy(POLICY)).result()
    till.pay(45)
    for key in [key for key, row in till.store._rows.items() if isinstance(row, PolicyVersion)]:
        del till.store._rows[key]
    [why] = till.simulate(TILL).undecided_because
    assert (why.why, why.decisions) == ("version_missing", 1)


# Which decisions


def test_only_decisions_since_an_instant_count() -> None:
    till = Till()
    till.pay(55)
    till.later(24 * HOUR)
    late = till.pay(56)
    simulated = till.simulate(SIXTY, since_ms=START + HOUR)
    assert receipts(simulated) == {late.receipt_id}
    assert simulated.window.since == rfc3339(START + 24 * HOUR)


def test_only_decisions_on_one_action_are_told_about() -> None:
    till = Till()
    till.pay(55)
    till.runtime.execute(AGENT, entity="till:t1", action="CLOSE").result()
    simulated = till.simulate(SIXTY, action="CLOSE")
    assert (simulated.decisions, simulated.flips) == (1, [])


def test_only_the_newest_records_are_read_when_there_is_a_bound() -> None:
    till = Till()
    for _ in range(5):
        till.pay(55)
        till.later(HOUR)
    assert till.simulate(SIXTY, most_records=3).decisions < till.simulate(SIXTY).decisions


def test_reading_ends_when_time_is_up_and_says_so() -> None:
    till = Till()
    till.pay(55)
    simulated = simulate(till.store, Draft(load(SIXTY)), Question(), go_on=lambda records: False)
    assert not simulated.window.complete


# In sequence


def test_in_sequence_a_call_that_would_not_run_moves_nothing() -> None:
    once = edited("- {id: large", "- {id: second, when: entity.paid > 0, then: deny}\n      - {id: large")
    till = Till()
    first, second, third = (till.pay(amount) for amount in (40, 10, 10))
    assert first.outcome == second.outcome == third.outcome == "allowed"
    assert told(till.simulate(once)) == {("allowed", "blocked", "second"): 2}
    stricter = edited("amount > 50,", "amount > 30,", once)
    independent, sequential = till.simulate(stricter), till.simulate(stricter, sequential=True)
    assert told(independent) == {("allowed", "approval_required", "large"): 1, ("allowed", "blocked", "second"): 2}
    assert told(sequential) == {("allowed", "approval_required", "large"): 1, ("allowed", "blocked", "second"): 1}


def test_in_sequence_a_call_that_would_run_moves_what_it_emits() -> None:
    deny = edited("- {id: large", "- {id: odd, when: parameters.amount == 7, then: deny}\n      - {id: large")
    seen = edited("- {id: large", "- {id: seen, when: entity.paid == 7, then: require_approval}\n      - {id: large")
    till = Till(deny)
    assert till.pay(7).outcome == "blocked"
    till.pay(1)
    assert told(till.simulate(seen)) == {("blocked", "allowed", "odd"): 1}
    expected = {("blocked", "allowed", "odd"): 1, ("allowed", "approval_required", "seen"): 1}
    assert told(till.simulate(seen, sequential=True)) == expected


def test_in_sequence_what_ran_after_its_grant_runs_once() -> None:
    till = Till()
    granted(till, 55)
    till.pay(1)
    seen = edited("- {id: large", "- {id: twice, when: entity.paid > 100, then: deny}\n      - {id: large", SIXTY)
    simulated = till.simulate(seen, sequential=True)
    assert told(simulated) == {("approval_required", "allowed", "large"): 1}


def test_in_sequence_a_window_begins_with_what_was_before_it() -> None:
    till = Till()
    for _ in range(3):
        till.pay(40)
    till.later(30 * 24 * HOUR)
    till.pay(1)
    seen = edited("- {id: large", "- {id: much, when: entity.paid >= 120, then: deny}\n      - {id: large")
    since = START + 10 * 24 * HOUR
    assert told(till.simulate(seen, sequential=True, since_ms=since)) == {("allowed", "blocked", "much"): 1}


def test_a_second_yes_is_no_flip() -> None:
    till = Till()
    held = till.pay(700)
    till.grant(held.approval_id)
    till.grant(held.approval_id, SECOND)
    till.pay(700, approval_id=held.approval_id)
    assert till.simulate(TILL).same == 2
