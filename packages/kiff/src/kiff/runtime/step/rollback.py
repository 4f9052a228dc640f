"""A log goes on from an older copy of itself: that this is so, and who said so, is its next record."""

from __future__ import annotations

from typing import Any

from msgspec import json

from kiff.runtime.answers import RolledBack
from kiff.runtime.commands import SYSTEM, AcceptRollback
from kiff.runtime.rows import CommandRow
from kiff.runtime.world import Change


def accept_rollback(change: Change, command: AcceptRollback) -> None:
    """Records what was seen of the log and is not there, and what is. Again, it changes nothing."""
    done = change.get(CommandRow, command.id)
    if done is not None:
        change.answer = json.decode(done.answer, type=RolledBack)
        return
    head = change.world.logs[change.tenant].head
    found: dict[str, Any] = {"log": None, "size": 0, "root": None}
    if head is not None:
        found = {"log": head.log_id, "size": head.size, "root": head.root.hex()}
    change.record(
        "log_rolled_back",
        SYSTEM,
        entity=None,
        trace=f"trace_{command.suffix}",
        cause=f"rollback_{command.suffix}",
        version=None,
        data={
            "accepted_by": command.by,
            "found": found,
            "seen": {"log": command.log, "size": command.size, "root": command.root},
        },
    )
    change.answer = RolledBack(command.size, found["size"])
    change.put(CommandRow(change.tenant, command.id, command.digest, "final", json.encode(change.answer)))
