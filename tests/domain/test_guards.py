"""Guards, `set`, attributes, payloads, groups and timeouts: what loads, and what is said about what does not."""

from __future__ import annotations

import pytest

from kiff import Domain, Transition
from kiff.domain import check, load
from kiff.domain.way import Timeout
from kiff.errors import InvalidDomain

TEXT = """\
domain: refunds
entity: Order
attributes:
  total: {type: number, unit: USD}
  refunded: {type: number, default: 0, unit: USD}
  risk: {type: integer, optional: true}
events: [PLACED, PAID, REFUNDED, EXPIRED]
payloads:
  PLACED: {total: {type: number, unit: USD}}
  REFUNDED: {amount: {type: number, unit: USD}, note: {type: string, optional: true}}
states: [CREATED, PAID_UP, PARTLY, DONE]
groups: {OPEN: [PAID_UP, PARTLY]}
final: [DONE]
transitions:
  - {on: PLACED, to: CREATED, set: {total: event.total}}
  - {on: PAID, from: CREATED, to: PAID_UP, set: {risk: entity.version}}
  - {on: REFUNDED, from: OPEN, to: DONE, when: entity.refunded + event.amount >= entity.total}
  - {on: REFUNDED, from: OPEN, to: PARTLY, when: entity.refunded + event.amount < entity.total}
  - {on: EXPIRED, from: CREATED, to: DONE}
timeouts: [{in: CREATED, after: 72h, emit: EXPIRED}]
"""
LESS = "when: entity.refunded + event.amount < entity.total"


def errors(text: str) -> list[tuple[int, str, str]]:
    return [(issue.line, issue.code, issue.path) for issue in check(text)[1] if issue.level == "error"]


