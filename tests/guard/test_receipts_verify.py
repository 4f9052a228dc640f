"""Checking a receipts file: whatever is changed in it is found and named, and what cannot be found is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from receipt_cases import KEY, Members, change, lines_of, put, raw_receipt, seal_anew, write

from kiff_guard import Receipt
from kiff_guard.errors import LedgerError
from kiff_guard.ledgers import JSONLLedger
from kiff_guard.ledgers.verify import CANNOT_SHOW, Problem, verify

HEADER = ("seq", "kind", "at", "format", "version", "file", "seal", "hash")
ROW = ("seq", "kind", "at", "prev", "hash")
RECEIPT = tuple(field.name for field in fields(Receipt))


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    return write(tmp_path / "receipts.jsonl")


def codes(path: Path, **given: Any) -> list[tuple[int, str]]:
    return [(each.line, each.code) for each in verify(path, **given).problems]


def other(value: Any) -> Any:
    """Another value of the same type: the smallest change there is."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, dict):
        return {**value, "more": 1}
    return value[:-1] + ("0" if not value.endswith("0") else "1")


def test_what_a_guard_wrote_verifies(receipts: Path) -> None:
    found = verify(receipts)
    assert (found.ok, found.receipts, found.size, found.unsettled) == (True, 3, 6, [])
    assert found.head == lines_of(receipts)[-1]["hash"]


@pytest.mark.parametrize("name", HEADER)
def test_a_changed_header_is_found(receipts: Path, name: str) -> None:
    change(receipts, 0, lambda line: line.update({name: other(line[name])}))
    assert verify(receipts).problems[0].line == 1


@pytest.mark.parametrize("number", [1, 4, 6])
@pytest.mark.parametrize("name", ROW)
def test_a_changed_member_of_any_line_is_found(receipts: Path, number: int, name: str) -> None:
    change(receipts, number, lambda line: line.update({name: other(line[name])}))
    assert verify(receipts).problems[0].line == number + 1


@pytest.mark.parametrize("name", RECEIPT)
@pytest.mark.parametrize("number", [1, 6])
def test_a_changed_field_of_any_receipt_is_found(receipts: Path, number: int, name: str) -> None:
    change(receipts, number, lambda line: line["receipt"].update({name: other(line["receipt"][name])}))
    assert codes(receipts) == [(number + 1, "changed")]


@pytest.mark.parametrize("name", RECEIPT)
def test_a_field_that_is_changed_and_sealed_anew_breaks_the_next_line(receipts: Path, name: str) -> None:
    edit = lambda line: line["receipt"].update({name: other(line["receipt"][name])})  # noqa: E731
    change(receipts, 2, edit, sealed_anew=True)
    assert (4, "not_chained") in codes(receipts)


@pytest.mark.parametrize("number", [0, 1, 3, 5])
def test_a_line_that_is_taken_out_is_found(receipts: Path, number: int) -> None:
    lines = lines_of(receipts)
    del lines[number]
    put(receipts, lines)
    assert verify(receipts).problems[0].line == number + 1


@pytest.mark.parametrize(("one", "two"), [(1, 2), (2, 5), (5, 6), (0, 1)])
def test_lines_that_change_places_are_found(receipts: Path, one: int, two: int) -> None:
    lines = lines_of(receipts)
    lines[one], lines[two] = lines[two], lines[one]
    put(receipts, lines)
    assert verify(receipts).problems[0].line == one + 1


def test_a_line_that_is_put_in_is_found(receipts: Path) -> None:
    lines = lines_of(receipts)
    lines.insert(3, lines[2])
    put(receipts, lines)
    assert (4, "out_of_order") in codes(receipts)


def test_two_files_put_together_are_found(receipts: Path, tmp_path: Path) -> None:
    both = receipts.read_bytes() + write(tmp_path / "other.jsonl").read_bytes()
    receipts.write_bytes(both)
    assert verify(receipts).problems[0] == Problem(
        8, "out_of_order", "it has number 0 and stands at 7: lines are missing or moved"
    )


