"""Every case of spec/scenarios, on the pure step, on the runtime over each store, and over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario_cases import Case, cases, cases_of
from scenario_drivers import Driver, Outside, SetClock, open_on
from scenario_http import OTHERWISE, Otherwise, OverHttp, over_http
from scenario_play import Play

pytestmark = pytest.mark.slow

CASES = cases()
FIRST = "five_endings"
IN_PROCESS = ("step", "memory", "sqlite")


def named(case: Case) -> str:
    return f"{case.file}: {case.name}"


def play(name: str, case: Case, folder: Path) -> None:
    clock, outside = SetClock(), Outside()
    driver: Driver
    if name == "http":
        driver = OverHttp(folder, case.domain, clock, outside)
    else:
        driver = open_on(name, folder, case.domain, clock, outside)
    try:
        Play(case, driver, clock, outside).run()
    finally:
        if outside.hanging:
            outside.release("succeed")
        driver.close()


@pytest.mark.parametrize("driver", IN_PROCESS)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_scenario_goes_as_it_is_written(driver: str, case: Case, tmp_path: Path) -> None:
    play(driver, case, tmp_path)


@pytest.mark.parametrize("case", [case for case in CASES if case.file == FIRST], ids=named)
def test_the_five_endings_go_as_they_are_written_over_http(case: Case, tmp_path: Path) -> None:
    assert over_http(case) == case
    play("http", case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.file != FIRST], ids=named)
def test_a_scenario_goes_as_it_is_written_over_http(case: Case, tmp_path: Path) -> None:
    play("http", over_http(case), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("other", OTHERWISE, ids=lambda other: f"{other.file}: {other.verb} {other.says}")
def test_what_the_wire_answers_otherwise_it_really_does(other: Otherwise, tmp_path: Path) -> None:
    """The control of the table: each of its lines is about one case, which fails over HTTP without it."""
    [case] = [case for case in CASES if case.file == other.file and over_http(case) != case]
    with pytest.raises(AssertionError):
        play("http", case, tmp_path)


# --- the runner itself: what it must refuse, and what must not pass ---

FILE = """
about: A control.
domain: refund_ops.yaml
principals:
  stripe: {type: service, roles: [event_source]}
cases:
  - name: a control
    steps:
      - ingest: {as: stripe, type: ORDER_PLACED, entity: "order:ord_001"}
        expect: {state: CREATED}
    trail: {order:ord_001: [event_ingested, state_changed]}
"""


def edited(old: str, new: str) -> str:
    assert old in FILE
    return FILE.replace(old, new)


@pytest.mark.parametrize(
    "text",
    [
        edited("about:", "abuot:"),
        edited("    trail:", "    trial:"),
        edited("expect: {state", "expects: {state"),
        edited("- ingest:", "- injest:"),
        edited('entity: "order:ord_001"}', 'entity: "order:ord_001", state: PAID}'),
        edited("        expect: {state: CREATED}\n", ""),
    ],
    ids=["file", "case", "step", "verb", "argument", "nothing expected"],
)
def test_a_file_that_says_what_the_format_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control"):
        cases_of("control", text)


@pytest.mark.parametrize(
    "text",
    [
        edited("state: CREATED", "state: PAID"),
        edited("state: CREATED", "error: not_found"),
        edited("[event_ingested, state_changed]", "[event_ingested]"),
        edited("    trail:", "    effects: {order:ord_001: 1}\n    trail:"),
        edited("    trail:", "    state: {order:ord_001: PAID}\n    trail:"),
        edited("    trail:", "    approvals: [pending]\n    trail:"),
        edited("    trail:", "    operations: [open]\n    trail:"),
    ],
    ids=["answer", "error", "trail", "effects", "state", "approvals", "operations"],
)
def test_a_case_that_expects_what_is_not_so_fails(text: str, tmp_path: Path) -> None:
    [case] = cases_of("control", text)
    with pytest.raises(AssertionError):
        play("memory", case, tmp_path)


@pytest.mark.parametrize("driver", [*IN_PROCESS, "http"])
def test_the_control_itself_passes(driver: str, tmp_path: Path) -> None:
    [case] = cases_of("control", FILE)
    play(driver, case, tmp_path)
