"""The figures of the fault tests, run after run: one JSON line for each, so that they add up.

`docs/reliability.md` is written from this file. A line is {"kind", "seed", "figures", "at"}; `totals` adds the
figures of each kind. Lines are appended in one write, so that processes may note at the same time.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parents[2] / "docs" / "reliability-runs.jsonl"
"""The runs that the page tells of. What a soak adds is moved there when the page is written."""
SEEDS = 6
"""How many of them the page shows for a campaign."""
DEFAULT = Path(__file__).parents[2] / ".reliability" / "runs.jsonl"


def log_file() -> Path:
    """The file that KIFF_RELIABILITY_LOG names, or `.reliability/runs.jsonl` beside the tests."""
    return Path(os.environ.get("KIFF_RELIABILITY_LOG") or DEFAULT)


def seed_of_run() -> int:
    """What a run draws its faults from, printed: KIFF_FAULT_SEED, which replays it; new in a soak, else always one."""
    given = os.environ.get("KIFF_FAULT_SEED")
    fresh = random.SystemRandom().randrange(1 << 32) if os.environ.get("KIFF_SOAK") == "1" else 20_261
    seed = int(given) if given else fresh
    print(f"seed {seed} (KIFF_FAULT_SEED={seed} replays it)")
    return seed


def note_run(kind: str, seed: int, figures: Mapping[str, int]) -> None:
    """Appends one run. Call it before anything is asserted of the figures: a run that failed counts too.

    Args:
        kind: what was broken on purpose, such as `postgres-kill`.
        seed: what the run replays from.
        figures: counts, such as {"kills": 100, "lost": 0}.
    """
    line = {"kind": kind, "seed": seed, "figures": dict(figures), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    file = log_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
    finally:
        os.close(handle)


def totals(*files: Path) -> dict[str, Counter[str]]:
    """The figures of each kind, added up over every run noted in these files."""
    added: dict[str, Counter[str]] = {}
    for run in (run for file in files for run in _runs(file)):
        added.setdefault(run["kind"], Counter()).update(run["figures"])
    return added


def table(*files: Path) -> str:
    """The figures of every kind as the page has them, in Markdown."""
    runs = [run for file in files for run in _runs(file)]
    lines = ["| campaign | runs | figures | seeds |", "|---|---|---|---|"]
    for kind, figures in sorted(totals(*files).items()):
        seeds = list(dict.fromkeys(str(run["seed"]) for run in runs if run["kind"] == kind))
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in figures.items())
        shown = ", ".join(seeds[:SEEDS]) + (f" and {len(seeds) - SEEDS} more" if len(seeds) > SEEDS else "")
        lines.append(f"| {kind} | {sum(run['kind'] == kind for run in runs)} | {told} | {shown} |")
    return "\n".join(lines)


def _runs(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    print(table(KEPT, log_file()))
