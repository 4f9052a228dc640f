"""Whatever is done, in whatever order, KIFF answers and holds what the plain model says (DESIGN sections 2-5, 9)."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

import pytest
from deeds import drawn
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from model_machine import InMemory, OnDisk, ThroughItsLane
from mutants import MUTANTS, planted
from reliability import note_run
from tower import Tower

SOAK = os.environ.get("KIFF_SOAK") == "1"
LONG = pytest.mark.soak if SOAK else pytest.mark.slow
MACHINES = {InMemory: (25, 700), OnDisk: (10, 250), ThroughItsLane: (6, 120)}
"""How many histories of 40 deeds each machine lives: in `make test`, in `make soak`."""
STEPS = 170_000
"""Of the long histories that are drawn from seeds in `make soak`."""


def machine_settings(examples: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=40, suppress_health_check=list(HealthCheck))


@LONG
@pytest.mark.parametrize("machine", MACHINES)
def test_any_history_is_the_models(machine: type[InMemory]) -> None:
    machine.steps = 0
    try:
        run_state_machine_as_test(machine, settings=machine_settings(MACHINES[machine][SOAK]))
    finally:
        note_run(f"model-{machine.__name__}", 0, {"steps": machine.steps})


def lived(seed: int, batches: int, folder: Path | None = None) -> int:
    """One long history; how many deeds it had."""
    print(f"KIFF_MODEL_SEED={seed}")
    source, tower = random.Random(seed), Tower(folder)
    for _ in range(batches):
        tower.together(*drawn(source))
    tower.end()
    return tower.steps


@pytest.mark.slow
def test_long_histories_are_the_models(tmp_path: Path) -> None:
    seed = int(os.environ.get("KIFF_MODEL_SEED") or 1)
    steps = [lived(seed + more, 250) for more in range(8)]
    steps.append(lived(seed, 300, tmp_path))
    note_run("model-seeds", seed, {"steps": sum(steps), "histories": len(steps)})
    assert sum(steps) > 2_300


@pytest.mark.soak
def test_soak_longer_histories_are_the_models() -> None:
    first = random.SystemRandom().getrandbits(32)
    steps = seed = 0
    try:
        while steps < STEPS:
            seed += 1
            steps += lived(first + seed, 120)
    finally:
        note_run("model-seeds", first, {"steps": steps, "histories": seed})


def test_two_grants_of_one_call_run_it_once() -> None:
    """It was held twice, for a cap that was full the second time; the second grant comes while the first one's runs."""
    tower = Tower()
    call, other = ("execute", "agent", "a", "SEND", 1, False), ("execute", "mary", "a", "SEND", 2, False)
    tower.together(("ingest", "feed", "OPENED", "a", None))
    tower.together(("propose", *call, 1, None))
    tower.together(("propose", *other, 2, None))
    tower.together(("review", "grant", "nils", 1, None, None))
    tower.together(("propose", *call, 1, None))
    tower.together(("answer", 0, "succeed"))
    tower.together(("review", "grant", "nils", 0, None, None))
    tower.together(("review", "grant", "nils", 2, None, None))
    assert len(tower.begun) == 2
    assert [each.status for each in tower.model.approvals.values()] == ["consumed", "consumed", "granted"]
    tower.end()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["approval_is_not_consumed", "runway_is_not_taken", "denial_keeps_the_budget"])
def test_control_a_kernel_that_breaks_a_rule_is_not_the_model(name: str) -> None:
    with planted(MUTANTS[name]), pytest.raises(AssertionError):
        for seed in range(40):
            lived(zlib.crc32(name.encode()) + seed, 60)
