"""A disk that fails: the k-th write, sync, truncation, opening, reading, removal or mapping of a SQLite store's files.

Callers get typed errors, nothing acknowledged is lost, nothing is done without a durable clearance or twice, and the
process that is started again goes on (DESIGN invariants 1, 16, 17).

    KIFF_IO_SEED=<n>  draws the same work and the same calls
"""

from __future__ import annotations

import errno
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from power.disk import files_of, lay_out
from power.life import USUAL, Life, first_life
from power.preload import WHY_NOT, Program, build, can_preload, in_memory, program
from power.replay import seed_of
from power.survival import Judge, Said
from reliability import note_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not can_preload(), reason=WHY_NOT)]

ROUNDS = 2
PARTS = 4
ONCE, FOR_EVER, SHORT = (0, 0), (1, 0), (1, 1)
FAULTS: dict[str, tuple[str, int, tuple[int, int]]] = {
    "write_eio": ("write", errno.EIO, ONCE),
    "disk_full": ("write", errno.ENOSPC, FOR_EVER),
    "disk_full_in_a_write": ("write", errno.ENOSPC, SHORT),
    "sync_eio": ("sync", errno.EIO, ONCE),
    "sync_eio_for_ever": ("sync", errno.EIO, FOR_EVER),
    "truncate_eio": ("truncate", errno.EIO, ONCE),
    "open_eio": ("open", errno.EIO, ONCE),
    "no_more_files": ("open", errno.EMFILE, FOR_EVER),
    "read_eio": ("read", errno.EIO, ONCE),
    "read_eio_for_ever": ("read", errno.EIO, FOR_EVER),
    "unlink_eio": ("unlink", errno.EIO, ONCE),
    "no_mapping": ("map", errno.ENOMEM, ONCE),
}
"""How the disk fails: the call, the error, and (for ever from then on, after half of the bytes)."""


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program(build(tmp_path_factory.mktemp("shim"))) as running:
        yield running


@pytest.fixture
def fast() -> Iterator[Path]:
    with in_memory() as folder:
        yield folder


class Start(NamedTuple):
    """The disk that the failing program finds, and what an earlier one had said on it."""

    files: dict[str, bytes]
    said: Said


EMPTY = Start({}, Said([], [], []))


@pytest.fixture(scope="module")
def grown(failing: Program, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A disk on which a program has worked, and was killed."""
    life = first_life(failing, tmp_path_factory.mktemp("grown").resolve(), {"seed": 20, "rounds": 4, "kill": True})
    return Start(files_of(life.folder / "disk"), life.said())


def calls_of(failing: Program, folder: Path, start: Start, seed: int) -> dict[str, int]:
    """How many calls of each kind the work makes on a disk that does not fail."""
    lay_out(start.files, folder)
    plan = {"seed": seed, "rounds": ROUNDS, "disk": str(folder), "trace": f"{folder}.trace"}
    calls: dict[str, int] = failing.run(USUAL | plan)["calls"]
    return calls


def problems_after(failing: Program, folder: Path, start: Start, plan: dict[str, Any]) -> list[str]:
    """What is wrong once a disk failed as planned, and works again."""
    life = Life.lived(failing, folder, start.files, start.said, {"rounds": ROUNDS} | plan)
    untyped = [word for word in life.words() if word.get("typed") is False]
    found = [f"not an error of KIFF's own: {word}" for word in untyped]
    found += Judge(folder / "disk").problems_here(life.said(), random.Random(1))
    shutil.rmtree(folder)
    return found


def fail_at(failing: Program, fast: Path, start: Start, name: str, parts: int | None) -> None:
    """Lets one call fail in each of so many programs, evenly spread; every call, when it is None."""
    seed = seed_of("KIFF_IO_SEED", 21 if parts else random.SystemRandom().randrange(1 << 40))
    call, error, how = FAULTS[name]
    count = calls_of(failing, fast / "counted", start, seed)[call]
    calls = range(1, count + 1, 1 if parts is None else max(1, count // parts))
    found = 0
    for at in calls:
        plan = {"seed": seed, "fail": [call, at, error, *how]}
        for problem in problems_after(failing, fast / "failed", start, plan):
            print(f"{name} at {call} {at}: {problem}")
            found += 1
    note_run("sqlite-io-errors", seed, {"errors": len(calls), name: len(calls), "problems": found})
    assert not found, f"seed {seed}"


@pytest.mark.parametrize("name", FAULTS)
def test_a_call_that_fails_at_the_first_start_loses_nothing(failing: Program, fast: Path, name: str) -> None:
    fail_at(failing, fast, EMPTY, name, PARTS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_call_that_fails_on_a_database_that_has_grown_loses_nothing_and_repeats_nothing(
    failing: Program, fast: Path, grown: Start, name: str
) -> None:
    fail_at(failing, fast, grown, name, PARTS)


@pytest.mark.soak
@pytest.mark.parametrize("name", FAULTS)
def test_every_call_that_fails_loses_nothing_and_repeats_nothing(
    failing: Program, fast: Path, grown: Start, name: str
) -> None:
    for start in (EMPTY, grown):
        fail_at(failing, fast, start, name, None)


def test_control_a_store_that_takes_a_failed_append_for_made_is_found_out(failing: Program, fast: Path) -> None:
    count = calls_of(failing, fast / "counted", EMPTY, 21)["write"]
    found: Counter[str] = Counter()
    for at in range(count // 2, count, count // 20):
        plan = {"seed": 21, "fail": ["write", at, errno.EIO, *ONCE], "mutant": "hasty", "patience": 0.5}
        found.update({problem.partition(":")[0] for problem in problems_after(failing, fast / "failed", EMPTY, plan)})
    assert found["acknowledged and lost"] > 3
    assert found["effect without a clearance"] > 0
