"""Explanations: why a decision came out as it did, for whoever may see it."""

from __future__ import annotations

import asyncio

from kiff.analysis.explain import Explanation, explain, last_receipt
from kiff.errors import NotFound
from kiff.protocol.ids import require_id
from kiff.server.route import Answer, Call, Route


async def receipt(call: Call) -> Answer:
    receipt_id = require_id(call.path["id"], "id")
    missing = NotFound(f"there is no receipt `{receipt_id}`", receipt_id=receipt_id)
    return Answer(await asyncio.to_thread(_explained, call, receipt_id, missing))


async def proposal(call: Call) -> Answer:
    proposal_id = require_id(call.path["id"], "id")
    missing = NotFound(f"there is no proposal `{proposal_id}`", proposal_id=proposal_id)
    receipt_id = await asyncio.to_thread(last_receipt, call.tower.store, call.tenant, proposal_id)
    if receipt_id is None:
        raise missing
    return Answer(await asyncio.to_thread(_explained, call, receipt_id, missing))


def _explained(call: Call, receipt_id: str, missing: NotFound) -> Explanation:
    """The explanation, with as much in it as the caller may see. Whatever agents may read, they read what is for them.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    if call.sight().receipt(receipt_id) is None:
        raise missing
    caller = call.caller()
    full = call.sees_all(caller) and caller.principal.type != "agent"
    return explain(call.tower.store, receipt_id, tenant=call.tenant, full=full)


ROUTES = (
    Route(
        "GET",
        "/v1/receipts/{id}/explanation",
        receipt,
        "Why a decision came out as it did, and what would have to change.",
        "Evidence",
        answers={200: Explanation},
    ),
    Route(
        "GET",
        "/v1/proposals/{id}/explanation",
        proposal,
        "The same, of the last decision about a proposal.",
        "Evidence",
        answers={200: Explanation},
    ),
)
