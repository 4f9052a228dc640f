"""What an approval holds in the vault, for whoever may answer it and for nobody else."""

from __future__ import annotations

from typing import Any

from msgspec import json

from kiff.errors import ApprovalDecided, KiffError
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.sealed import Sealed, commitments
from kiff.server.route import Call


def opened(call: Call, row: ApprovalRequest) -> dict[str, Any]:
    """The sealed values of the call that an approval holds, by parameter: those that were not erased.

    Empty for everybody who may not answer it, whatever else they may read.
    """
    ids = commitments(json.decode(row.proposal)["parameters"])
    if not ids or not _may_answer(call, row):
        return {}
    kept = {name: call.tower.store.row(Sealed, call.tenant, id) for name, id in ids.items()}
    return {n: json.decode(each.value) for n, each in kept.items() if each is not None and each.value is not None}


def _may_answer(call: Call, row: ApprovalRequest) -> bool:
    """Asks the step itself, by a no that is never given: only who may say it is told what it is about."""
    rehearsal = call.tower.rehearsal
    try:
        rehearsal.take(rehearsal.edge.review(call.caller(), row.id, "deny", "a look at it"))
    except ApprovalDecided:
        return True  # they might have answered it; somebody did, or its time is up
    except KiffError:
        return False
    return True