def with_change(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


WRONG = [
    # two ways for one event
    (f"PARTLY, {LESS}", "PARTLY", [(18, "ambiguous_transition", "transitions[3]")] * 2),
    (
        LESS,
        "when: entity.refunded + event.amount >= entity.total",
        [(18, "ambiguous_transition", "transitions[3]")] * 2,
    ),
    ("DONE}\ntimeouts", "DONE}\n  - {on: EXPIRED, from: CREATED, to: DONE, set: {refunded: '0.0'}}\ntimeouts", None),
    # what a guard reads, and what it comes to
    ("event.amount <", "event.amont <", [(18, "unknown_name", "transitions[3].when")]),
    (LESS, "when: entity.refunded", [(18, "type_mismatch", "transitions[3].when")]),
    (LESS, "when: event.note == 'x'", [(18, "may_be_missing", "transitions[3].when")]),
    (LESS, "when: entity.risk > 1", [(18, "may_be_missing", "transitions[3].when")]),
    (LESS, "when: schedule.office", [(18, "unknown_name", "transitions[3].when")]),
    (LESS, "when: actor.id == 'x'", [(18, "unknown_name", "transitions[3].when")]),
    (LESS, "when: parameters.amount > 1.0", [(18, "unknown_name", "transitions[3].when")]),
    (LESS, "when: entity.state == 'PAID'", [(18, "not_in_enum", "transitions[3].when")]),
    (LESS, "when: entity.refunded <", [(18, "syntax_error", "transitions[3].when")]),
    (LESS, 'when: ""', [(18, "empty_text", "transitions[3].when")]),
    # the beginning: no state yet, and only attributes with a default
    (
        "to: CREATED, set",
        "to: CREATED, when: entity.state == 'DONE', set",
        [(15, "unknown_name", "transitions[0].when")],
    ),
    ("{total: event.total}}\n  - {on: PAID,", "{total: entity.total}}\n  - {on: PAID,", None),
    # what is set
    ("set: {total:", "set: {totl:", [(15, "unknown_attribute", "transitions[0].set.totl")]),
    ("set: {total: event.total}", "set: {total: \"'x'\"}", [(15, "type_mismatch", "transitions[0].set.total")]),
    ("set: {total: event.total}", "set: {risk: event.total}", [(15, "type_mismatch", "transitions[0].set.risk")]),
    # groups
    ("OPEN: [PAID_UP, PARTLY]", "OPEN: []", [(12, "empty_list", "groups.OPEN")]),
    ("OPEN: [PAID_UP, PARTLY]", "OPEN: [PAID_UP, PARTY]", [(12, "unknown_state", "groups.OPEN[1]")]),
    ("OPEN: [PAID_UP, PARTLY]", "OPEN: [PAID_UP, PAID_UP]", [(12, "duplicate_name", "groups.OPEN[1]")]),
    ("OPEN: [", "MORE: [OPEN], OPEN: [", [(12, "unknown_state", "groups.MORE[0]")]),
    ("OPEN: [", "DONE: [PARTLY], OPEN: [", [(12, "duplicate_name", "groups.DONE")]),
    ("to: PARTLY", "to: OPEN", [(18, "unknown_state", "transitions[3].to")]),
    ("final: [DONE]", "final: [DONE, OPEN, CLOSED]", [(13, "unknown_state", "final[2]")]),
    # timeouts
    ("in: CREATED", "in: CREATD", [(20, "unknown_state", "timeouts[0].in")]),
    ("emit: EXPIRED", "emit: EXPIRD", [(20, "unknown_event", "timeouts[0].emit")]),
    ("emit: EXPIRED", "emit: REFUNDED", [(20, "needs_payload", "timeouts[0].emit")]),
    ("after: 72h", "after: 367d", [(20, "too_long", "timeouts[0].after")]),
    ("EXPIRED}]", "EXPIRED}, {in: CREATED, after: 3d, emit: EXPIRED}]", [(20, "duplicate_name", "timeouts[1]")]),
    # payloads and attributes
    ("  PLACED: {total", "  PLCED: {total", [(9, "unknown_event", "payloads.PLCED")]),
    ("default: 0,", "default: 0.001,", [(5, "bad_schema", "attributes.refunded.default")]),
    ("default: 0,", "default: '0',", [(5, "bad_schema", "attributes.refunded.default")]),
    ("default: 0,", "default: 0, optional: true,", [(5, "bad_schema", "attributes.refunded.optional")]),
    ("default: 0,", "default: 0, sensitive: true,", [(5, "bad_schema", "attributes.refunded.sensitive")]),
    ("unit: USD}\n  refunded", "unit: USX}\n  refunded", [(4, "bad_schema", "attributes.total.unit")]),
    (
        "note: {type: string,",
        "note: {type: string, default: x,",
        [(10, "bad_schema", "payloads.REFUNDED.note.default")],
    ),
    (
        "{type: string, opt",
        "{type: string, sensitive: true, opt",
        [(10, "bad_schema", "payloads.REFUNDED.note.sensitive")],
    ),
    ("  risk:", "  version: {type: integer}\n  risk:", [(6, "reserved_attribute", "attributes.version")]),
]
EXPECTED = {
    "DONE}\ntimeouts": [(20, "ambiguous_transition", "transitions[5]")],
    "{total: event.total}}\n  - {on: PAID,": [(15, "may_be_missing", "transitions[0].set.total")],
}


def test_the_control_loads() -> None:
    assert errors(TEXT) == []


@pytest.mark.parametrize(("old", "new", "expected"), WRONG, ids=[new for _, new, _ in WRONG])
def test_what_is_wrong_is_said_where_it_stands(old: str, new: str, expected: list[tuple[int, str, str]] | None) -> None:
    assert errors(with_change(old, new)) == (EXPECTED[old] if expected is None else expected)


INSIDE = "actions: [{name: A, parameters: {p: {type: array, items: {type: string, %s}}}}]"


@pytest.mark.parametrize("word", ["default: x", "optional: true", "sensitive: true"])
def test_a_word_that_would_do_nothing_is_refused(word: str) -> None:
    where = f"actions[0].parameters.p.items.{word.split(':')[0]}"
    assert errors(INSIDE % word) == [(1, "bad_schema", where)]
    assert errors(INSIDE % "maxLength: 3") == []


def test_a_name_close_to_an_attribute_is_suggested() -> None:
    [issue] = [i for i in check(with_change("set: {total:", "set: {totl:"))[1] if i.level == "error"]
    assert issue.fix == "did you mean `total`?"


def test_nobody_is_sent_after_an_expression_that_reads_what_is_wrong_itself() -> None:
    assert errors(with_change("total: {type: number, unit: USD}\n  ref", "total: {type: numbr, unit: USD}\n  ref")) == [
        (4, "not_one_of", "attributes.total.type")
    ]


def test_a_guard_may_read_what_has_was_asked_about() -> None:
    guarded = "when: has(event.note) && event.note == 'x' && entity.refunded + event.amount < entity.total"
    assert errors(with_change(LESS, guarded)) == []


def warnings(text: str) -> list[tuple[int, str, str]]:
    return [(issue.line, issue.code, issue.path) for issue in check(text)[1] if issue.level == "warning"]


DOUBTS = [
    ("in: CREATED, after: 72h, emit: EXPIRED", "in: OPEN, after: 72h, emit: EXPIRED", "idle_timeout"),
    ("in: CREATED, after: 72h, emit: EXPIRED", "in: CREATED, after: 72h, emit: PAID", None),
    (", set: {risk: entity.version}}", "}", "unset_attribute"),
]


@pytest.mark.parametrize(("old", "new", "code"), DOUBTS, ids=[new for _, new, _ in DOUBTS])
def test_what_works_and_does_nothing_is_a_warning(old: str, new: str, code: str | None) -> None:
    before, after = ({found for _, found, _ in warnings(text)} for text in (TEXT, with_change(old, new)))
    assert after - before == ({code} if code else set())


def test_groups_are_written_out_and_change_nothing_else() -> None:
    spelt = TEXT.replace("groups: {OPEN: [PAID_UP, PARTLY]}\n", "").replace("from: OPEN", "from: [PAID_UP, PARTLY]")
    assert load(TEXT) == load(spelt)
    assert load(TEXT).content == load(spelt).content


def test_a_state_named_beside_its_group_is_there_once() -> None:
    assert errors(with_change("from: OPEN", "from: [OPEN, PARTLY]")) == []
    assert load(with_change("from: OPEN", "from: [OPEN, PARTLY]")) == load(TEXT)


def test_the_table_has_each_way_with_its_guard() -> None:
    domain = load(TEXT)
    ways = domain.transitions["PARTLY", "REFUNDED"]
    assert {way.to: way.when.text for way in ways if way.when} == {
        "DONE": "entity.refunded + event.amount >= entity.total",
        "PARTLY": "entity.refunded + event.amount < entity.total",
    }
    assert [name for name, _ in domain.transitions[None, "PLACED"][0].set] == ["total"]
    assert domain.defaults == {"refunded": 0}
    assert domain.timeouts == {"CREATED": (Timeout("EXPIRED", 72 * 3_600_000),)}


def test_a_timeout_of_a_group_is_one_of_each_state() -> None:
    timed = with_change("in: CREATED, after: 72h, emit: EXPIRED", "in: OPEN, after: 1m, emit: PAID")
    assert load(timed).timeouts == {state: (Timeout("PAID", 60_000),) for state in ("PAID_UP", "PARTLY")}


def test_a_stored_domain_is_the_same_machine() -> None:
    domain = load(TEXT)
    again = Domain.from_content(domain.content)
    assert again == domain
    ends = [[(way.to, way.when and way.when.text) for way in ways] for ways in again.transitions.values()]
    assert ends == [[(way.to, way.when and way.when.text) for way in ways] for ways in domain.transitions.values()]


def test_a_domain_without_any_of_it_keeps_its_digest() -> None:
    """What a stored version is called must never move because the format learnt more."""
    plain = load("domain: x\nentity: Y\nevents: [A]\nstates: [B]\ntransitions: [{on: A, to: B}]\n")
    assert plain.digest == "sha256:36150354485b27557599fe252898e89c6755d789a369274ac1d63ebe7f6daba0"


def test_python_says_the_same_as_the_text() -> None:
    amount = {"type": "number", "unit": "USD"}
    refunded = "entity.refunded + event.amount"
    domain = Domain(
        name="refunds",
        entity="Order",
        events=["PLACED", "PAID", "REFUNDED", "EXPIRED"],
        states=["CREATED", "PAID_UP", "PARTLY", "DONE"],
        final=["DONE"],
        transitions=[
            Transition(on="PLACED", to="CREATED", set={"total": "event.total"}),
            Transition(on="PAID", from_="CREATED", to="PAID_UP", set={"risk": "entity.version"}),
            Transition(on="REFUNDED", from_=("PAID_UP", "PARTLY"), to="DONE", when=f"{refunded} >= entity.total"),
            Transition(on="REFUNDED", from_=("PAID_UP", "PARTLY"), to="PARTLY", when=f"{refunded} < entity.total"),
            Transition(on="EXPIRED", from_="CREATED", to="DONE"),
        ],
        attributes={
            "total": amount,
            "refunded": {**amount, "default": 0},
            "risk": {"type": "integer", "optional": True},
        },
        payloads={
            "PLACED": {"total": amount},
            "REFUNDED": {"amount": amount, "note": {"type": "string", "optional": True}},
        },
        timeouts=[{"in": "CREATED", "after": "72h", "emit": "EXPIRED"}],
    )
    assert domain == load(TEXT)


def test_python_is_told_what_is_wrong_too() -> None:
    with pytest.raises(InvalidDomain) as refused:
        Domain(name="x", entity="Y", transitions=[Transition(on="A", to="B", when="event.size > 1")])
    assert [(issue.code, issue.path) for issue in refused.value.issues if issue.level == "error"] == [
        ("unknown_name", "transitions[0].when")
    ]
