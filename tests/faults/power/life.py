"""One life of the program: it starts on a disk, works, and its trace tells what the disk may be at every point.

Threads interleave as they like, so a seed does not bring the same trace again. A life can be kept in a folder
(`start`, `trace`, `said.json`), and everything drawn from it later depends on that folder and a number alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from power.disk import Disk, files_of, lay_out
from power.preload import Program
from power.survival import Judge, Said, leaves_of
from power.trace import Kind, read_trace

USUAL: dict[str, Any] = {"seed": 0, "rounds": 16, "fail": None, "mutant": "", "kill": False, "made": [], "patience": 60}
"""The plan of a program that nothing happens to."""


class Image(NamedTuple):
    """A disk after a power loss.

    Args:
        cut: how many operations of the trace came before it.
        said: what the program had said by then, in all its lives.
    """

    cut: int
    files: dict[str, bytes]
    said: Said


class Life:
    """What a folder keeps of one life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start = files_of(folder / "start")
        self._before = Said(*json.loads((folder / "said.json").read_text()))
        self._ops = read_trace(folder / "trace")
        self._kinds: dict[Kind, list[int]] = {}
        for at, op in enumerate(self._ops):
            self._kinds.setdefault(op.kind, []).append(at)

    @classmethod
    def lived(
        cls, program: Program, folder: Path, start: dict[str, bytes], before: Said, *plans: dict[str, Any]
    ) -> Life:
        """Lets the program live once.

        Args:
            start: the disk that it finds.
            before: what it had said in earlier lives.
            plans: see `work.py`; of several, each starts where the one before ended, and the power stays on.
        """
        lay_out(start, folder / "start")
        lay_out(start, folder / "disk")
        (folder / "said.json").write_text(json.dumps(before))
        trace, made = folder / "trace", before.effects
        for plan in plans:
            files = {"disk": str(folder / "disk"), "trace": str(trace)}
            ended = program.run(USUAL | files | {"made": [operation for operation, _ in made]} | plan)
            assert ended["status"] == 0, f"the program ended with {ended['status']}"
            made = (before + Said.by(read_trace(trace))).effects
        return cls(folder)

    def said(self) -> Said:
        """Everything that the program has said by the end."""
        return self._before + Said.by(self._ops)

    def words(self) -> list[dict[str, Any]]:
        """What this life said, word by word."""
        return [op.said for op in self._ops if op.kind is Kind.SAID]

    def after(self) -> dict[str, bytes]:
        """Every file as the program left it, by its trace."""
        disk = self._disk()
        for op in self._ops:
            disk.apply(op)
        return disk.whole()

    def judge(self, folder: Path) -> Judge:
        """Who judges the images of this life."""
        lay_out(self.after(), folder)
        return Judge(folder, leaves_of(folder / "data" / "shop.db"))

    def images(self, cuts: list[int], seed: int, *, obeys: bool = True) -> Iterator[Image]:
        """A disk after a power loss at each of these points.

        Args:
            cuts: how many operations have happened, in order; a point may come several times.
            obeys: False for a disk that only says that it syncs.
        """
        disk = self._disk(obeys=obeys, seed=seed)
        done = 0
        for number, cut in enumerate(cuts):
            for op in self._ops[done:cut]:
                disk.apply(op)
            done = cut
            files = disk.after_power_loss(random.Random(f"{seed}-{number}"))
            yield Image(cut, files, self._before + Said.by(self._ops[:cut]))

    def points(self, count: int, seed: int) -> list[int]:
        """Points to lose power at: anywhere, or beside an operation of some kind, however rare that kind is."""
        draw = random.Random(seed)
        return sorted(self._point(draw) for _ in range(count))

    def last_start(self) -> int:
        """The point at which the last of its programs began."""
        return max(at for at, op in enumerate(self._ops) if op.kind is Kind.SAID and op.said["what"] == "begun")

    def turns(self) -> list[int]:
        """Every point at which a file gets or changes its name, and those around its first syncs."""
        names = {Kind.CREATE, Kind.RENAME, Kind.LINK, Kind.UNLINK, Kind.MKDIR}
        turns = {at + step for at, op in enumerate(self._ops) if op.kind in names for step in range(1, 6)}
        return sorted(turn for turn in turns if turn <= len(self._ops))

    def _disk(self, *, obeys: bool = True, seed: int = 0) -> Disk:
        begun = self._ops[0].said
        assert begun["what"] == "begun"
        return Disk(self._start, begun["inodes"], obeys=obeys, seed=seed)

    def _point(self, draw: random.Random) -> int:
        if draw.random() < 0.4:
            return draw.randrange(1, len(self._ops) + 1)
        kind = draw.choice(sorted(self._kinds))
        return max(1, draw.choice(self._kinds[kind]) + draw.randrange(2))


def first_life(program: Program, folder: Path, *plans: dict[str, Any]) -> Life:
    """A life on an empty disk."""
    return Life.lived(program, folder, {}, Said([], [], []), *plans)
