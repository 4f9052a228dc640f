"""Check an exported receipt, alone or with records around it, offline, from the public keys alone.

The ladder, lowest rung first, each saying what it leaves unchecked:

    SIGNED      the receipt's signature covers every field of its core
    INCLUDED    a signed head of the log covers the record that holds the core's digest
    CONSISTENT  that log only grew from (or to) a head the caller had saved

Keys come from the caller. A key set inside a bundle is never looked at: whoever made the bundle could have
invented it. Each step runs whatever became of the one before it, so that a broken field is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kiff.canonical import admit, parse
from kiff.errors import InvalidInput
from kiff.ledger.binding import Leaf, read_record, same, under
from kiff.ledger.checkpoint import Checkpoint, open_checkpoint
from kiff.ledger.keys import PublicKeys
from kiff.ledger.proof import disagreement
from kiff.ledger.receipts import check
from kiff.ledger.verdict import Problem, Rung, Verdict, status_of

MAX_EVIDENCE_BYTES = 64 * 1024 * 1024
BUNDLE_VERSION = 1
LADDER = ("SIGNED", "INCLUDED", "CONSISTENT")

_NEEDED = ("log", "seq", "record", "inclusion", "checkpoint")
_BUNDLE_KEYS = frozenset({"checkpoint", "consistency", "jwks", "kiff_bundle", "receipt", "records"})

Problems = tuple[Problem, ...]


def verify_receipt(
    receipt: bytes | Mapping[str, Any], keys: PublicKeys, saved_head: Checkpoint | None = None
) -> Verdict:
    """Check a flat receipt as far up the ladder as its `proofs` reach.

    Args:
        receipt: the receipt's JSON, or its parsed value. Its `proofs` may hold log, seq, record, inclusion
            and checkpoint, and consistency {from, to, hashes} towards the saved head. A record is its exact
            text, or its object if the whole stays within the depth that kiff.canonical reads.
        keys: the keys the caller trusts, for receipts and for heads.
        saved_head: a head of the same log that the caller kept from earlier.
    """
    value = _read(receipt, "receipt")
    if isinstance(value, Problem):
        return _unread(value)
    return _ladder(value, (), _proofs(value), keys, saved_head)


def verify_bundle(bundle: bytes | Mapping[str, Any], keys: PublicKeys, saved_head: Checkpoint | None = None) -> Verdict:
    """Check a receipt together with other records of its log, all under one signed head.

    Args:
        bundle: {"kiff_bundle": 1, "receipt": …, "records": [{"record", "inclusion"}, …], "checkpoint": note},
            with "consistency" {from, to, hashes} if a saved head is to be compared. Its "jwks" is not read.
        keys: the keys the caller trusts, for receipts and for heads.
        saved_head: a head of the same log that the caller kept from earlier.
    """
    value = _read(bundle, "bundle")
    if isinstance(value, Problem):
        return _unread(value)
    problem = _bundle_problem(value)
    if problem is not None:
        return _unread(problem)
    proofs = _proofs(value["receipt"])
    for name in ("checkpoint", "consistency"):
        if name in value and proofs.setdefault(name, value[name]) != value[name]:
            return _unread(Problem("receipt", f"proofs.{name}", f"differs from the bundle's `{name}`"))
    return _ladder(value["receipt"], tuple(value["records"]), proofs, keys, saved_head)


def _ladder(
    receipt: dict[str, Any],
    records: tuple[Any, ...],
    proofs: dict[str, Any],
    keys: PublicKeys,
    saved_head: Checkpoint | None,
) -> Verdict:
    # 1. The signature, from the caller's keys.
    checked = check(receipt, keys)
    broken: Problems = () if checked.problem is None else (checked.problem,)
    signed = _rung(0, broken, f"key {checked.kid} signed every field; that does not put it in a log")
    missing = [name for name in _NEEDED if name not in proofs]
    if missing and not records:
        detail = f"not checked: the receipt's proofs lack {', '.join(missing)}"
        consistent, unmet = _consistent(None, saved_head, None)
        return _verdict((signed, Rung(LADDER[1], None, detail), consistent), broken + unmet)
    # 2. The head; every record under it, in the log's order; the receipt in its record.
    head, problems = _open(proofs.get("checkpoint"), proofs.get("log"), keys)
    problems += _records(records, receipt, head)
    if missing:
        problems += (Problem("receipt", "proofs", f"lack {', '.join(missing)}", undecidable=True),)
    else:
        problems += _recorded(receipt, proofs, head)
    included = _rung(1, problems, _included_detail(head, len(records)))
    # 3. The saved head.
    consistent, unmet = _consistent(head, saved_head, proofs.get("consistency"))
    return _verdict((signed, included, consistent), broken + problems + unmet)


def _open(note: object, origin: object, keys: PublicKeys) -> tuple[Checkpoint | None, Problems]:
    if not isinstance(note, str):
        return None, (Problem("checkpoint", "", "expected the text of a signed note"),)
    opened = open_checkpoint(note.encode(), keys)
    if isinstance(opened, Problem):
        return None, (opened,)
    if opened.checkpoint.origin != origin:
        message = f"expected a head of the log `{origin!s:.64}`, found one of `{opened.checkpoint.origin}`"
        return None, (Problem("checkpoint", "origin", message),)
    return opened.checkpoint, ()


def _records(records: tuple[Any, ...], receipt: dict[str, Any], head: Checkpoint | None) -> Problems:
    problems: list[Problem] = []
    last = -1
    for at, entry in enumerate(records):
        if not isinstance(entry, dict) or set(entry) != {"record", "inclusion"}:
            problems.append(Problem("bundle", f"records[{at}]", "expected a record and its inclusion"))
            continue
        leaf = read_record(entry["record"], f"records[{at}]")
        if isinstance(leaf, Problem):
            problems.append(leaf)
            continue
        problems += under(leaf, entry["inclusion"], head)
        if leaf.value.get("tenant") != receipt.get("tenant"):
            problems.append(Problem(leaf.where, "tenant", "another tenant's record beside this receipt"))
        if leaf.seq <= last:
            problems.append(Problem(leaf.where, "seq", f"out of the log's order: it follows {last}"))
        last = leaf.seq
    return tuple(problems)


def _recorded(receipt: dict[str, Any], proofs: dict[str, Any], head: Checkpoint | None) -> Problems:
    leaf = read_record(proofs["record"], "record")
    if isinstance(leaf, Problem):
        return (leaf,)
    return _position(proofs["seq"], leaf) + under(leaf, proofs["inclusion"], head) + same(receipt, leaf)


def _position(seq: object, leaf: Leaf) -> Problems:
    if type(seq) is int and seq == leaf.seq:
        return ()
    return (Problem("receipt", "proofs.seq", f"expected `{leaf.seq}`, the position its record states"),)


def _consistent(head: Checkpoint | None, saved: Checkpoint | None, proof: object) -> tuple[Rung, Problems]:
    """A saved head is a question: what it asks and the evidence cannot answer makes the whole undecidable."""
    if saved is None:
        detail = "not checked: without a saved head, a log cut short and signed again looks the same"
        return Rung(LADDER[2], None, detail), ()
    if head is None:
        message = "there is no signed head to compare it with"
        problem: Problem | None = Problem("saved head", "", message, undecidable=True)
    else:
        problem = disagreement(head, saved, proof)
    problems = () if problem is None else (problem,)
    detail = f"the log agrees with the saved head of size {saved.size}; others may have seen another"
    return _rung(2, problems, detail), problems


def _read(given: bytes | Mapping[str, Any], where: str) -> dict[str, Any] | Problem:
    try:
        if isinstance(given, bytes):
            value = parse(given, max_bytes=MAX_EVIDENCE_BYTES).value
        else:
            value = admit(given, max_bytes=MAX_EVIDENCE_BYTES).value
    except InvalidInput as error:
        return Problem(where, error.field, error.message)
    if not isinstance(value, dict):
        return Problem(where, "", "expected a JSON object")
    if "proofs" in value and not isinstance(value["proofs"], dict):
        return Problem(where, "proofs", "expected an object")
    return value


def _proofs(receipt: dict[str, Any]) -> dict[str, Any]:
    return dict(receipt.get("proofs", {}))


def _bundle_problem(value: dict[str, Any]) -> Problem | None:
    version = value.get("kiff_bundle")
    if type(version) is not int or version != BUNDLE_VERSION:
        newer = type(version) is int and version > BUNDLE_VERSION
        return Problem("bundle", "kiff_bundle", f"expected a bundle of version `{BUNDLE_VERSION}`", newer)
    for name in value:
        if name not in _BUNDLE_KEYS:
            return Problem("bundle", name[:64], "this version knows no such member")
    receipt = value.get("receipt")
    if not isinstance(receipt, dict) or not isinstance(receipt.get("proofs", {}), dict):
        return Problem("bundle", "receipt", "expected a flat receipt with its proofs")
    if not isinstance(value.get("records"), list):
        return Problem("bundle", "records", "expected a list")
    if "checkpoint" not in value:
        return Problem("bundle", "checkpoint", "expected the text of a signed note")
    return None


def _included_detail(head: Checkpoint | None, others: int) -> str:
    if head is None:
        return ""
    beside = f" and {others} more beside it; records left out cannot be seen" if others else ""
    return f"its record is under the signed head of size {head.size} of {head.origin}{beside}"


def _rung(step: int, problems: Problems, detail: str) -> Rung:
    if not problems:
        return Rung(LADDER[step], True, detail)
    ok = None if status_of(problems) == "undecidable" else False
    return Rung(LADDER[step], ok, "; ".join(problem.message for problem in problems))


def _unread(problem: Problem) -> Verdict:
    rungs = tuple(Rung(name, None, "not checked: nothing could be read") for name in LADDER)
    return _verdict(rungs, (problem,))


def _verdict(rungs: tuple[Rung, ...], problems: Problems) -> Verdict:
    return Verdict(status_of(problems), rungs, problems)
