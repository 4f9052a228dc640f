"""What the ledger's tests share: fixed keys, a tree in RFC 6962's own words, one real receipt in a log."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff.canonical import digest, encode
from kiff.ledger import (
    Checkpoint,
    Ed25519Signer,
    PublicKeys,
    consistency_proof,
    flat,
    inclusion_proof,
    leaf_hash,
    sign,
    sign_checkpoint,
)
from kiff.ledger.tree import Hashes

ORIGIN = "kiff.example/log/t0"
SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
KEYS = PublicKeys([SIGNER.public])


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word, over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = naive_split(len(leaves))
    return hashlib.sha256(b"\x01" + naive_root(leaves[:middle]) + naive_root(leaves[middle:])).digest()


def naive_split(size: int) -> int:
    middle = 1
    while middle * 2 < size:
        middle *= 2
    return middle


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    middle = naive_split(len(leaves))
    if index < middle:
        return [*naive_path(index, leaves[:middle]), naive_root(leaves[middle:])]
    return [*naive_path(index - middle, leaves[middle:]), naive_root(leaves[:middle])]


def naive_consistency(old: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """RFC 6962, section 2.1.2 (SUBPROOF)."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    middle = naive_split(len(leaves))
    if old <= middle:
        return [*naive_consistency(old, leaves[:middle], whole=whole), naive_root(leaves[middle:])]
    return [*naive_consistency(old - middle, leaves[middle:], whole=False), naive_root(leaves[:middle])]


def hashes_of(leaves: Sequence[bytes]) -> Hashes:
    return lambda level, index: naive_root(leaves[index << level : (index + 1) << level])


def numbered(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def core(number: int = 7, **changes: Any) -> bytes:
    """Canonical core of a receipt as the seed shows it."""
    fields = {
        "action": "REFUND_ORDER",
        "action_digest": digest(b"action"),
        "audit_url": "/v1/entities/order:ord_002/timeline",
        "decision": "approval_required",
        "domain_digest": digest(b"domain"),
        "domain_version": "refund-ops-v2",
        "entity": "order:ord_002",
        "issued_at": "2026-01-02T03:04:05.678Z",
        "issued_by": "kiff",
        "kid": SIGNER.kid,
        "policy_digest": None,
        "policy_version": None,
        "proposal_digest": digest(b"proposal"),
        "proposal_id": "prop_1",
        "reason": "amount_above_threshold",
        "receipt_id": f"rcpt_{number}",
        "tenant": "kiff-demo",
        "trace_id": "trace_1",
        "v": 1,
    }
    return encode({**fields, **changes})


def record(seq: int, **changes: Any) -> dict[str, Any]:
    """A record of the demo's log; the one with a receipt is made by `decision`."""
    return {
        "actor": {"id": "agent_1", "type": "agent"},
        "at": "2026-01-02T03:04:05.678Z",
        "causation_id": "prop_1",
        "data": {"event": {"payload": {"amount": 49.5}}},
        "entity": "order:ord_002",
        "kind": "event_ingested",
        "seq": seq,
        "tenant": "kiff-demo",
        "trace_id": "trace_1",
        "v": 1,
        "versions": {"domain": "refund-ops-v2", "policy": None},
        **changes,
    }


def decision(seq: int, receipt_core: bytes) -> dict[str, Any]:
    data = {
        "action": "REFUND_ORDER",
        "action_digest": digest(b"action"),
        "domain_digest": digest(b"domain"),
        "outcome": "approval_required",
        "proposal_digest": digest(b"proposal"),
        "proposal_id": "prop_1",
        "reasons": [{"code": "amount_above_threshold"}],
        "receipt": {"digest": digest(receipt_core), "id": "rcpt_7"},
    }
    return record(seq, kind="decision_recorded", data=data)


class Trail:
    """A log of eleven records whose sixth is the decision of one signed receipt."""

    size = 11
    seq = 5

    def __init__(self) -> None:
        self.core = core()
        self.records = [record(seq) for seq in range(self.size)]
        self.records[self.seq] = decision(self.seq, self.core)
        self.texts = [encode(each).decode() for each in self.records]
        self.leaves = [leaf_hash(text.encode()) for text in self.texts]

    def head(self, size: int = size) -> Checkpoint:
        return Checkpoint(ORIGIN, size, naive_root(self.leaves[:size]))

    def note(self, size: int = size) -> str:
        return sign_checkpoint(self.head(size), SIGNER).decode()

    def inclusion(self, seq: int, size: int = size) -> dict[str, Any]:
        nodes = inclusion_proof(seq, size, hashes_of(self.leaves))
        return {"index": seq, "size": size, "hashes": [node.hex() for node in nodes]}

    def growth(self, old: int, new: int = size) -> dict[str, Any]:
        nodes = consistency_proof(old, new, hashes_of(self.leaves))
        return {"from": old, "to": new, "hashes": [node.hex() for node in nodes]}

    def proofs(self, **changes: Any) -> dict[str, Any]:
        return {
            "log": ORIGIN,
            "seq": self.seq,
            "record": self.texts[self.seq],
            "inclusion": self.inclusion(self.seq),
            "checkpoint": self.note(),
            **changes,
        }

    def receipt(self, **changes: Any) -> dict[str, Any]:
        return flat(self.core, sign(SIGNER, self.core), self.proofs(**changes), "base-sepolia:0x2f")

    def bundle(self) -> dict[str, Any]:
        around = [{"record": self.texts[seq], "inclusion": self.inclusion(seq)} for seq in range(2, self.seq + 3)]
        receipt = self.receipt()
        note = receipt["proofs"].pop("checkpoint")
        return {
            "kiff_bundle": 1,
            "receipt": receipt,
            "records": around,
            "checkpoint": note,
            "jwks": {"keys": []},
        }


TRAIL = Trail()


def mutants(value: Any) -> Iterator[tuple[str, Any]]:
    """Every JSON value that differs from this one in one place: changed, removed, or with a key added."""
    if isinstance(value, dict):
        for name in value:
            yield f"-{name}", {key: copy.deepcopy(each) for key, each in value.items() if key != name}
            for path, changed in mutants(value[name]):
                yield f"{name}.{path}", {**value, name: changed}
        yield "+zz", {**value, "zz": None}
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield f"-{at}", value[:at] + value[at + 1 :]
            for path, changed in mutants(each):
                yield f"{at}.{path}", [*value[:at], changed, *value[at + 1 :]]
        yield "+", [*value, None]
    elif isinstance(value, str):
        yield "~", value + "x"
        yield "null", None
    elif isinstance(value, bool) or value is None:
        yield "~", "x"
    else:
        yield "~", value + 1
        yield "text", str(value)
