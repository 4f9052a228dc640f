"""Many replicas, lost replies, deaths and silent executors in virtual time (`simulation.py` says what goes wrong).

A seed is a history: `KIFF_SIM_SEED=7` lives that one again.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from mutants import IN_THE_LANE, MUTANTS, planted
from reliability import note_run
from simulation import Simulation

SOAK = os.environ.get("KIFF_SOAK") == "1"
ONLY = os.environ.get("KIFF_SIM_SEED")
HISTORIES = 2_000 if SOAK else 60
LONG = pytest.mark.soak if SOAK else pytest.mark.slow
PROVED = 10
"""One history in so many is verified and decided again, too."""


def lived(seed: int, *, proves: bool = True) -> Counter[str]:
    try:
        return Simulation(seed, proves=proves).run()
    except AssertionError:
        print(f"KIFF_SIM_SEED={seed}")
        raise


@LONG
def test_no_history_breaks_a_promise() -> None:
    first = random.SystemRandom().getrandbits(32) if SOAK else 1
    figures: Counter[str] = Counter()
    seeds = [int(ONLY)] if ONLY else range(first, first + HISTORIES)
    try:
        for seed in seeds:
            figures += lived(seed, proves=ONLY is not None or seed % PROVED == 0) + Counter(histories=1)
    finally:
        note_run("simulation", first, figures)
    print(dict(figures))
    assert ONLY or all(figures[what] for what in (*Simulation.TROUBLE, "kills", "came_late", "conflicts", "effects"))


def test_a_seed_is_a_history() -> None:
    one, other, another = Simulation(5), Simulation(5), Simulation(6)
    assert one.run() == other.run()
    assert one.store.heads() == other.store.heads()
    another.run()
    assert one.store.heads()[0].root != another.store.heads()[0].root


@LONG
@pytest.mark.parametrize(
    "name", [*IN_THE_LANE, "unknown_is_sent_again", "final_answer_is_decided_again", "budget_is_not_reserved"]
)
def test_control_a_broken_rule_is_found(name: str) -> None:
    with planted((IN_THE_LANE | MUTANTS)[name]), pytest.raises(AssertionError) as broken:
        for seed in range(200):
            lived(seed)
    print(broken.value)
