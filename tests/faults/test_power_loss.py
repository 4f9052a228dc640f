"""Power loss at any instant of a SQLite store's life: nothing acknowledged is lost, nothing was done without leave
that is durable, and the next start goes on (DESIGN invariants 1, 16, 17).

A preloaded shim writes down what a runtime at work does to its disk; disks as they may be found afterwards are
rebuilt from that, and opened. Lives follow each other: the second one starts on a disk that lost its power.

    KIFF_POWER_SEED=<n>       draws the same work and the same points
    KIFF_POWER_LIFE=<folder>  with it: opens again the disks of a life that a failed run has kept
"""

from __future__ import annotations

import errno
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
from power.disk import files_of
from power.life import Life, first_life
from power.preload import WHY_NOT, Program, build, can_preload, in_memory, program
from power.replay import seed_of
from reliability import note_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not can_preload(), reason=WHY_NOT)]

SOAK_ROUNDS = 20


@pytest.fixture(scope="module")
def powered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program(build(tmp_path_factory.mktemp("shim"))) as running:
        yield running


@pytest.fixture
def fast() -> Iterator[Path]:
    with in_memory() as folder:
        yield folder


def lose_power(powered: Program, fast: Path, seed: int, images: int, keep: Path) -> None:
    """Two lives, the second one on what the first one left, and what is found after losing power in them."""
    if kept := os.environ.get("KIFF_POWER_LIFE"):
        cuts = json.loads((Path(kept) / "cuts.json").read_text())
        assert sample(None, Life(Path(kept)), cuts, fast, seed, keep) == 0
        return
    draw = random.Random(seed)
    first = first_life(powered, fast / "1", {"seed": seed, "kill": draw.random() < 0.3})
    found = sample("sqlite-power-loss", first, first.points(images // 2, seed), fast, seed, keep)
    lost = list(first.images(first.points(12, seed + 1), seed + 1))
    start = draw.choice([image for image in lost if "data/shop.db" in image.files])
    second = Life.lived(powered, fast / "2", start.files, start.said, {"seed": seed + 1})
    found += sample("sqlite-power-loss", second, second.points(images // 2, seed + 2), fast, seed + 2, keep)
    assert not found, f"seed {seed}"


def sample(kind: str | None, life: Life, cuts: list[int], fast: Path, seed: int, keep: Path) -> int:
    """How many problems images of a life have; they are printed, and the life is kept for the next look."""
    judge = life.judge(fast / "judged")
    problems = 0
    for image in life.images(cuts, seed):
        for problem in judge.problems(image.files, image.said, random.Random(seed)):
            print(f"after {image.cut} operations: {problem}")
            problems += 1
    if kind is not None:  # a life that is looked at again counts once
        note_run(kind, seed, {"power_losses": len(cuts), "problems": problems})
    if problems:
        kept = copytree(life.folder, keep / f"life-{seed}")
        (kept / "cuts.json").write_text(json.dumps(cuts))
        print(f"KIFF_POWER_SEED={seed} KIFF_POWER_LIFE={kept}")
    return problems


@pytest.mark.parametrize("number", range(2))
def test_power_lost_at_any_instant_loses_nothing_that_was_acknowledged(
    powered: Program, fast: Path, tmp_path: Path, number: int
) -> None:
    lose_power(powered, fast, seed_of("KIFF_POWER_SEED", 1_000 + number), 80, tmp_path)


def test_power_lost_at_the_very_first_start_leaves_a_folder_that_opens(
    powered: Program, fast: Path, tmp_path: Path
) -> None:
    life = first_life(powered, fast / "1", {"seed": 3, "rounds": 0})
    seed = seed_of("KIFF_POWER_SEED", 3)
    assert sample("sqlite-first-start", life, sorted(life.turns() * 2), fast, seed, tmp_path) == 0


@pytest.mark.soak
@pytest.mark.parametrize("number", range(SOAK_ROUNDS))
def test_many_power_losses(powered: Program, fast: Path, tmp_path: Path, number: int) -> None:
    lose_power(powered, fast, seed_of("KIFF_POWER_SEED", random.SystemRandom().randrange(1 << 40)), 520, tmp_path)


def lose_power_after_a_failed_sync(powered: Program, fast: Path, seed: int, keep: Path) -> None:
    """A sync fails, the process is killed and starts again on what the kernel shows it, and the power goes later."""
    at = random.Random(seed).randrange(10, 40)
    failing = {"seed": seed, "rounds": 4, "kill": True, "fail": ["sync", at, errno.EIO, 0, 0]}
    life = first_life(powered, fast / f"{seed}", failing, {"seed": seed + 1, "rounds": 4})
    cuts = [cut for cut in life.points(60, seed) if cut > life.last_start()]
    assert sample("sqlite-failed-sync", life, cuts, fast, seed, keep) == 0, f"seed {seed}"


@pytest.mark.parametrize("number", range(4))
def test_power_lost_after_a_restart_upon_a_failed_sync_loses_nothing(
    powered: Program, fast: Path, tmp_path: Path, number: int
) -> None:
    lose_power_after_a_failed_sync(powered, fast, seed_of("KIFF_POWER_SEED", 11 + 2 * number), tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(30))
def test_many_power_losses_after_failed_syncs(powered: Program, fast: Path, tmp_path: Path, number: int) -> None:
    seed = seed_of("KIFF_POWER_SEED", random.SystemRandom().randrange(1 << 40))
    lose_power_after_a_failed_sync(powered, fast, seed, tmp_path)


def test_the_trace_holds_every_byte_that_reached_the_disk(powered: Program, fast: Path) -> None:
    life = first_life(powered, fast / "1", {"seed": 7, "kill": True})
    traced, real = life.after(), files_of(fast / "1" / "disk")
    assert "data/shop.db-wal" in real
    del traced["data/shop.db-shm"], real["data/shop.db-shm"]  # mapped: SQLite makes it anew at every first opening
    assert traced == real


def found_by_controls(life: Life, fast: Path, *, obeys: bool) -> Counter[str]:
    judge = life.judge(fast / "judged")
    found: Counter[str] = Counter()
    for image in life.images(life.points(40, 5), 5, obeys=obeys):
        problems = judge.problems(image.files, image.said, random.Random(5))
        found.update({problem.partition(":")[0] for problem in problems})
    return found


def test_control_a_disk_that_lies_about_its_syncs_loses_what_was_acknowledged(powered: Program, fast: Path) -> None:
    found = found_by_controls(first_life(powered, fast / "1", {"seed": 5}), fast, obeys=False)
    assert found["acknowledged and lost"] > 10
    assert found["effect without a clearance"] > 5


def test_control_a_store_that_syncs_nothing_loses_what_was_acknowledged(powered: Program, fast: Path) -> None:
    found = found_by_controls(first_life(powered, fast / "1", {"seed": 5, "mutant": "careless"}), fast, obeys=True)
    assert found["acknowledged and lost"] > 10
    assert found["effect without a clearance"] > 5
