"""What a domain that could govern says that its author may not mean. A class per question, each with its control."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kiff.domain import Issue, check, load

SOUND = """\
domain: parcels
entity: Parcel
events: [PACKED, SENT, LOST, WEIGHED]
states: [READY, SENT_OFF, GONE]
final: [SENT_OFF, GONE]
transitions:
  - {on: PACKED, to: READY}
  - {on: SENT, from: READY, to: SENT_OFF}
  - {on: LOST, from: [READY, SENT_OFF], to: GONE}
  - {on: WEIGHED, from: READY}
actions:
  - name: SEND
    allowed_states: [READY]
    required_parameters: [carrier]
    required_permissions: [parcels.send]
    risk: high
    approval: required
    executor: post.send
    emits: {success: [SENT], failure: [LOST]}
    parameters: {carrier: {type: string}}
permissions:
  roles:
    sender: [parcels.send]
    reviewer: [parcels.approve]
    scanner: [events.ingest]
"""
BROKEN = Path(__file__).with_name("broken.yaml")


def issues(*edits: tuple[str, str], text: str = SOUND, executors: list[str] | None = None) -> list[Issue]:
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return list(check(text, executors=executors)[1])


def said(*edits: tuple[str, str], code: str, text: str = SOUND) -> list[tuple[int, str, str]]:
    """(line, path, message) of every finding of this code."""
    return [(i.line, i.path, i.message) for i in issues(*edits, text=text) if i.code == code]


def test_a_sound_domain_has_nothing_said_about_it() -> None:
    assert issues() == []


class TestWhatAWarningIs:
    DOUBTFUL = ("approval: required", "approval: never")

    def test_it_keeps_a_domain_from_nothing(self) -> None:
        domain, found = check(SOUND.replace(*self.DOUBTFUL))
        assert domain is not None
        assert ([issue.level for issue in found], domain.activation_issues) == (["warning"], ())

    def test_load_does_not_ask(self) -> None:
        assert load(SOUND.replace(*self.DOUBTFUL)).activation_issues == ()

    def test_it_stands_beside_the_errors_in_document_order(self) -> None:
        found = issues(self.DOUBTFUL, ("[parcels.approve]", "[parcels.approve, parcels.approve]"))
        assert [(issue.line, issue.level) for issue in found] == [(17, "warning"), (24, "error")]

    def test_every_one_says_what_to_do(self) -> None:
        found = check(BROKEN.read_text())[1]
        assert all(issue.fix for issue in found if issue.level != "error")


class TestUnreachableStates:
    def test_a_state_without_a_way_into_it(self) -> None:
        found = said(("GONE]\nfinal", "GONE, SHELVED]\nfinal"), code="unreachable_state")
        assert found == [(4, "states[3]", "no transition leads to `SHELVED`")]

    def test_a_state_behind_it_names_what_is_before(self) -> None:
        edits = (
            ("GONE]\nfinal", "GONE, A, B]\nfinal"),
            ("  - {on: WEIGHED", "  - {on: SENT, from: A, to: B}\n  - {on: WEIGHED"),
        )
        assert [path for _, path, _ in said(*edits, code="unreachable_state")] == ["states[3]", "states[4]"]
        assert said(*edits, code="unreachable_state")[1][2] == "`B` is only reached from `A`, where no entity gets"

    def test_a_way_into_itself_is_none(self) -> None:
        edits = (("GONE]\nfinal", "GONE, A]\nfinal"), ("  - {on: WEIGHED", "  - {on: LOST, from: A}\n  - {on: WEIGHED"))
        assert [message for *_, message in said(*edits, code="unreachable_state")] == ["no transition leads to `A`"]

    def test_without_a_beginning_nothing_is_said_twice(self) -> None:
        found = issues(("  - {on: PACKED, to: READY}\n", ""))
        assert {issue.code for issue in found} == {"no_initial_transition", "unused_event"}


class TestDeadActions:
    SHELVED = (("GONE]\nfinal", "GONE, SHELVED]\nfinal"), ("allowed_states: [READY]", "allowed_states: [SHELVED]"))

    def test_no_allowed_state_is_reached(self) -> None:
        [(line, path, message)] = said(*self.SHELVED, code="dead_action")
        assert (line, path) == (13, "actions[0].allowed_states")
        assert message == "`SEND` can never run: no entity gets to `SHELVED`"

    def test_one_that_is_reached_is_enough(self) -> None:
        edits = (self.SHELVED[0], ("allowed_states: [READY]", "allowed_states: [READY, SHELVED]"))
        assert said(*edits, code="dead_action") == []


class TestTraps:
    def test_nothing_leads_on_and_it_is_not_final(self) -> None:
        [(line, path, message)] = said(("final: [SENT_OFF, GONE]", "final: [SENT_OFF]"), code="trap")
        assert (line, path) == (4, "states[2]")
        assert "`GONE`" in message

    def test_without_final_every_end_is_asked_about(self) -> None:
        assert [path for _, path, _ in said(("final: [SENT_OFF, GONE]\n", ""), code="trap")] == ["states[2]"]

    def test_an_action_leads_on(self) -> None:
        edits = (("final: [SENT_OFF, GONE]\n", ""), ("allowed_states: [READY]", "allowed_states: [READY, GONE]"))
        assert said(*edits, code="trap") == []

    def test_it_is_not_asked_while_an_action_may_be_meant_to_lead_on(self) -> None:
        edits = (("final: [SENT_OFF, GONE]\n", ""), ("allowed_states: [READY]", "allowed_states: [READY, GNOE]"))
        assert said(*edits, code="trap") == []
        assert said(*edits, code="unknown_state")


class TestEndlessStates:
    CIRCLE = (
        ("GONE]\nfinal", "GONE, A, B]\nfinal"),
        (
            "  - {on: WEIGHED, from: READY}",
            "  - {on: WEIGHED, from: [READY, B], to: A}\n  - {on: WEIGHED, from: A, to: B}",
        ),
    )

    def test_a_circle_that_never_ends_is_named_once(self) -> None:
        [(_, path, message)] = said(*self.CIRCLE, code="endless_state")
        assert (path, message) == ("states[3]", "from `A` and `B` an entity never gets to a final state")

    def test_a_trap_is_not_said_twice(self) -> None:
        found = issues(("final: [SENT_OFF, GONE]", "final: [SENT_OFF]"))
        assert [issue.code for issue in found] == ["trap"]

    def test_a_final_state_ahead_is_enough(self) -> None:
        assert said(*self.CIRCLE, ("from: [READY, SENT_OFF]", "from: [READY, SENT_OFF, B]"), code="endless_state") == []

    def test_without_final_nobody_knows_where_the_end_is(self) -> None:
        assert said(*self.CIRCLE, ("final: [SENT_OFF, GONE]\n", ""), code="endless_state") == []


class TestUnusedEvents:
    def test_no_transition_takes_it(self) -> None:
        found = said(("  - {on: WEIGHED, from: READY}\n", ""), code="unused_event")
        assert found == [(3, "events[3]", "no transition takes `WEIGHED`, so it is refused in every state")]

    def test_it_is_not_asked_while_a_transition_may_mean_it(self) -> None:
        assert said(("on: WEIGHED", "on: WEIGHD"), code="unused_event") == []


class TestLostEvents:
    def test_an_allowed_state_does_not_take_what_is_emitted(self) -> None:
        [(line, path, message)] = said(("allowed_states: [READY]", "allowed_states: [READY, GONE]"), code="lost_event")[
            :1
        ]
        assert (line, path) == (19, "actions[0].emits.success[0]")
        assert message.startswith("`SEND` may run in `GONE`, where `SENT` leads nowhere")

    def test_failure_is_asked_about_too(self) -> None:
        [(_, path, _)] = said(("from: [READY, SENT_OFF], to: GONE", "from: SENT_OFF, to: GONE"), code="lost_event")
        assert path == "actions[0].emits.failure[0]"

    def test_one_that_is_taken_after_another_of_the_list_is_not_lost(self) -> None:
        edits = (("success: [SENT]", "success: [SENT, SCANNED]"), ("LOST, WEIGHED]", "LOST, WEIGHED, SCANNED]"))
        after = ("  - {on: WEIGHED", "  - {on: SCANNED, from: SENT_OFF}\n  - {on: WEIGHED")
        before = ("  - {on: WEIGHED", "  - {on: SCANNED, from: GONE}\n  - {on: WEIGHED")
        assert said(*edits, after, code="lost_event") == []
        assert said(*edits, before, code="lost_event")

    def test_what_is_not_declared_is_not_guessed(self) -> None:
        edits = (("    emits: {success: [SENT], failure: [LOST]}\n", ""), ("[READY]", "[READY, GONE]"))
        assert said(*edits, code="lost_event") == []


class TestUnlockedActions:
    UNLOCKED = ("    risk: high", "    lock: none\n    risk: high")
    SILENT = ("emits: {success: [SENT], failure: [LOST]}", "emits: {success: []}")

    def test_what_it_emits_takes_the_state_away_under_another(self) -> None:
        [(line, path, message)] = said(self.UNLOCKED, code="unlocked_action")
        assert (line, path) == (16, "actions[0].lock")
        assert "`SEND`" in message
        assert "`SENT`" in message

    def test_an_executor_runs_while_others_move_the_state(self) -> None:
        assert said(self.UNLOCKED, self.SILENT, code="unlocked_action")

    def test_one_that_does_nothing_is_free(self) -> None:
        assert said(self.UNLOCKED, self.SILENT, ("    executor: post.send\n", ""), code="unlocked_action") == []

    def test_one_that_may_run_in_every_state_is_free(self) -> None:
        everywhere = ("allowed_states: [READY]", "allowed_states: [READY, SENT_OFF, GONE]")
        assert said(self.UNLOCKED, everywhere, code="unlocked_action") == []

    def test_the_default_holds(self) -> None:
        assert said(("    risk: high", "    lock: entity\n    risk: high"), code="unlocked_action") == []


class TestUnreviewedRisks:
    NEVER = ("approval: required", "approval: never")

    def test_high_risk_and_nobody_asked(self) -> None:
        assert said(self.NEVER, code="unreviewed_risk") == [
            (17, "actions[0].approval", "`SEND` is of high risk, and nobody is asked")
        ]

    def test_less_risk_is_the_authors_choice(self) -> None:
        assert said(self.NEVER, ("risk: high", "risk: medium"), code="unreviewed_risk") == []

    def test_a_risk_that_is_not_stated_is_another_question(self) -> None:
        assert said(self.NEVER, ("    risk: high\n", ""), code="unreviewed_risk") == []


class TestUndescribedParameters:
    def test_any_value_passes(self) -> None:
        found = said(("    parameters: {carrier: {type: string}}\n", ""), code="undescribed_parameter")
        assert found == [(14, "actions[0].required_parameters[0]", "`SEND` takes any value as `carrier`")]

    def test_the_ones_without_a_schema_are_named(self) -> None:
        [(_, path, message)] = said(("[carrier]", "[carrier, weight]"), code="undescribed_parameter")
        assert (path, message) == ("actions[0].required_parameters[1]", "`SEND` takes any value as `weight`")


class TestSharedDuties:
    BOTH = ("reviewer: [parcels.approve]", "reviewer: [parcels.approve]\n    boss: [parcels.send, parcels.approve]")

    def test_a_role_that_proposes_and_approves(self) -> None:
        [issue] = issues(self.BOTH)
        assert (issue.code, issue.line, issue.path) == ("shared_duties", 25, "permissions.roles.boss")
        assert "`boss` may propose and approve `SEND`" in issue.message
        assert "leave that to `reviewer`" in issue.fix

    def test_without_another_reviewer_it_says_to_make_one(self) -> None:
        [issue] = issues(("reviewer: [parcels.approve]", "boss: [parcels.send, parcels.approve]"))
        assert "a role of its own" in issue.fix

    def test_where_nobody_is_asked_there_is_nothing_to_keep_apart(self) -> None:
        assert said(self.BOTH, ("approval: required", "approval: never"), code="shared_duties") == []

    def test_reviewers_by_another_permission_count(self) -> None:
        named = ("approval: required", "approval: required\n    approval_policy: {permissions: [post.release]}")
        held = ("sender: [parcels.send]", "sender: [parcels.send, post.release]")
        assert [path for _, path, _ in said(named, held, code="shared_duties")] == ["permissions.roles.sender"]


class TestUnusedPermissions:
    def test_nothing_asks_for_it(self) -> None:
        found = said(
            ("[parcels.send]\n    reviewer", "[parcels.send, parcels.wash]\n    reviewer"), code="unused_permission"
        )
        assert found == [(23, "permissions.roles.sender[1]", "`sender` holds `parcels.wash`, which no action asks for")]

    def test_a_misspelling_of_one_that_nobody_holds_is_seen(self) -> None:
        [issue] = [
            i for i in issues(("sender: [parcels.send]", "sender: [parcels.sned]")) if i.code == "unused_permission"
        ]
        assert issue.fix == "did you mean `parcels.send`?"

    def test_what_kiff_asks_for_is_known(self) -> None:
        assert issues(("[events.ingest]", "[events.ingest, records.read]")) == []

    def test_a_reviewers_permission_counts_where_nobody_is_asked(self) -> None:
        """It also settles operations whose outcome nobody knows."""
        assert said(("approval: required", "approval: never"), code="unused_permission") == []


class TestSilentBeginnings:
    def test_nobody_can_say_that_it_began(self) -> None:
        [(line, path, _)] = said(("    scanner: [events.ingest]\n", ""), code="nobody_can_ingest")
        assert (line, path) == (22, "permissions.roles")

    def test_a_draft_without_roles_is_not_asked(self) -> None:
        assert said(text=SOUND.partition("permissions:\n")[0], code="nobody_can_ingest") == []

    def test_a_webhook_can_say_it_if_it_is_mapped_to_a_beginning(self) -> None:
        webhook = "adapters: [{name: a, source: b, kind: webhook, signature: standard, map: "
        webhook += "{id: id, type: type, entity: parcel, events: {it.happened: %s}}}]\n"
        text = SOUND.replace("    scanner: [events.ingest]\n", "")
        assert said(text=text + webhook % "PACKED", code="nobody_can_ingest") == []
        assert said(text=text + webhook % "SENT", code="nobody_can_ingest") != []


class TestMissingExecutors:
    def test_it_is_not_registered(self) -> None:
        [issue] = issues(executors=["post.sent"])
        assert (issue.code, issue.line, issue.level) == ("executor_missing", 18, "activation")
        assert issue.fix == "did you mean `post.sent`?"

    def test_a_registered_one_is_fine_and_so_is_not_knowing(self) -> None:
        assert issues(executors=["post.send"]) == issues(executors=None) == []

    def test_the_domain_is_complete_without_them(self) -> None:
        domain, _ = check(SOUND, executors=[])
        assert domain is not None
        assert domain.activation_issues == ()


class TestRenames:
    """A name was changed where it is declared, and nowhere else."""

    def test_every_place_that_broke_is_named_with_the_new_name(self) -> None:
        found = issues(("states: [READY,", "states: [PACKAGED,"))
        assert [(i.line, i.path, i.code) for i in found] == [
            (7, "transitions[0].to", "unknown_state"),
            (8, "transitions[1].from", "unknown_state"),
            (9, "transitions[2].from[0]", "unknown_state"),
            (10, "transitions[3].from", "unknown_state"),
            (13, "actions[0].allowed_states[0]", "unknown_state"),
        ]
        assert {i.fix for i in found} == {"write `PACKAGED` if that is its name now: nothing uses it"}

    def test_an_event_too(self) -> None:
        found = issues(("events: [PACKED", "events: [ARRIVED"))
        assert [(i.path, "`ARRIVED`" in i.fix) for i in found] == [("transitions[0].on", True)]

    def test_the_one_unused_name_comes_before_a_close_one(self) -> None:
        found = issues(("states: [READY,", "states: [REDY,"))
        assert {i.fix for i in found} == {"write `REDY` if that is its name now: nothing uses it"}

    def test_two_unused_names_are_no_rename(self) -> None:
        found = issues(("states: [READY,", "states: [PACKAGED, BOXED,"))
        assert {i.fix for i in found} == {"add it to `states`"}


def test_the_broken_document_shows_every_kind_at_once() -> None:
    codes = {issue.code for issue in check(BROKEN.read_bytes())[1]}
    assert len(codes) >= 18
    assert {"unknown_state", "unknown_key", "no_risk", "dead_action", "lost_event", "unused_permission"} <= codes


NAMED = re.compile(r"`([A-Za-z_.]+)`")
A_STATE, AN_EVENT = st.sampled_from(["A", "B", "C", "D"]), st.sampled_from(["ON", "OFF", "UP", "DOWN"])


def some(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(names, min_size=1, max_size=4, unique=True)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Small domains, most of them wrong in several ways."""
    rows = draw(st.lists(st.tuples(AN_EVENT, st.none() | A_STATE, A_STATE), min_size=1, max_size=5))
    lines = ["events:", *(f"  - {name}" for name in draw(some(AN_EVENT)))]
    lines += ["states:", *(f"  - {name}" for name in draw(some(A_STATE)))]
    lines += ["transitions:"]
    lines += [f"  - {{on: {on}, {f'from: {start}, ' if start else ''}to: {end}}}" for on, start, end in rows]
    lines += ["actions:", "  - name: ACT", f"    allowed_states: [{', '.join(draw(some(A_STATE)))}]"]
    lines += [f"    emits: [{', '.join(draw(some(AN_EVENT)))}]", "    lock: none"]
    return "\n".join(lines)


@given(documents())
def test_the_line_of_a_finding_holds_the_name_it_is_about(text: str) -> None:
    lines = text.split("\n")
    for issue in check(text)[1]:
        if issue.path.startswith(("states[", "events[", "transitions[", "actions[0].allowed_states[")):
            name = NAMED.findall(issue.message)[0]
            assert re.search(rf"\b{name}\b", lines[issue.line - 1]), issue
