"""The tamper-evident log and the receipts' signatures: pure maths over bytes; I/O is passed in."""

from __future__ import annotations

from kiff.ledger.checkpoint import Checkpoint, Opened, open_checkpoint, sign_checkpoint
from kiff.ledger.evidence import verify_bundle, verify_receipt
from kiff.ledger.export import verify_export
from kiff.ledger.keys import Ed25519Signer, PublicKeys, Signer, jwk, jwks, kid_of, parse_jwks
from kiff.ledger.proof import Growth, Path
from kiff.ledger.receipts import BatchSignature, Checked, check, compact_jws, core_of, flat, sign, sign_batch
from kiff.ledger.tiles import Tile, TileHashes, completed, tile_path
from kiff.ledger.tree import (
    EMPTY,
    Log,
    consistency_proof,
    extend,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from kiff.ledger.verdict import Problem, Rung, Verdict

__all__ = [
    "BatchSignature",
    "Checked",
    "Checkpoint",
    "EMPTY",
    "Ed25519Signer",
    "Growth",
    "Log",
    "Opened",
    "Path",
    "Problem",
    "PublicKeys",
    "Rung",
    "Signer",
    "Tile",
    "TileHashes",
    "Verdict",
    "check",
    "compact_jws",
    "completed",
    "consistency_proof",
    "core_of",
    "extend",
    "flat",
    "inclusion_proof",
    "jwk",
    "jwks",
    "kid_of",
    "leaf_hash",
    "node_hash",
    "open_checkpoint",
    "parse_jwks",
    "root",
    "sign",
    "sign_batch",
    "sign_checkpoint",
    "tile_path",
    "verify_bundle",
    "verify_consistency",
    "verify_export",
    "verify_inclusion",
    "verify_receipt",
]
