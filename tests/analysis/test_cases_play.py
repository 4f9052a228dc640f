"""Cases come out as the kernel decides; what is expected and does not come is a failure, whatever it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from suite_cases import ANNOTATED, DOCUMENTS, DOMAIN, LARGE, SMALL, failures, one, played, suite_of

from kiff.analysis.cases import Library, load_suite
from kiff.analysis.cases.expectation import Difference

WRONG = {
    "outcome": "outcome: blocked",
    "reasons": "reasons: [large]",
    "matched": "matched: [large]",
    "shadow": "shadow: [large]",
    "quorum": "quorum: 1",
    "roles": "roles: [lead]",
    "message": "message: held",
    "error": "error: forbidden",
    "status": "status: failed",
    "state": "state: CLOSED",
    "attributes.refunded": "attributes: {refunded: 21}",
}


@pytest.mark.parametrize("what", WRONG)
def test_control_every_expectation_can_fail(what: str, tmp_path: Path) -> None:
    found = one(tmp_path, f"propose: {SMALL}, expect: {{{WRONG[what]}}}")
    assert [each.what for each in found] == [what]


def test_everything_can_be_as_expected(tmp_path: Path) -> None:
    expected = "outcome: allowed, reasons: [], matched: [], shadow: [], roles: [], status: succeeded"
    assert one(tmp_path, f"propose: {SMALL}, expect: {{{expected}, state: OPEN, attributes: {{refunded: 20}}}}") == []


def test_reasons_are_those_of_the_outcome_in_order(tmp_path: Path) -> None:
    call = "{action: REFUND, as: bot, on: order, parameters: {amount: 121}}"
    expected = "outcome: blocked, reasons: [more_than_left], matched: [large, more_than_left], message: Too much."
    assert one(tmp_path, f"propose: {call}, expect: {{{expected}}}") == []


def test_a_step_that_is_refused_fails_the_case_unless_it_says_so(tmp_path: Path) -> None:
    nobody = "{by: {type: human}}"
    [found] = one(tmp_path, f"propose: {LARGE}, then: [{{grant: {nobody}}}]")
    assert found.what == "error"
    assert str(found.found).startswith("permission_denied: ")
    assert one(tmp_path, f"propose: {LARGE}, then: [{{grant: {nobody}, expect: {{error: permission_denied}}}}]") == []


def test_an_error_that_does_not_come_is_missed(tmp_path: Path) -> None:
    found = one(tmp_path, f"propose: {LARGE}, then: [{{grant: ada, expect: {{error: proposer_is_reviewer}}}}]")
    assert found == [Difference("error", "proposer_is_reviewer", None)]


@pytest.mark.parametrize("code", ["proposer_is_reviewer", "proposer_is_approver"])
def test_both_names_of_that_code_are_understood(code: str, tmp_path: Path) -> None:
    call = LARGE.replace("bot", "ada")
    assert one(tmp_path, f"propose: {call}, then: [{{grant: ada, expect: {{error: {code}}}}}]") == []


def test_nothing_after_the_step_that_fails_is_told(tmp_path: Path) -> None:
    steps = "[{grant: ada, expect: {status: denied}}, {propose: again, expect: {outcome: blocked}}]"
    assert one(tmp_path, f"propose: {LARGE}, then: {steps}") == [Difference("status", "denied", "granted")]


def test_each_case_has_a_world_of_its_own(tmp_path: Path) -> None:
    twice = "".join(
        f"  - {{name: c{n}, propose: {SMALL}, expect: {{attributes: {{refunded: 20}}}}}}\n" for n in range(2)
    )
    assert failures(suite_of(tmp_path, f"cases:\n{twice}")) == {}


def test_a_call_that_is_repeated_runs_once(tmp_path: Path) -> None:
    again = "{propose: again, expect: {outcome: allowed, attributes: {refunded: 20}}}"
    assert one(tmp_path, f"propose: {SMALL}, then: [{again}, {again}]") == []


def test_a_yes_fits_the_call_it_was_given_for_and_no_other(tmp_path: Path) -> None:
    other = LARGE.replace("amount: 60}", "amount: 61}, with_approval: true")
    refused = f"{{propose: {other}, expect: {{outcome: blocked, reasons: [approval_mismatch]}}}}"
    assert one(tmp_path, f"propose: {LARGE}, then: [{{grant: ada}}, {refused}]") == []


def test_a_call_is_repeated_with_its_own_approval_only(tmp_path: Path) -> None:
    other = f"{{propose: {SMALL}}}, {{propose: again, expect: {{outcome: allowed}}}}"
    assert one(tmp_path, f"propose: {LARGE}, then: [{other}]") == []


def test_a_grant_may_run_the_call_at_once(tmp_path: Path) -> None:
    runs = DOMAIN.replace("    limits:\n", "    approval_policy: {on_grant: run}\n    limits:\n")
    steps = "[{grant: ada, expect: {outcome: allowed, status: granted, attributes: {refunded: 60}}}]"
    assert one(tmp_path, f"propose: {LARGE}, then: {steps}", domain=runs) == []
    fails = "[{grant: ada}, {execute: {status: failed}, expect: {status: failed, attributes: {refunded: 0}}}]"
    assert one(tmp_path, f"propose: {LARGE}, then: {fails}", domain=runs) == []


def test_a_pending_question_ends_when_its_time_is_up_and_not_before(tmp_path: Path) -> None:
    late = "{grant: ada, expect: {error: approval_decided}}"
    assert one(tmp_path, f"propose: {LARGE}, then: [{{expire: true}}, {late}]") == []
    assert one(tmp_path, f"propose: {LARGE}, then: [{{wait: 23h}}, {{grant: ada}}]") == []


def test_a_grant_expires_too(tmp_path: Path) -> None:
    late = "{propose: again, expect: {outcome: blocked, reasons: [approval_expired]}}"
    assert one(tmp_path, f"propose: {LARGE}, then: [{{grant: ada}}, {{expire: true}}, {late}]") == []
    assert one(tmp_path, f"propose: {LARGE}, then: [{{grant: ada}}, {{wait: 14m}}, {{propose: again}}]") == []


def test_time_brings_the_events_of_the_state(tmp_path: Path) -> None:
    steps = "[{wait: 71h}, {expect: {state: OPEN}}, {wait: 1h}, {expect: {state: CLOSED}}]"
    assert one(tmp_path, f"propose: {SMALL}, then: {steps}") == []


def test_the_first_call_may_be_at_any_time_and_later_ones_only_later(tmp_path: Path) -> None:
    early = SMALL.replace(" on:", ' at: "2020-01-01T00:00:00Z", on:')
    assert one(tmp_path, f"propose: {early}, expect: {{outcome: allowed}}") == []
    assert one(tmp_path, f"propose: {SMALL}, then: [{{propose: {early}, expect: {{error: invalid}}}}]") == []


def test_an_executor_answers_as_the_next_step_says(tmp_path: Path) -> None:
    failed = "{execute: {status: failed}, expect: {status: failed, attributes: {refunded: 0}}}"
    assert one(tmp_path, f"propose: {SMALL}, expect: {{status: failed}}, then: [{failed}]") == []
    odd = "{execute: {status: succeeded, events: [{type: MONEY_RETURNED, payload: {amount: 7}}]}}"
    assert one(tmp_path, f"propose: {SMALL}, expect: {{attributes: {{refunded: 7}}}}, then: [{odd}]") == []


def test_a_report_of_what_never_ran_fails_the_case(tmp_path: Path) -> None:
    [found] = one(tmp_path, f"propose: {SMALL}, then: [{{propose: {LARGE}}}, {{execute: {{status: failed}}}}]")
    assert str(found.found).startswith("not_found: the last call was not cleared")
    assert one(tmp_path, f"propose: {LARGE}, then: [{{execute: {{status: failed}}}}]")[0].what == "error"


def test_an_unknown_outcome_is_settled_by_a_person(tmp_path: Path) -> None:
    busy = f"{{propose: {SMALL}, expect: {{reasons: [entity_busy]}}}}"
    looked = "{execute: {status: failed, by: BY}, expect: {EXPECT}}"
    steps = f"[{{execute: {{status: unknown}}}}, {busy}, {looked}]"
    by_ada = steps.replace("BY", "ada").replace("EXPECT", "status: failed")
    by_bot = steps.replace("BY", "bot").replace("EXPECT", "error: permission_denied")
    assert one(tmp_path, f"propose: {SMALL}, then: {by_ada}") == []
    assert [each.what for each in one(tmp_path, f"propose: {SMALL}, then: {by_bot}")] == []


def test_what_the_app_runs_is_open_until_it_reports(tmp_path: Path) -> None:
    call = SMALL.replace(" on:", " mode: decide, on:")
    busy = f"{{propose: {SMALL}, expect: {{reasons: [entity_busy]}}}}"
    done = "{execute: {status: succeeded}, expect: {status: succeeded, attributes: {refunded: 20}}}"
    assert one(tmp_path, f"propose: {call}, expect: {{attributes: {{refunded: 0}}}}, then: [{busy}, {done}]") == []


def test_the_app_that_ran_it_reports_whoever_called_last(tmp_path: Path) -> None:
    call, other = SMALL.replace(" on:", " mode: decide, on:"), SMALL.replace("as: bot", "as: ada")
    done = "{execute: {status: succeeded}, expect: {status: succeeded}}"
    assert one(tmp_path, f"propose: {call}, then: [{{propose: {other}}}, {done}]") == []


def test_an_action_without_an_executor_is_run_by_the_app(tmp_path: Path) -> None:
    without = DOMAIN.replace("    executor: payments.refund\n", "")
    assert one(tmp_path, f"propose: {SMALL}, expect: {{outcome: allowed}}", domain=without) == []
    forced = SMALL.replace(" on:", " mode: execute, on:")
    expected = "{outcome: blocked, reasons: [executor_missing]}"
    assert one(tmp_path, f"propose: {forced}, expect: {expected}", domain=without) == []


def test_events_are_brought_by_somebody_who_may(tmp_path: Path) -> None:
    event = "{event: {type: PAID, payload: {total: 80}, on: {id: new}}, expect: {state: OPEN, attributes: {total: 80}}}"
    assert one(tmp_path, f"then: [{event}]") == []
    nobody = DOMAIN.replace("[events.ingest]", "[]")
    assert one(tmp_path, f"then: [{event}]", domain=nobody)[0].what == "error"


def test_an_event_that_leads_nowhere_is_an_error_of_its_own(tmp_path: Path) -> None:
    refused = "{event: {type: PAID, payload: {total: 1}, on: order}, expect: {error: invalid_transition, state: OPEN}}"
    assert one(tmp_path, f"then: [{refused}]") == []


@pytest.mark.parametrize(("used", "outcome"), [(19, "allowed"), (20, "limit_exceeded")])
def test_what_is_used_already_counts_for_the_caller(used: int, outcome: str, tmp_path: Path) -> None:
    given = f"given: {{used: {{per_agent: {used}}}}}"
    assert one(tmp_path, f"{given}, propose: {SMALL}, expect: {{outcome: {outcome}}}") == []
    other = f"{{propose: {SMALL.replace('bot', 'ada')}, expect: {{outcome: allowed}}}}"
    assert one(tmp_path, f"{given}, propose: {SMALL}, then: [{other}]") == []


@pytest.mark.parametrize(("used", "outcome"), [(1, "allowed"), (2, "limit_exceeded")])
def test_places_in_flight_can_be_taken(used: int, outcome: str, tmp_path: Path) -> None:
    assert (
        one(tmp_path, f"given: {{used: {{in_flight: {used}}}}}, propose: {SMALL}, expect: {{outcome: {outcome}}}") == []
    )


def test_an_amount_that_is_none_fails_the_case(tmp_path: Path) -> None:
    [found] = one(tmp_path, f"given: {{used: {{per_agent: 1.5}}}}, propose: {SMALL}")
    assert found.what == "error"


def test_a_busy_entity_is_busy_for_everybody(tmp_path: Path) -> None:
    busy = f"given: {{busy: true}}, propose: {SMALL}, expect: {{outcome: blocked, reasons: [entity_busy]}}"
    assert one(tmp_path, busy) == []
    assert one(tmp_path, busy.replace("true", "false")) != []


def test_a_policy_holds_as_well(tmp_path: Path) -> None:
    policy = "policy: shop\nrules:\n  - {id: not_in_one_go, when: parameters.amount > 10, then: deny}\n"
    (tmp_path / "shop.yaml").write_text(policy, "utf-8")
    case = f"cases:\n  - {{name: it, propose: {SMALL}, expect: {{outcome: blocked, reasons: [not_in_one_go]}}}}\n"
    assert failures(suite_of(tmp_path, f"policy: shop.yaml\n{case}")) == {}
    assert list(failures(suite_of(tmp_path, case))) == ["it"]


def test_a_failure_says_what_the_conditions_came_to(tmp_path: Path) -> None:
    [it] = played(suite_of(tmp_path, f"cases:\n  - {{name: it, propose: {LARGE}, expect: {{outcome: allowed}}}}\n"))
    assert it.failure is not None
    assert it.failure.lines == (
        'outcome  expected "allowed"',
        '         found    "approval_required"',
        "said     a person must approve it: large",
        "from     large: parameters.amount > 50 is true   (parameters.amount = 60)",
        "         per_agent: 0 of 20 used, 1 asked",
        "         in_flight: 0 of 2 used, 1 asked",
    )


def test_sensitive_values_are_not_shown(tmp_path: Path) -> None:
    secret = DOMAIN.replace("maximum: 100000, unit: USD}", "maximum: 100000, unit: USD, sensitive: true}")
    suite = suite_of(
        tmp_path, f"cases:\n  - {{name: it, propose: {LARGE}, expect: {{outcome: allowed}}}}\n", domain=secret
    )
    [it] = played(suite)
    assert it.failure is not None
    assert "60" not in " ".join(it.failure.lines)


def test_the_reference_passes_on_the_annotated_domain(tmp_path: Path) -> None:
    shutil.copy(ANNOTATED, tmp_path / "kiff.yaml")
    shutil.copy(DOCUMENTS / "reference.yaml", tmp_path / "refund_ops_test.yaml")
    suite = load_suite(tmp_path / "refund_ops_test.yaml", Library())
    assert (len(suite.cases), failures(suite)) == (3, {})


def test_the_suite_of_the_annotated_domain_passes() -> None:
    assert failures(load_suite(DOCUMENTS / "annotated_test.yaml", Library())) == {}
