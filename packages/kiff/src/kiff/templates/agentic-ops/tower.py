"""KIFF over HTTP, without the socket: `post(path, key, body)` answers (status, body), in the shapes of the wire.

Who talks to it cannot tell the difference, so the same agent will talk to a server when its `post` is one that sends
bytes. Authority comes from the key alone; what a body says about its actor is compared with it, and never believed.
"""

from __future__ import annotations

import json
import re
import secrets
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kiff import Caller, KiffError, Principal, Runtime
from kiff.errors import Conflict, Forbidden, InvalidInput, NotFound, Overloaded
from kiff.gate.reasons import MESSAGES
from kiff.runtime.answers import Executed

Body = dict[str, Any]
Answer = tuple[int, Body]

REFUSED = {
    "entity_busy": 409,
    "invalid_parameter": 400,
    "missing_parameter": 400,
    "permission_denied": 403,
    "unknown_action": 404,
    "unknown_entity_type": 404,
}
"""Reason code -> status; every other refusal is 422."""

FAILED = ((InvalidInput, 400), (Forbidden, 403), (NotFound, 404), (Conflict, 409), (Overloaded, 429), (KiffError, 503))


class Tower:
    """The control tower in this process.

    Args:
        principals: the file that says who may act.
    """

    def __init__(self, runtime: Runtime, principals: Path) -> None:
        self._runtime = runtime
        self._principals = tomllib.loads(principals.read_text("utf-8"))
        self._callers: dict[str, Caller] = {}

    def key(self, name: str) -> str:
        """A new key that acts as a principal of the file, for as long as this process lives."""
        entry = self._principals[name]
        key = f"kiff_test_default_{secrets.token_urlsafe(24)}"
        principal = Principal(name, entry["type"], entry.get("person"), entry.get("name"))
        self._callers[key] = Caller(principal, tuple(entry.get("roles", ())))
        return key

    def post(self, path: str, key: str, body: Body) -> Answer:
        """One request. It is answered when what it asked for is durable, or refused."""
        caller = self._callers.get(key)
        if caller is None:
            return 401, _error("unauthorized", "this key is not one of ours")
        for pattern, known, answer in ROUTES:
            if found := re.fullmatch(pattern, path):
                parts = [unquote(part) for part in found.groups()]
                try:
                    _admit(body, known, caller)
                    status, said = answer(self._runtime, caller, body, *parts)
                except KiffError as error:
                    status = next(status for kind, status in FAILED if isinstance(error, kind))
                    said = _error(error.code, error.message, error.detail)
                return status, json.loads(json.dumps(said))
        return 404, _error("not_found", f"there is no POST {path}")


def execute(runtime: Runtime, caller: Caller, body: Body, entity: str, action: str) -> Answer:
    given = {name: body.get(name) for name in ("parameters", "id", "approval_id")}
    told = runtime.execute(caller, entity=f"{body.get('entity_type')}:{entity}", action=action, **given).result()
    ids = {"receipt_id": told.receipt_id, "trace_id": told.trace_id}
    if told.status is None:
        return REFUSED.get(told.reason, 422), _refusal(told) | ids
    result = {"action_name": action, "entity_id": entity, "status": told.status, "executed": told.executed}
    ended = {"message": told.message, "output": told.output, "operation_id": told.operation_id}
    return 200, {"result": result | ended | ids}


def ingest(runtime: Runtime, caller: Caller, body: Body) -> Answer:
    entity = f"{body.get('entity_type')}:{body.get('entity_id')}"
    given = {name: body[name] for name in ("payload", "source", "id", "actor_id") if name in body}
    told = runtime.ingest(caller, type=body.get("type", ""), entity=entity, **given).result()
    if not told.applied:
        detail = _members(told, "event_id", "entity", "state", "trace_id")
        return 422, _error(told.code or "invalid_transition", told.message or "", detail)
    return 201, {"event": _members(told, "event_id", "entity", "state", "version", "trace_id")}


def review(runtime: Runtime, caller: Caller, body: Body, approval_id: str, verb: str) -> Answer:
    answer = runtime.grant if verb == "grant" else runtime.deny
    told = answer(caller, approval_id, body.get("reason", "")).result()
    names = ("id", "status", "action_name", "entity_id", "reviewed_by", "reviewed_at", "reason", "receipt_id", "use_by")
    return 200, {"approval": _members(told, *names)}


ROUTES: tuple[tuple[str, set[str], Callable[..., Answer]], ...] = (
    (
        r"/v1/entities/([^/]+)/actions/([^/]+)/execute",
        {"entity_type", "actor", "parameters", "approval_id", "id"},
        execute,
    ),
    (r"/v1/events", {"type", "source", "entity_id", "entity_type", "actor_id", "payload", "id"}, ingest),
    (r"/v1/approvals/([^/]+)/(grant|deny)", {"actor", "reason"}, review),
)


def _admit(body: Body, known: set[str], caller: Caller) -> None:
    """Fields the wire knows, and no other actor than the key's."""
    if not isinstance(body, dict):
        raise InvalidInput("the body must be an object", field="body")
    if strange := body.keys() - known:
        raise InvalidInput(f"`{min(strange)}` is no field of this request", field=min(strange))
    actor = body.get("actor", {})
    if not isinstance(actor, dict) or actor.keys() - {"id", "type", "roles"}:
        raise InvalidInput("`actor` must be an object with id and type", field="actor")
    own = {"id": caller.principal.id, "type": caller.principal.type}
    if any(actor.get(name, value) != value for name, value in own.items()):
        raise Forbidden("`actor` is somebody else than the holder of the key", reason="actor_not_key_holder")


def _refusal(told: Executed) -> Body:
    """Why the gate said no: the seed's sentence, the code, and what would have to change."""
    primary = told.reasons[0]
    error = MESSAGES.get(primary.code, told.message)  # the id of a rule has no sentence of KIFF's
    said = {"error": error, "action": told.action, "code": primary.code, "message": told.message}
    opened = {} if told.approval_id is None else {"approval_id": told.approval_id}
    return said | opened | primary.detail | {"reasons": [each.code for each in told.reasons]}


def _members(told: object, *names: str) -> Body:
    """Those of an answer's members that are there."""
    found = {name: getattr(told, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _error(code: str, sentence: str, detail: Body | None = None) -> Body:
    return {"error": sentence, "code": code} | (detail or {})
