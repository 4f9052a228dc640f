"""Rules, limits, roles and what actions name: what keeps a domain from loading, or from governing."""

from __future__ import annotations

import pytest
from findings_cases import GOVERNED, issues, line_of, said

from kiff.domain import check

LIMITS, RULES, POLICY = "actions[0].limits", "actions[0].rules", "actions[0].approval_policy"
CALLS = "id: calls, kind: rate, max: 5, per: 1h, burst: 2"
FEES = "max: 500, per: day, timezone: Etc/UTC, amount: parameters.fee"
APART = "separate: [[parcels.send, parcels.approve]]"
WRONG = [
    # ids are the reasons on receipts
    ("id: heavy", "id: dear", ("duplicate_name", f"{RULES}[1].id")),
    ("id: running", "id: heavy", ("duplicate_name", f"{LIMITS}[2].id")),
    ("id: heavy", "id: entity_busy", ("reserved_rule_id", f"{RULES}[1].id")),
    ("id: calls", "id: rate_limited", ("reserved_rule_id", f"{LIMITS}[0].id")),
    ("id: heavy", "id: when", ("reserved_rule_id", f"{RULES}[1].id")),
    # what a rule says for nothing, or against its contract
    ("30.5, then: deny", "30.5, then: deny, quorum: 2", ("bad_rule", f"{RULES}[1].quorum")),
    ("30.5, then: deny", "30.5, then: deny, roles: [boss]", ("bad_rule", f"{RULES}[1].roles")),
    # roles
    ("[boss, clerk]}", "[boss, clerc]}", ("unknown_role", f"{RULES}[0].roles[1]")),
    ("[boss, clerk]}", "[boss, boss]}", ("duplicate_name", f"{RULES}[0].roles[1]")),
    ("role: sender", "role: sendr", ("unknown_role", "permissions.grants[0].role")),
    (
        APART,
        "separate: [[parcels.send]]",
        ("too_few", "permissions.separate[0]"),
    ),
    (
        APART,
        "separate: [[parcels.send, parcels.aprove]]",
        ("unknown_permission", "permissions.separate[0][1]"),
    ),
    (
        APART,
        "separate: [[parcels.send, parcels.keep]]",
        ("separate_violated", "permissions.separate[0]"),
    ),
    (
        APART,
        "separate: [[parcels.send, parcels.fetch]]",
        ("separate_violated", "permissions.separate[0]"),
    ),
    # what an action leads to
    ("otherwise: KEEP", "otherwise: KEP", ("unknown_action", "actions[0].otherwise")),
    ("compensate: FETCH", "compensate: SEND", ("names_itself", "actions[0].compensate")),
    # limits
    (CALLS, "id: calls, kind: rate, max: 5", ("missing_key", f"{LIMITS}[0].per")),
    (CALLS, "id: calls, kind: rate, max: 5, per: day", ("bad_limit", f"{LIMITS}[0].per")),
    (CALLS, "id: calls, kind: rate, max: 2.5, per: 1h", ("bad_limit", f"{LIMITS}[0].max")),
    (CALLS, "id: calls, kind: rate, max: 5, per: 1h, timezone: UTC", ("bad_limit", f"{LIMITS}[0].timezone")),
    (CALLS, "id: calls, kind: rate, max: 5, per: 1h, amount: parameters.fee", ("bad_limit", f"{LIMITS}[0].amount")),
    ("concurrency, max: 2,", "concurrency, max: 2, per: 1h,", ("bad_limit", f"{LIMITS}[2].per")),
    ("concurrency, max: 2,", "concurrency, max: 2, burst: 1,", ("bad_limit", f"{LIMITS}[2].burst")),
    (f"fees, kind: budget, {FEES}", f"fee, kind: budget, {FEES[:-24]}", ("missing_key", f"{LIMITS}[1].amount")),
    (
        f"id: fees, kind: budget, {FEES}",
        f"id: fee, kind: budget, max: 0.001{FEES[8:]}",
        ("bad_limit", f"{LIMITS}[1].max"),
    ),
    (
        f"id: fees, kind: budget, {FEES}",
        "id: fee, kind: budget, max: 5, per: 2h, timezone: UTC, amount: parameters.fee",
        ("bad_limit", f"{LIMITS}[1].timezone"),
    ),
    (
        f"id: fees, kind: budget, {FEES}",
        "id: fee, kind: budget, max: 5, per: day, timezone: Europe/Lisbn, amount: parameters.fee",
        ("unknown_timezone", f"{LIMITS}[1].timezone"),
    ),
    (FEES, FEES.replace("500", "600"), ("limit_conflict", "actions[1].limits[0].max")),
    (FEES, FEES.replace("day", "week"), ("limit_conflict", "actions[1].limits[0].per")),
    (FEES, f"{FEES}, key: actor.id", ("limit_conflict", "actions[1].limits[0].key")),
    # time
    ("08:00-20:00", "08:00-08:00", ("malformed", "schedules.office.hours")),
    ("days: [mon, tue]", "days: [mon, mon]", ("duplicate_name", "schedules.office.days[1]")),
    ("ttl: 30s", "ttl: 400d", ("too_long", "actions[0].lock.ttl")),
]


