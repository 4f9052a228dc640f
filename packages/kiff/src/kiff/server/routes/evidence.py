"""Evidence: receipts with their proofs, the records themselves, and the keys to check them with."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, json

from kiff.errors import Conflict, InvalidInput, NotFound
from kiff.ledger.receipts import compact_jws, signature_bytes
from kiff.protocol.ids import require_id
from kiff.protocol.receipt import Receipt
from kiff.protocol.record import KINDS
from kiff.server.problems import Problem
from kiff.server.references import find
from kiff.server.route import Answer, Call, Route
from kiff.server.sight import told

PAGE = 200
SCAN = 5
"""How many pages of a log a filtered page may look through."""
KEYS = "application/jwk-set+json"
JOSE = "application/jose"
KEYS_SECONDS = 300
Seq = Annotated[int, Meta(ge=-1, le=2**53 - 1)]
"""A position in the log; -1 is the place before its first record."""
Limit = Annotated[int, Meta(ge=1, le=PAGE)]


class SignedReceipt(Struct):
    """The signed, flat JSON of a decision. Members that say nothing of it are left out, or null."""

    v: int
    receipt_id: str
    trace_id: str
    tenant: str
    entity: str | None
    action: str
    decision: str
    reason: str
    domain_version: str | None
    policy_version: str | None
    issued_by: str
    issued_at: str
    kid: str
    proposal_id: str
    action_digest: str
    proposal_digest: str
    domain_digest: str | None
    policy_digest: str | None
    audit_url: str
    signature: str
    anchor: str | None
    proofs: dict[str, Any]
    expires_at: str | UnsetType = UNSET
    approval_id: str | UnsetType = UNSET
    previous_receipt: str | UnsetType = UNSET


class Proof(Struct):
    """What goes into a receipt's `proofs`: its record, the path to a signed head, and the head.

    A record that is nested too deeply to be read back is given as its exact text.
    """

    log: str
    seq: int
    record: dict[str, Any] | str
    inclusion: dict[str, Any]
    checkpoint: str
    batch: dict[str, Any] | UnsetType = UNSET


class Bundle(Struct):
    """A receipt with the records of its trace, each with its proof, all under one signed head: `kiff verify` reads it.

    Records that the caller may not see, or that no head covers yet, are left out.
    """

    kiff_bundle: int
    receipt: SignedReceipt
    records: list[dict[str, Any]]
    checkpoint: str


class Filter(Struct, forbid_unknown_fields=True):
    """A page of the log. `after`: a seq; `kind`, `entity`: only records of it."""

    after: Seq = -1
    limit: Limit = PAGE
    kind: str | None = None
    entity: str | None = None


class Record(Struct):
    """One line of the log: a step, whose it was, and what led to it."""

    v: int
    seq: int
    at: str
    kind: str
    tenant: str
    entity: str | None
    actor: dict[str, Any]
    trace_id: str
    causation_id: str
    versions: dict[str, Any]
    data: dict[str, Any]


class Records(Struct, omit_defaults=True):
    """Records of the tenant's log, oldest first. `next` is the `after` of the next page; a page may be empty."""

    records: list[Record]
    next: int | UnsetType = UNSET


class KeySet(Struct):
    """Every public key that signed here (RFC 7517). A verifier takes keys from nowhere else."""

    keys: list[dict[str, str]]


async def receipt(call: Call) -> Answer:
    if JOSE in call.request.headers.get("accept", ""):
        return await jws(call)
    return Answer(await asyncio.to_thread(_flat, call), headers={"vary": "accept"})


async def jws(call: Call) -> Answer:
    row = await asyncio.to_thread(_receipt, call)
    signature = signature_bytes(row.signature)
    if signature is None:
        message = f"`{row.id}` was signed together with others, so it has no JWS of its own; ask for its proof"
        raise Conflict(message, receipt_id=row.id)
    text = compact_jws(row.core, json.decode(row.core)["kid"], signature)
    return Answer(text.encode(), headers={"vary": "accept"}, media=JOSE)


async def proof(call: Call) -> Answer:
    receipt_id = await _covered(call)
    found = await asyncio.to_thread(call.tower.runtime.read.receipt, receipt_id, tenant=call.tenant, proof=True)
    return Answer(found["proofs"])


