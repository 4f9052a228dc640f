"""An exported log verifies from the public keys alone, and whatever is changed in it is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from analysis_cases import keys_of

from kiff.analysis.export import export_lines
from kiff.canonical import encode
from kiff.errors import NotFound
from kiff.ledger import PublicKeys, open_checkpoint, verify_export
from kiff.ledger.checkpoint import Opened
from kiff.ledger.verdict import Verdict
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

ORDER = "order:ord_002"
Lines = list[bytes]


def exported(path: Path, entity: str | None = None) -> Lines:
    with closing(SqliteStore(path, read_only=True)) as store:
        return list(export_lines(store, "default", entity=entity))


def checked(path: Path, lines: Lines) -> Verdict:
    return verify_export(lines, keys_of(path))


@pytest.fixture(params=[None, ORDER], ids=["whole", "entity"])
def export(request: pytest.FixtureRequest, busy: Path) -> Lines:
    return exported(busy, request.param)


def test_an_export_is_valid_and_says_what_it_covers(busy: Path, export: Lines) -> None:
    verdict = checked(busy, export)
    assert (verdict.status, verdict.reached) == ("valid", "INCLUDED"), verdict.problems
    assert str(len(export) - 1) in verdict.rungs[1].detail


def test_every_line_is_an_object_whose_record_is_the_stored_one(busy: Path) -> None:
    lines = exported(busy)
    with closing(SqliteStore(busy, read_only=True)) as store:
        bodies = [row.body for row in store.records("default", limit=10_000)]
    assert [encode(json.loads(line)["record"]) for line in lines[1:]] == bodies[: len(lines) - 1]


def test_values_beside_the_log_travel_with_their_record(busy: Path) -> None:
    assert any(b'"beside":{"sha256:' in line for line in exported(busy))


def test_nothing_signed_is_nothing_to_export() -> None:
    with pytest.raises(NotFound):
        next(export_lines(MemoryStore(), "default"))


def test_without_the_key_it_is_undecidable(export: Lines) -> None:
    assert verify_export(export, PublicKeys()).status == "undecidable"


def test_a_saved_head_is_compared(busy: Path) -> None:
    lines = exported(busy)
    with closing(SqliteStore(busy, read_only=True)) as store:
        note = store.checkpoint("default")
        assert note is not None
        opened = open_checkpoint(note.note, keys_of(busy))
    assert isinstance(opened, Opened)
    verdict = verify_export(lines, keys_of(busy), opened.checkpoint)
    assert (verdict.status, verdict.reached) == ("valid", "CONSISTENT")


def with_receipt(lines: Lines) -> int:
    return next(at for at, line in enumerate(lines) if at and b'"receipt":{"action' in line)


def changed(lines: Lines, at: int, change: Callable[[bytes], bytes]) -> Lines:
    return [*lines[:at], change(lines[at]), *lines[at + 1 :]]


def record_of(line: bytes) -> bytes:
    """From the record's first byte to the end of the line."""
    return line.split(b',"record":', 1)[1]


def tamperings(lines: Lines) -> Iterator[tuple[str, Lines]]:
    at = with_receipt(lines)
    yield "a record's member", changed(lines, 1, lambda line: line.replace(b'"v":1', b'"v":1,"w":1'))
    yield "a record's actor", changed(lines, at, lambda line: line.replace(b'"id":"ops-agent"', b'"id":"ops-human"'))
    yield "a receipt's decision", changed(lines, at, lambda line: line.replace(b'"decision":"', b'"decision":"x', 1))
    yield "a receipt left out", changed(lines, at, lambda line: b'{"record":' + record_of(line))
    yield "two records in another order", [*lines[:1], *reversed(lines[1:3]), *lines[3:]]
    yield "a record twice", [*lines[:2], lines[1], *lines[2:]]
    yield "another header", changed(lines, 0, lambda line: line.replace(b'"tenant":"default"', b'"tenant":"other"'))
    yield "a key twice in a line", changed(lines, at, lambda line: b'{"receipt":{},' + line[1:])
    yield "a member nobody knows", changed(lines, at, lambda line: b'{"aside":1,' + line[1:])
    yield "white space", changed(lines, 1, lambda line: line + b" ")
    yield "values beside that are none", changed(lines, 1, lambda line: b'{"beside":[1],' + line[1:])
    yield "bytes that are no text", changed(lines, 1, lambda line: line.replace(b'"v":1', b'"v":1,"w":"\xff"'))
    yield "bytes that are no text, in the header", changed(lines, 0, lambda line: line.replace(b'"log"', b'"l\xffg"'))
    yield "a line without a bottom", changed(lines, 1, lambda line: b'{"beside":' + b"[" * 5000)
    yield (
        "a receipt that is none",
        changed(lines, at, lambda line: b'{"receipt":1,"record":' + line.split(b',"record":', 1)[1]),
    )
    yield "a key twice in the header", changed(lines, 0, lambda line: b'{"tenant":"x",' + line[1:])
    yield "a line that is no JSON", changed(lines, 1, lambda line: b"{")
    yield "no header", lines[1:]
    yield "nothing", []


def test_every_tampering_is_found(busy: Path, export: Lines) -> None:
    found = {name: checked(busy, lines).status for name, lines in tamperings(export)}
    assert found == dict.fromkeys(found, "invalid")
    assert len(found) == 19


def test_a_whole_log_that_lacks_records_is_found(busy: Path) -> None:
    lines = exported(busy)
    for fewer in (lines[:-1], [*lines[:5], *lines[6:]]):
        assert checked(busy, fewer).status == "invalid"


def test_a_value_beside_that_was_left_out_is_missed(busy: Path) -> None:
    lines = exported(busy)
    at = next(at for at, line in enumerate(lines) if b'{"beside":{"sha256:' in line)
    beside, record = lines[at].split(b',"record":', 1)
    rest = json.loads(beside + b"}")
    del rest["beside"]
    front = encode(rest)[:-1] + (b"," if rest else b"")
    assert checked(busy, [*lines[:at], front + b'"record":' + record, *lines[at + 1 :]]).status == "undecidable"


def test_no_records_say_nothing(busy: Path) -> None:
    header = exported(busy, ORDER)[0].replace(ORDER.encode(), b"order:somebody")
    assert checked(busy, [header]).status == "undecidable"


def test_a_newer_export_is_undecidable(busy: Path, export: Lines) -> None:
    newer = changed(export, 0, lambda line: line.replace(b'"kiff_export":1', b'"kiff_export":2'))
    assert checked(busy, newer).status == "undecidable"
