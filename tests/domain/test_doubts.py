"""What works and is probably not meant, of conditions, states, time, actions and roles: one edit, one warning."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from findings_cases import GOVERNED, issues, line_of, said
from test_domain_fuzz import places, replaced

from kiff.domain import check
from kiff.domain.loader import Document, read
from kiff.domain.problems import problems
from kiff.domain.soundness import soundness

RULES = "actions[0].rules"
SENT = "when: entity.sent < 3, set: {sent: entity.sent + 1}}"
DOUBTS = [
    # conditions
    ("parameters.fee <= entity.value", '"true"', ("constant_condition", "actions[0].when")),
    ("entity.weight > 30.5", "1 > 2 || entity.weight > 30.5", None),
    ("parameters.fee > 50", "1 > 2", ("constant_condition", f"{RULES}[0].when")),
    ("parameters.fee > 50", 'now > timestamp("2026-05-24T09:53:55Z")', None),
    ("burst: 2, key: actor.id", "burst: 2, key: '\"all\"'", None),
    ("parameters.fee > 50", 'parameters.code == "x"', ("telling_condition", f"{RULES}[0].when")),
    ("fee <= entity.value", 'code != "" && entity.sent < 9', ("telling_condition", "actions[0].when")),
    # what nothing reads
    ("entity.weight > 30.5", "entity.sent > 30", ("unused_attribute", "attributes.weight")),
    ("entity.weight > 30.5", "has(entity.weight)", None),
    ("NOTED: {note: {", "NOTED: {by: {type: string}, note: {", ("unused_field", "payloads.NOTED.by")),
    ("{office:", "{night: {hours: '22:00-23:00'}, office:", ("unused_schedule", "schedules.night")),
    ("groups: {HERE: [READY]}", "groups: {HERE: [READY], AWAY: [GONE, MISSING]}", ("unused_group", "groups.AWAY")),
    ("final: [GONE, MISSING]", "final: [GONE, MISSING]\n#", None),
    # states and time
    (SENT, f"{SENT}\n  - {{on: LOST, from: GONE, to: READY}}", ("open_end", "final[0]")),
    (SENT, f"{SENT}\n  - {{on: LOST, from: GONE, to: MISSING}}", None),
    ("emit: LOST}]", "emit: LOST}, {in: GONE, after: 1h, emit: SENT}]", ("idle_timeout", "timeouts[1].emit")),
    # guards that say the same in other words
    ("entity.sent >= 3}", "3 > entity.sent}", ("alike_guards", "transitions[2].when")),
    ("entity.sent >= 3}", "entity.sent > 3}", None),
    # what an action leads to
    ("    when: parameters.fee <= entity.value\n", "", ("idle_alternative", "actions[0].otherwise")),
    ("allowed_states: [HERE]", "allowed_states: [GONE]", ("unfit_alternative", "actions[0].otherwise")),
    ("allowed_states: [GONE, MISSING]", "allowed_states: [GONE]", ("unfit_compensation", "actions[0].compensate")),
    # roles
    ("roles: [boss, clerk]}", "roles: [boss, sender]}", ("idle_role", f"{RULES}[0].roles[1]")),
    ("    lock:", "    approval_policy: {quorum: 3}\n    lock:", ("idle_quorum", f"{RULES}[0].quorum")),
    ("[parcels.fetch], when", "[parcels.fetch, a.b], when", ("unused_grant", "permissions.grants[0].permissions[1]")),
    (
        "  grants:",
        "  grants:\n    - {role: sender, permissions: [parcels.keep], when: schedule.office}",
        ("idle_grant", "permissions.grants[0].permissions"),
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), DOUBTS, ids=[new for _, new, _ in DOUBTS])
def test_one_doubt_is_one_warning(old: str, new: str, expected: tuple[str, str] | None) -> None:
    found = issues((old, new))
    assert [(issue.level, issue.code, issue.path) for issue in found] == ([("warning", *expected)] if expected else [])


def test_every_doubt_stands_on_its_line_and_says_what_to_do() -> None:
    [issue] = issues(("entity.sent >= 3}", "3 > entity.sent}"))
    assert issue.line == line_of("  - {on: SENT, from: READY, to: MISSING")
    assert "`entity.sent < 3`" in issue.message
    assert issue.fix


@pytest.mark.parametrize(
    ("text", "answer"),
    [("1 > 2", "always false"), ("'a' in ['a', 'b']", "always true"), ("1 / 0 > 0", "never has a value")],
)
def test_a_constant_condition_says_what_it_always_is(text: str, answer: str) -> None:
    [issue] = issues(("parameters.fee > 50", f'"{text}"'))
    assert answer in issue.message


def test_a_state_that_no_entity_gets_to_has_no_time() -> None:
    lost = (
        ("states: [READY,", "states: [READY, SHELVED,"),
        ("emit: LOST}]", "emit: LOST}, {in: SHELVED, after: 1h, emit: LOST}]"),
    )
    assert [found[1:] for found in said(*lost, level="warning")] == [
        ("unreachable_state", "states[1]"),
        ("dead_timeout", "timeouts[1].in"),
    ]


def test_what_a_broken_expression_may_read_is_not_called_unused() -> None:
    broken = ("entity.weight > 30.5", "entity.wait > 30.5")
    assert said(broken, level="warning") == []


def test_a_grant_makes_a_proposer_of_a_role_that_reviews() -> None:
    grant = ("role: sender, permissions: [parcels.fetch]", "role: clerk, permissions: [parcels.fetch]")
    assert ("shared_duties", "permissions.roles.clerk") in [found[1:] for found in said(grant, level="warning")]


def test_the_annotated_file_has_one_doubt_that_is_meant() -> None:
    text = (Path(__file__).with_name("documents") / "annotated.yaml").read_text("utf-8")
    assert [(issue.level, issue.code, issue.path) for issue in check(text)[1]] == [
        ("warning", "shared_duties", "permissions.roles.admin")
    ]


def test_whatever_a_value_is_replaced_by_findings_are_all_that_happens() -> None:
    """Questions see documents that lost parts: none of them may need what is not there."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed: {seed}")
    chance = random.Random(seed)
    whole = read(GOVERNED).value
    wrong = 0
    for place in chance.sample(places(whole), 150):
        document = Document(replaced(whole, place, chance.choice(KINDS)), {}, [])
        found, left = problems(document)
        doubts = soundness(left, found) if isinstance(left, dict) else []
        wrong += bool(found or doubts)
    assert wrong > 100, "the control: nearly all of these are wrong"


KINDS = (None, True, 7, 1.5, "", "x", "READY", [], [None], [["x"]], [{"a": 1}], {}, {"name": 1}, {"": 1})
