"""`step(world, command)`: the heart. Pure: a slice of the world and a command in, a change out.

It reads no clock, draws no id and does no I/O; reading a key that is not in the slice raises NotLoaded.
The same world and command always give the same change, so a step can be tested, replayed and simulated
by the million, and taken again after a conflict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiff.errors import KiffError
from kiff.protocol.clearance import Clearance
from kiff.runtime.commands import (
    AcceptRollback,
    Activate,
    ActivatePolicy,
    Attempted,
    ChangeHook,
    Command,
    Erase,
    Establish,
    Expire,
    Ingest,
    Note,
    Propose,
    Resend,
    Review,
    Revoke,
    Settle,
    Shadow,
)
from kiff.runtime.step.activate import activate
from kiff.runtime.step.activate_policy import activate_policy
from kiff.runtime.step.authority import authorised, establish, note, revoke
from kiff.runtime.step.ingest import ingest
from kiff.runtime.step.propose import propose
from kiff.runtime.step.review import expire_approval, review
from kiff.runtime.step.rollback import accept_rollback
from kiff.runtime.step.settle import expire_clearance, settle
from kiff.runtime.step.shadow import shadow
from kiff.runtime.step.timer import fire
from kiff.runtime.step.vault import erase
from kiff.runtime.step.webhooks import attempted, change_hook, resend
from kiff.runtime.world import Change, World

__all__ = ["step"]


def step(world: World, command: Command) -> Change:
    """What this command changes. The world itself is not touched; the caller takes the change or drops it.

    Raises:
        NotLoaded: the slice lacks keys; load them and call again.
    """
    change = Change(world, command.tenant)
    caller = getattr(command, "caller", None)
    if caller is not None and caller.credential is not None:
        try:
            command = authorised(change, command, caller)
        except KiffError as refusal:
            change.answer = refusal
            return change
    _STEPS[type(command)](change, command)
    return change


def _expire(change: Change, command: Expire) -> None:
    """A deadline came. A clearance that promised a report, or was executing, is unknown from now on."""
    if command.kind == "approval":
        expire_approval(change, command)
        return
    if command.kind == "timer":
        fire(change, command)
        return
    clearance = change.get(Clearance, command.id)
    if clearance is None or clearance.status != "open" or change.at < clearance.deadline:
        return
    if expire_clearance(change, clearance):
        return
    message = "nobody said how it ended before its deadline"
    settle(change, Settle(command.tenant, command.id, "unknown", "deadline", command.suffix, message=message))


_STEPS: dict[type, Callable[[Change, Any], None]] = {
    Propose: propose,
    Ingest: ingest,
    Review: review,
    Settle: settle,
    Expire: _expire,
    Activate: activate,
    ActivatePolicy: activate_policy,
    Shadow: shadow,
    Establish: establish,
    Revoke: revoke,
    Note: note,
    Erase: erase,
    AcceptRollback: accept_rollback,
    ChangeHook: change_hook,
    Attempted: attempted,
    Resend: resend,
}
"""One function per command."""
