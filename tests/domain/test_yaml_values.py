"""What the loader reads: the YAML 1.2 core schema and nothing older."""

from __future__ import annotations

import pytest

from kiff.domain.loader import read

VALUES = [
    ("no", "no"),
    ("NO", "NO"),
    ("yes", "yes"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("1:30", "1:30"),
    ("1_000", "1_000"),
    ("2026-05-24", "2026-05-24"),
    ("0b1", "0b1"),
    ("<<", "<<"),
    ("=", "="),
    ("'true'", "true"),
    ('"12"', "12"),
    ("''", ""),
    ("１２", "１２"),
    ("true", True),
    ("FALSE", False),
    ("~", None),
    ("", None),
    ("Null", None),
    ("12", 12),
    ("-0", 0),
    ("+12", 12),
    ("007", 7),
    ("0o17", 15),
    ("0x1F", 31),
    ("1.5", 1.5),
    (".5", 0.5),
    ("1e3", 1000.0),
    ("9007199254740991", 9007199254740991),
]


@pytest.mark.parametrize(("written", "value"), VALUES, ids=[repr(w) for w, _ in VALUES])
def test_plain_scalars(written: str, value: object) -> None:
    found = read(f"a: {written}\n").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_on_is_a_key_and_norway_is_a_country() -> None:
    assert read("on: X\ncountries: [no, se]\n").value == {"on": "X", "countries": ["no", "se"]}


def test_a_merge_key_merges_nothing() -> None:
    assert read("<<: {a: 1}\n").value == {"<<": {"a": 1}}


def test_every_value_keeps_its_line() -> None:
    lines = read("a: 1\nb:\n  - c\n  - d:\n      e\n    f: [g,\n      h]\n").lines
    assert lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 1, "d"): 4,
        ("b", 1, "f"): 6,
        ("b", 1, "f", 0): 6,
        ("b", 1, "f", 1): 7,
    }


def test_a_byte_order_mark_is_not_content() -> None:
    assert read(b"\xef\xbb\xbfdomain: a\n").value == {"domain": "a"}


def test_json_is_yaml() -> None:
    assert read('{"domain": "a", "states": ["\\u00e9", "B"]}').value == {"domain": "a", "states": ["é", "B"]}