async def bundle(call: Call) -> Answer:
    receipt_id = await _covered(call)
    return Answer(await asyncio.to_thread(_bundle, call, receipt_id))


async def records(call: Call) -> Answer:
    query: Filter = call.query
    entity = wanted(call, query.kind, query.entity)
    return Answer(await asyncio.to_thread(_records, call, entity, query))


async def keys(call: Call) -> Answer:
    published = await asyncio.to_thread(call.tower.keys.public)
    caching = {"cache-control": f"public, max-age={KEYS_SECONDS}"}
    return Answer(published, headers=caching, media=KEYS)


def wanted(call: Call, kind: str | None, entity: str | None) -> str | None:
    """The reference of the entity that a question about records names, when it names one.

    Raises:
        InvalidInput: no record is of that kind, or that is no id. NotFound: no such type is declared.
    """
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"`kind` must be one of {', '.join(KINDS)}", field="kind")
    return None if entity is None else find(call.tower, call.tenant, require_id(entity, "entity"))


def _flat(call: Call) -> dict[str, Any]:
    return call.tower.runtime.read.receipt(_receipt(call).id, tenant=call.tenant)


def _receipt(call: Call) -> Receipt:
    """The receipt that the path names, when the caller may see it.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    receipt_id = require_id(call.path["id"], "id")
    row = call.sight().receipt(receipt_id)
    if row is None:
        raise NotFound(f"there is no receipt `{receipt_id}`", receipt_id=receipt_id)
    return row


async def _covered(call: Call) -> str:
    """The id of the receipt, once a signed head covers it: where none does yet, one is asked for."""
    row = await asyncio.to_thread(_receipt, call)
    note = await asyncio.to_thread(call.tower.store.checkpoint, call.tenant)
    if note is None or note.size <= row.seq:
        await call.answer(call.tower.runtime.checkpoint(call.tenant))
    return row.id


def _bundle(call: Call, receipt_id: str) -> dict[str, Any]:
    found = call.tower.runtime.read.bundle(receipt_id, tenant=call.tenant)
    seen = call.sight()
    found["records"] = [each for each in found["records"] if seen.seq(each["inclusion"]["index"])]
    return found


def _records(call: Call, entity: str | None, query: Filter) -> Records:
    """A page of what the caller may see, out of at most SCAN pages of the log."""
    seen, after = call.sight(), query.after
    found: list[Any] = []  # each is a record's own bytes: what was hashed is what is sent
    for _ in range(SCAN):
        rows = call.tower.store.records(call.tenant, entity=entity, after=after, limit=PAGE)
        for row in rows:
            said = told(row)
            if query.kind in (None, said.kind) and seen.record(said):
                if len(found) == query.limit:
                    return Records(found, after)
                found.append(Raw(row.body))
            after = row.seq
        if len(rows) < PAGE:
            return Records(found)
    return Records(found, after)


ROUTES = (
    Route(
        "GET",
        "/v1/receipts/{id}.jws",
        jws,
        "A receipt as a compact JWS, for any JOSE library.",
        "Evidence",
        answers={200: JOSE, 409: Problem},
    ),
    Route("GET", "/v1/receipts/{id}.json", receipt, "A receipt.", "Evidence", answers={200: SignedReceipt}),
    Route(
        "GET",
        "/v1/receipts/{id}",
        receipt,
        "A receipt; as a compact JWS for whoever accepts application/jose.",
        "Evidence",
        answers={200: {"application/json": SignedReceipt, JOSE: None}, 409: Problem},
    ),
    Route(
        "GET",
        "/v1/receipts/{id}/proof",
        proof,
        "What shows that a receipt is in the log.",
        "Evidence",
        answers={200: Proof},
    ),
    Route(
        "GET",
        "/v1/receipts/{id}/bundle",
        bundle,
        "A receipt and the records of its trace, to be verified offline.",
        "Evidence",
        answers={200: Bundle},
    ),
    Route(
        "GET",
        "/v1/records",
        records,
        "The tenant's log.",
        "Evidence",
        query=Filter,
        answers={200: Records, 404: Problem},
    ),
    Route(
        "GET",
        "/.well-known/jwks.json",
        keys,
        "The public keys that receipts and heads are verified with.",
        "Evidence",
        answers={200: {KEYS: KeySet}},
        access="public",
    ),
)
