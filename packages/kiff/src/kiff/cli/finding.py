"""What one question of `kiff doctor` found, and the questions that are the same of every store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

from kiff.runtime.ports import Store
from kiff.stores.seen_heads import lost_logs, read_seen

Status = Literal["ok", "warn", "fail", "none"]
"""`none`: there is nothing of the kind here."""
SKEW_MS = 5_000
"""By how much two clocks may differ."""


class Finding(Struct, frozen=True):
    """What one question found.

    Args:
        fix: what to do; empty when there is nothing to do.
    """

    status: Status
    said: str
    fix: str = ""


def seen_finding(file: Path, store: Store) -> Finding:
    """Whether every log holds what was seen of it."""
    memory = read_seen(file)  # raises when it is damaged
    if not file.is_file():
        said = f"no {file}: an older copy of the database would pass"
        return Finding("warn" if store.heads() else "none", said, "the next start begins a new one")
    if memory.moved_to is not None:
        return Finding("warn", f"moved to {memory.moved_to}", "go on there; nothing is written here any more")
    lost = lost_logs(store, memory.logs)
    accepted = [each for each in lost if each.tenant in memory.accepted]
    if accepted and accepted == lost:
        said = f"the log of `{lost[0].tenant}` {lost[0].said}; `{memory.accepted[lost[0].tenant]}` accepts that"
        return Finding("warn", said, "the next start records it")
    lost = [each for each in lost if each not in accepted]
    if lost:
        fix = f"restore a newer backup, or start once with --accept-rollback {lost[0].tenant}"
        return Finding("fail", f"the log of `{lost[0].tenant}` {lost[0].said}", fix)
    return Finding("ok", f"{len(memory.logs)} logs hold what was seen of them")
