"""What the gateway itself says to a client, in the words of the client's era."""

from __future__ import annotations

from typing import Any

from kiff_guard.decision import Decision
from kiff_guard.mcp.message import Call, Id

QUESTION = "kiff"
"""The name under which an answer asks, and under which the client's answer comes back."""
META = "dev.kiff/decision"

_FORM = {
    "type": "object",
    "properties": {
        "granted": {
            "type": "boolean",
            "title": "The approval was granted",
            "description": "Say yes once a reviewer granted it in KIFF. KIFF looks for itself.",
        }
    },
}


def withheld(call: Call, decision: Decision, *, structured: bool) -> dict[str, Any]:
    """The result of a call that did not run: for the model as text, for programs beside it."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": decision.explain()}],
        "isError": True,
        "_meta": {META: decision.as_dict()},
    }
    if structured:
        result["structuredContent"] = decision.as_dict()
    if call.modern:
        result["resultType"] = "complete"
    return _result(call.id, result)


def paused(call: Call, decision: Decision, state: str) -> dict[str, Any]:
    """The answer of 2026-07-28 that lets the client ask its user and send the call again."""
    question = {"method": "elicitation/create", "params": _question(decision)}
    result = {
        "resultType": "input_required",
        "inputRequests": {QUESTION: question},
        "requestState": state,
        "_meta": {META: decision.as_dict()},
    }
    return _result(call.id, result)


def elicitation(id: str, decision: Decision) -> dict[str, Any]:
    """The same as a request of its own, as it was until 2025-11-25."""
    return {"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": _question(decision)}


def cancelled(id: str) -> dict[str, Any]:
    """Takes a question back."""
    params = {"requestId": id, "reason": "the call it is about was cancelled"}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


def failure(id: Id | None, code: int, why: str) -> dict[str, Any]:
    """A JSON-RPC error."""
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": f"kiff-mcp: {why}"}}


def _question(decision: Decision) -> dict[str, Any]:
    return {"message": decision.explain(), "requestedSchema": _FORM}


def _result(id: Id, result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": result}