def test_there_is_nothing_to_say_about_the_control() -> None:
    assert check(GOVERNED)[1] == ()


@pytest.mark.parametrize(("old", "new", "expected"), WRONG, ids=[new for _, new, _ in WRONG])
def test_one_mistake_is_one_error(old: str, new: str, expected: tuple[str, str]) -> None:
    assert [found[1:] for found in said((old, new))] == [expected]


def test_an_error_stands_on_its_line_and_says_what_to_do() -> None:
    [issue] = [each for each in issues(("[boss, clerk]}", "[boss, clerc]}")) if each.level == "error"]
    assert (issue.line, issue.fix) == (line_of("id: dear"), "did you mean `clerk`?")


def test_a_conflict_says_what_the_other_one_says() -> None:
    [issue] = [each for each in issues((FEES, FEES.replace("500", "600"))) if each.level == "error"]
    assert issue.message == "`fees` counts together with that of `SEND`, which says `max: 600`, not `max: 500`"


def test_amounts_and_what_is_over_may_differ_under_one_id() -> None:
    assert said(("amount: entity.value", "amount: entity.value, over: deny")) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("then: require_approval, quorum", "then: require_approval, quorum", f"{RULES}[0].then"),
        ("over: require_approval", "over: require_approval", f"{LIMITS}[1].over"),
    ],
)
def test_nobody_is_asked_where_the_contract_says_never(old: str, new: str, path: str) -> None:
    found = said(("approval: conditional", "approval: never"), (old, new))
    assert ("never_but_asks", path) in [each[1:] for each in found]


def test_a_rule_on_trial_does_not_ask() -> None:
    quiet = (", over: require_approval", ""), ("then: require_approval, quorum: 2, roles: [boss, clerk]", "then: deny")
    assert said(("approval: conditional", "approval: never"), *quiet) == []
    assert [found[1:] for found in said(*quiet, level="activation")] == [("no_asking_rule", "actions[0].approval")]


def test_a_limit_that_asks_is_enough() -> None:
    assert said(("then: require_approval, quorum: 2, roles: [boss, clerk]", "then: deny"), level="activation") == []


def test_a_rule_that_lost_its_part_may_have_asked() -> None:
    broken = ("then: require_approval, quorum: 2, roles: [boss, clerk]", "then: require_aproval")
    assert said(broken, (", over: require_approval", ""), level="activation") == []


def test_evidence_that_nobody_can_bring_keeps_it_a_draft() -> None:
    found = said(("    lock:", "    approval_policy: {evidence: passkey}\n    lock:"), level="activation")
    assert [each[1:] for each in found] == [("not_supported_yet", f"{POLICY}.evidence")]


UNHELD = [
    (", parcels.keep]", "]", ("nobody_can_propose", "actions[1].required_permissions[0]")),
    ("[parcels.fetch], when", "[parcels.send], when", ("nobody_can_propose", "actions[2].required_permissions[0]")),
    ("roles: [boss, clerk]}", "roles: [sender, scanner]}", ("nobody_can_approve", f"{RULES}[0].roles")),
]


@pytest.mark.parametrize(("old", "new", "expected"), UNHELD, ids=[new for _, new, _ in UNHELD])
def test_what_no_role_holds_keeps_it_a_draft(old: str, new: str, expected: tuple[str, str]) -> None:
    assert [found[1:] for found in said((old, new), level="activation")] == [expected]


def test_what_is_kept_apart_cannot_be_asked_of_one_caller_or_reviewer() -> None:
    apart = ("separate: [[parcels.send, parcels.approve]]", "separate: [[parcels.send, records.read]]")
    both = ("required_permissions: [parcels.send]", "required_permissions: [parcels.send, records.read]")
    found = [
        each[1:]
        for each in said(apart, both, ("scanner: [events", "scanner: [records.read, events"), level="activation")
    ]
    assert ("nobody_can_propose", "actions[0].required_permissions") in found
    review = ("    lock:", "    approval_policy: {permissions: [parcels.approve, parcels.send]}\n    lock:")
    assert ("nobody_can_approve", "actions[0].approval") in [each[1:] for each in said(review, level="activation")]


def test_an_unknown_role_is_not_said_to_lack_something_too() -> None:
    assert said(("roles: [boss, clerk]}", "roles: [clerc]}"), level="activation") == []


def test_a_role_that_reviews_is_enough_for_its_rule() -> None:
    assert said(("roles: [boss, clerk]}", "roles: [sender, boss]}"), level="activation") == []


def test_a_draft_without_roles_is_told_nothing_about_them() -> None:
    text = GOVERNED[: GOVERNED.index("permissions:\n  roles")]
    assert not {"unknown_role", "unknown_permission"} & {issue.code for issue in check(text)[1]}
