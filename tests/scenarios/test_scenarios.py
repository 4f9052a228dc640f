"""Every case of spec/scenarios, on the pure step and on the runtime over each store."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario_cases import Case, cases, cases_of
from scenario_drivers import Outside, SetClock, open_on
from scenario_play import Play

CASES = cases()


def play(driver: str, case: Case, folder: Path) -> None:
    clock, outside = SetClock(), Outside()
    runtime = open_on(driver, folder, case.domain, clock, outside)
    try:
        Play(case, runtime, clock, outside).run()
    finally:
        if outside.hanging:
            outside.release("succeed")
        runtime.close()


@pytest.mark.parametrize("driver", ["step", "memory", "sqlite"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}: {case.name}")
def test_a_scenario_goes_as_it_is_written(driver: str, case: Case, tmp_path: Path) -> None:
    play(driver, case, tmp_path)


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


@pytest.mark.parametrize("driver", ["step", "memory", "sqlite"])
def test_the_control_itself_passes(driver: str, tmp_path: Path) -> None:
    [case] = cases_of("control", FILE)
    play(driver, case, tmp_path)
