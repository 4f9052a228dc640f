"""The broken example: everything that is wrong with it, in one run."""

from __future__ import annotations

import json

from examples_cases import EXAMPLES, kiff_command

PROJECT = EXAMPLES / "broken-domain"
FINDINGS = [
    (11, "never_set"),
    (16, "unreachable_state"),
    (19, "unused_group"),
    (20, "open_end"),
    (27, "alike_guards"),
    (31, "idle_timeout"),
    (32, "dead_timeout"),
    (34, "unknown_timezone"),
    (35, "malformed"),
    (46, "not_in_enum"),
    (47, "unknown_action"),
    (49, "unknown_name"),
    (50, "bad_rule"),
    (50, "telling_condition"),
    (51, "never_but_asks"),
    (52, "duplicate_name"),
    (52, "may_be_missing"),
    (54, "bad_limit"),
    (55, "sensitive_key"),
    (56, "wrong_unit"),
    (57, "lost_event"),
    (58, "names_itself"),
    (64, "no_asking_rule"),
    (67, "constant_condition"),
    (70, "reserved_rule_id"),
    (71, "wrong_unit"),
    (74, "limit_conflict"),
    (74, "limit_conflict"),
    (75, "bad_limit"),
    (76, "missing_key"),
    (78, "unfit_compensation"),
    (87, "unknown_role"),
    (88, "nobody_can_approve"),
    (89, "idle_role"),
    (89, "idle_quorum"),
    (90, "syntax_error"),
    (91, "not_supported_yet"),
    (92, "lost_event"),
    (96, "shared_duties"),
    (101, "unused_grant"),
    (103, "separate_violated"),
    (103, "separate_violated"),
    (104, "too_few"),
    (105, "unknown_permission"),
]


def test_one_run_finds_all_of_it() -> None:
    done = kiff_command(PROJECT, "check -o json")
    said = json.loads(done.out)
    assert [(each["line"], each["code"]) for each in said["findings"]] == FINDINGS
    assert (done.code, said["ok"], said["domain"]) == (1, False, None)
    assert len({code for _, code in FINDINGS}) >= 16


def test_each_finding_says_why_and_an_expression_where() -> None:
    found = json.loads(kiff_command(PROJECT, "check -o json").out)["findings"]
    assert all(each["message"] for each in found)
    underlined = {each["code"] for each in found if each["excerpt"].rstrip().endswith("^")}
    assert underlined == {
        "may_be_missing",
        "not_in_enum",
        "sensitive_key",
        "syntax_error",
        "unknown_name",
        "wrong_unit",
    }


def test_people_see_the_place_in_the_expression() -> None:
    shown = kiff_command(PROJECT, "check -o text").out
    assert "      parameters.amont > 5000\n      ^^^^^^^^^^^^^^^^\n    fix  did you mean `amount`?\n" in shown