def test_a_cut_tail_is_found_only_with_what_was_kept_outside(receipts: Path) -> None:
    kept = verify(receipts)
    put(receipts, lines_of(receipts)[:-2])
    assert codes(receipts) == []
    assert CANNOT_SHOW["tail"] in verify(receipts).cannot_show
    assert codes(receipts, head=kept.head) == [(0, "head_not_found")]
    assert codes(receipts, size=kept.size) == [(0, "cut_off")]
    assert codes(receipts, head=kept.head, size=kept.size) == [(0, "cut_off"), (0, "head_not_found")]


def test_a_file_that_grew_still_has_the_head_that_was_kept(receipts: Path) -> None:
    kept = verify(receipts)
    write(receipts, calls=2)
    found = verify(receipts, head=kept.head, size=kept.size)
    assert (found.ok, found.size) == (True, kept.size + 4)
    assert CANNOT_SHOW["since"] in found.cannot_show


def test_a_head_kept_for_another_line_is_found(receipts: Path) -> None:
    assert codes(receipts, head=lines_of(receipts)[2]["hash"], size=3) == [(3, "head_elsewhere")]


def test_a_file_written_anew_is_found_by_a_head_and_not_without(receipts: Path) -> None:
    kept = verify(receipts)
    receipts.unlink()
    write(receipts)
    assert codes(receipts) == []
    assert codes(receipts, head=kept.head) == [(0, "head_not_found")]


def test_with_a_key_no_line_can_be_sealed_anew_without_it(tmp_path: Path) -> None:
    path = write(tmp_path / "sealed.jsonl", key=KEY)
    assert verify(path, key=KEY).ok
    change(path, 6, lambda line: line["receipt"].update(tool="harmless"), sealed_anew=True)
    assert (7, "other_seal") in codes(path, key=KEY)


@pytest.mark.parametrize("key", [None, b"another key of many letters"])
def test_a_sealed_file_does_not_verify_without_its_key(tmp_path: Path, key: bytes | None) -> None:
    assert verify(write(tmp_path / "sealed.jsonl", key=KEY), key=key).problems[0].line == 1


def test_a_key_for_a_file_without_one_is_refused(receipts: Path) -> None:
    assert codes(receipts, key=KEY) == [(1, "other_seal")]


def test_a_call_that_began_and_never_ended_is_named(tmp_path: Path) -> None:
    ledger = JSONLLedger(tmp_path / "receipts.jsonl")
    ledger.open(raw_receipt("rcpt_1"))
    ledger.open(raw_receipt("rcpt_2"))
    ledger.append(raw_receipt("rcpt_1"))
    found = verify(ledger.path)
    assert [(each.line, each.receipt_id, each.tool) for each in found.unsettled] == [(3, "rcpt_2", "refund")]
    assert found.ok


@pytest.mark.parametrize(
    ("verbs", "code"),
    [
        (("open", "open"), "opened_twice"),
        (("open", "append", "open"), "opened_twice"),
        (("open", "append", "other"), "settled_twice"),
        (("append", "other"), "settled_twice"),
    ],
)
def test_a_receipt_that_begins_or_ends_twice_is_found(tmp_path: Path, verbs: tuple[str, ...], code: str) -> None:
    ledger = JSONLLedger(tmp_path / "receipts.jsonl")
    for verb in verbs:
        kept = raw_receipt("rcpt_1", execution="failed" if verb == "other" else "succeeded")
        getattr(ledger, "open" if verb == "open" else "append")(kept)
    assert codes(Path(ledger.path)) == [(len(verbs) + 1, code)]


