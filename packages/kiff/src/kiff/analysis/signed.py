"""A stored receipt against its signature and its record."""

from __future__ import annotations

from typing import Any

import orjson
from msgspec import DecodeError, json

from kiff.errors import InvalidInput
from kiff.ledger import Problem, PublicKeys, check, core_of, flat
from kiff.ledger.binding import Leaf, same
from kiff.protocol.receipt import Receipt

_BATCH = "kiff_batch_"


def check_receipt(receipt: Receipt, record: dict[str, Any] | None, keys: PublicKeys) -> tuple[Problem, ...]:
    """What is wrong with a receipt.

    Args:
        record: the members of the record at its position; None when that was changed, and is named itself.
    """
    where = f"receipt {receipt.id}"
    try:
        proofs = {} if receipt.batch is None else {"batch": json.decode(receipt.batch)}
        value = flat(receipt.core, receipt.signature, proofs)
        canonical = core_of(value) == receipt.core
    except (DecodeError, InvalidInput, TypeError, KeyError, ValueError):
        field = "batch" if _reads(receipt.core) else "core"
        return (Problem(where, field, "cannot be read"),)
    if not canonical:
        return (Problem(where, "core", "is not canonical JSON (RFC 8785)"),)
    problems: list[Problem] = []
    if receipt.signature.startswith(_BATCH) != (receipt.batch is not None):
        problems.append(Problem(where, "batch", "belongs to a batch signature, and to no other"))
    for name, found in (("receipt_id", receipt.id), ("tenant", receipt.tenant)):
        if value.get(name) != found:
            problems.append(Problem(where, name, f"the row says `{found}`, its core `{value.get(name)!s:.80}`"))
    problems += _renamed(_in_record(value, record, receipt), where)
    checked = check(value, keys)
    if checked.problem is not None:
        problems += _renamed((checked.problem,), where)
    return tuple(problems)


def _in_record(value: dict[str, Any], record: dict[str, Any] | None, receipt: Receipt) -> tuple[Problem, ...]:
    if record is None:
        return ()
    if not isinstance(record["data"].get("receipt"), dict):
        return (Problem("receipt", "seq", f"record {receipt.seq} binds no receipt"),)
    return same(value, Leaf(record, b""))


def _renamed(problems: tuple[Problem, ...], where: str) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            where if problem.where == "receipt" else problem.where, problem.field, problem.message, problem.undecidable
        )
        for problem in problems
    )


def _reads(core: bytes) -> bool:
    try:
        return isinstance(orjson.loads(core), dict)
    except orjson.JSONDecodeError:
        return False
