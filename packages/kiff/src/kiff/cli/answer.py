"""An answer of the runtime as fields: every member is always there, so that a program can rely on it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec import Struct, structs, to_builtins

DRAWN = ("event_id", "operation_id", "receipt_id", "trace_id")
"""Ids that a rehearsal draws and nobody will ever find."""


def fields(answer: Struct, *, dry_run: bool = False, without: Collection[str] = ()) -> dict[str, Any]:
    """The members in their order.

    Args:
        dry_run: say so first, and leave out the ids that mean nothing.
    """
    left_out = (*without, *(DRAWN if dry_run else ()))
    members = {name: value for name, value in structs.asdict(answer).items() if name not in left_out}
    told: dict[str, Any] = to_builtins(({"dry_run": True} if dry_run else {}) | members)
    return told