def test_the_same_end_written_again_is_no_second_one(tmp_path: Path) -> None:
    """A ledger whose disk failed says so, and is given the same receipt again."""
    ledger = JSONLLedger(tmp_path / "receipts.jsonl")
    ledger.append(raw_receipt("rcpt_1"))
    ledger.append(raw_receipt("rcpt_1"))
    found = verify(ledger.path)
    assert (found.ok, found.receipts) == (True, 1)
    assert found.notes == ["line 3: receipt 'rcpt_1' stands here once more, unchanged"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty"),
        (b"no receipts at all\n", "unreadable"),
        (b'{"seq":0}\n', "unreadable"),
        (b"[" * 100_000 + b',"hash":"sha256:' + b"0" * 64 + b'"}\n', "unreadable"),
        (b"\x00" * 50, "torn"),
        (b"\n", "unreadable"),
        (b"\xff\xfe\n", "unreadable"),
    ],
    ids=["empty", "text", "json", "deep", "zeros", "blank", "bytes"],
)
def test_what_is_no_receipts_file_is_said_to_be_none(tmp_path: Path, raw: bytes, code: str) -> None:
    path = tmp_path / "other.txt"
    path.write_bytes(raw)
    assert codes(path)[0] == (0 if code == "empty" else 1, code)


def test_a_name_that_stands_twice_is_refused_though_its_hash_is_right(receipts: Path) -> None:
    def twice(line: Members) -> str:
        return json.dumps(line, separators=(",", ":")).replace('"tool":', '"tool":"harmless","tool":', 1)

    lines = lines_of(receipts)
    last = lines.pop()
    put(receipts, lines)
    with receipts.open("ab") as file:
        file.write(sealed_text(twice(last)))
    assert codes(receipts) == [(7, "unreadable")]


@pytest.mark.parametrize("held", ["1e999", "-1e999", "NaN", "9" * 5000], ids=["inf", "-inf", "nan", "long"])
def test_a_number_that_is_none_is_found_though_its_hash_is_right(receipts: Path, held: str) -> None:
    lines = lines_of(receipts)
    last = json.dumps(lines.pop(), separators=(",", ":"))
    put(receipts, lines)
    with receipts.open("ab") as file:
        file.write(sealed_text(last.replace('"attempt":1', f'"attempt":{held}')))
    assert codes(receipts) == [(7, "unreadable")]


def test_text_that_was_not_written_as_we_write_it_is_read_all_the_same(receipts: Path) -> None:
    """A line may be as long as a line may be; written again it would be longer."""
    lines = lines_of(receipts)
    last = json.dumps(lines.pop(), separators=(",", ":"))
    put(receipts, lines)
    with receipts.open("ab") as file:
        file.write(sealed_text(last.replace('"reason":""', '"reason":"' + "\x7f" * 3_000_000 + '"')))
    assert codes(receipts) == []


def sealed_text(text: str) -> bytes:
    from kiff_guard.ledgers.line import Seal

    body = text[: text.rindex(',"hash"')] + "}"
    return f'{body[:-1]},"hash":"{Seal()(body.encode())}"}}\n'.encode()


def test_a_hash_is_that_of_the_text_before_it(receipts: Path) -> None:
    """As the page says it, so that any language can check a line."""
    from hashlib import sha256

    for raw in receipts.read_text("ascii").splitlines():
        body, _, made = raw.rpartition(',"hash":"')
        assert made == f'sha256:{sha256(f"{body}}}".encode()).hexdigest()}"}}'


def test_many_problems_are_counted_and_not_all_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "receipts.jsonl", calls=80, fsync=False)
    path.write_bytes(path.read_bytes().replace(b'"refund"', b'"refunD"'))
    found = verify(path)
    assert (len(found.problems), found.more) == (100, 60)
    assert found.shows == ()


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be read"):
        verify(tmp_path / "none.jsonl")


@pytest.mark.parametrize("edit", [seal_anew], ids=["unchanged"])
def test_the_tests_seal_as_the_ledger_does(receipts: Path, edit: Callable[[Members], None]) -> None:
    """The control of the tests above: sealing anew what was not changed changes nothing."""
    before = receipts.read_bytes()
    change(receipts, 3, edit)
    assert receipts.read_bytes() == before
