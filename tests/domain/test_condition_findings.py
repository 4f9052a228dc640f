"""Expressions of actions, limits, locks and grants: each is held against what its calls will read."""

from __future__ import annotations

import pytest
from findings_cases import issues, line_of, said

RULES, LIMITS = "actions[0].rules", "actions[0].limits"
GRANT = "permissions.grants[0].when"
WRONG = [
    ("parameters.fee <= entity.value", "parameters.fe <= entity.value", ("unknown_name", "actions[0].when")),
    ("parameters.fee <= entity.value", "parameters.fee", ("type_mismatch", "actions[0].when")),
    ("parameters.fee <= entity.value", "event.value > 1.0", ("unknown_name", "actions[0].when")),
    ("parameters.fee > 50", "parameters.fee > 50.001", ("wrong_unit", f"{RULES}[0].when")),
    ("parameters.fee > 50", "parameters.memo == ''", ("may_be_missing", f"{RULES}[0].when")),
    ("parameters.fee > 50", "entity.state == 'REDY'", ("not_in_enum", f"{RULES}[0].when")),
    ("parameters.fee > 50", "parameters.fee >", ("syntax_error", f"{RULES}[0].when")),
    ("!schedule.office", "!schedule.offce", ("unknown_name", f"{RULES}[2].when")),
    # keys: a text or a whole number, and no secret
    ("burst: 2, key: actor.id", "burst: 2, key: parameters.fee", ("type_mismatch", f"{LIMITS}[0].key")),
    ("burst: 2, key: actor.id", "burst: 2, key: actor.roles", ("type_mismatch", f"{LIMITS}[0].key")),
    ("burst: 2, key: actor.id", "burst: 2, key: parameters.code", ("sensitive_key", f"{LIMITS}[0].key")),
    ("burst: 2, key: actor.id", "burst: 2, key: size(parameters.code)", ("sensitive_key", f"{LIMITS}[0].key")),
    ("lock: {key: actor.id", "lock: {key: schedule.office", ("type_mismatch", "actions[0].lock.key")),
    ("lock: {key: actor.id", "lock: {key: parameters.code", ("sensitive_key", "actions[0].lock.key")),
    # amounts: exact sums
    ("amount: parameters.fee", "amount: entity.weight", ("wrong_unit", f"{LIMITS}[1].amount")),
    ("amount: parameters.fee", "amount: parameters.fee * 0.5", ("wrong_unit", f"{LIMITS}[1].amount")),
    ("amount: parameters.fee", "amount: actor.id", ("type_mismatch", f"{LIMITS}[1].amount")),
    ("amount: parameters.fee", "amount: size(parameters.code)", ("sensitive_key", f"{LIMITS}[1].amount")),
    # grants, over the calls of what they let propose
    ("when: schedule.office", "when: parameters.fee > 5", ("unknown_name", GRANT)),
    ("when: schedule.office", "when: schedule.office &&", ("syntax_error", GRANT)),
]


@pytest.mark.parametrize(("old", "new", "expected"), WRONG, ids=[new for _, new, _ in WRONG])
def test_one_mistake_is_one_error(old: str, new: str, expected: tuple[str, str]) -> None:
    assert [found[1:] for found in said((old, new))] == [expected]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("burst: 2, key: actor.id", "burst: 2, key: entity.version + 1"),
        ("amount: parameters.fee", "amount: parameters.fee * 2"),
        ("when: schedule.office", "when: actor.type == 'human'"),
    ],
)
def test_what_fits_is_left_alone(old: str, new: str) -> None:
    assert said((old, new)) == []


def test_the_place_in_the_expression_is_underlined() -> None:
    [issue] = issues(("parameters.fee > 50", "entity.sent > 0 || parameters.fe > 50"))
    assert (issue.line, issue.fix) == (line_of("id: dear"), "did you mean `fee`?")
    assert issue.excerpt == "entity.sent > 0 || parameters.fe > 50\n                   ^^^^^^^^^^^^^"


def test_every_problem_of_one_expression_is_told() -> None:
    found = said(("parameters.fee > 50", "parameters.fe > 50 || entity.sennt > 0"))
    assert [each[1] for each in found] == ["unknown_name", "unknown_name"]


def test_a_grant_is_held_against_every_action_and_says_which() -> None:
    grant = (
        "permissions: [parcels.fetch], when: schedule.office",
        "permissions: [parcels.fetch, parcels.send], when: %s",
    )
    fee = (grant[0], grant[1] % "parameters.fee > 5")
    [issue] = [each for each in issues(fee) if each.level == "error"]
    assert issue.message == "`parameters` has no field `fee`, when it is asked about `FETCH`"
    wrong_for_both = (grant[0], grant[1] % "parameters.fe > 5")
    assert len(said(wrong_for_both)) == 1, "once, however many actions it is asked about"


def test_a_grant_that_nothing_asks_for_must_be_a_condition_all_the_same() -> None:
    nowhere = ("permissions: [parcels.fetch], when: schedule.office", "permissions: [parcels.keep], when: a.b &&")
    away = ("required_permissions: [parcels.keep]", "required_permissions: [parcels.send]")
    fetch = ("required_permissions: [parcels.fetch]", "required_permissions: [parcels.send]")
    assert [found[1:] for found in said(nowhere, away, fetch)] == [("syntax_error", GRANT)]
    assert said((nowhere[0], nowhere[1].replace(" &&", "")), away, fetch) == []


class TestWhatRestsOnSomethingWrong:
    """One mistake in a schema is told once, and only hides what reads it."""

    TYPO = ("fee: {type: number,", "fee: {type: numbr,")

    def test_conditions_that_read_it_are_left_alone(self) -> None:
        assert [found[1:] for found in said(self.TYPO)] == [("not_one_of", "actions[0].parameters.fee.type")]

    def test_others_are_not(self) -> None:
        found = said(self.TYPO, ("entity.weight > 30.5", "entity.wait > 30.5"))
        assert [each[1:] for each in found] == [
            ("not_one_of", "actions[0].parameters.fee.type"),
            ("unknown_name", f"{RULES}[1].when"),
        ]

    def test_a_schedule_that_is_there_is_a_schedule(self) -> None:
        found = said(("08:00-20:00", "08:00-08:00"), ("!schedule.office", "schedule.office == 1"))
        assert [each[1:] for each in found] == [
            ("malformed", "schedules.office.hours"),
            ("type_mismatch", f"{RULES}[2].when"),
        ]


class TestAttributesWithoutAValue:
    UNSET = (", set: {value: event.value}", "")

    def test_what_is_read_and_never_set_keeps_it_a_draft(self) -> None:
        [issue] = [each for each in issues(self.UNSET) if each.level == "activation"]
        assert (issue.code, issue.path, issue.line) == ("never_set", "attributes.value", line_of("  value: {type"))
        assert "`actions[0].when`" in issue.message

    def test_it_is_told_once(self) -> None:
        assert "unset_attribute" not in {issue.code for issue in issues(self.UNSET)}

    def test_a_default_is_a_value(self) -> None:
        default = ("value: {type: number, unit: USD}\n  sent", "value: {type: number, unit: USD, default: 0}\n  sent")
        assert said(self.UNSET, default, level="activation") == []

    def test_one_that_is_only_asked_about_is_a_doubt(self) -> None:
        note = (", set: {note: event.note}", "")
        assert said(note, level="activation") == []
        assert "unset_attribute" in {issue.code for issue in issues(note)}
