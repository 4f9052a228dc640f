"""One value, one text: known vectors of RFC 8785, the bytes of the rfc8785 package, and a fixed point."""

from __future__ import annotations

import enum
import hashlib
import json
import math
import os
import random
import struct
from collections import OrderedDict
from typing import Any

import pytest
import rfc8785

from kiff.canonical import MAX_INT, Canonical, admit, digest, encode, fragment, is_canonical, parse
from kiff.errors import InvalidJson

NEW = random.randrange(10**9) if os.environ.get("KIFF_SOAK") == "1" else 8785
SEED = int(os.environ.get("KIFF_SEED", NEW))
VALUES = [2_000, pytest.param(20_000, marks=pytest.mark.slow), pytest.param(300_000, marks=pytest.mark.soak)]

NUMBERS = {
    "0": "0",
    "-0": "0",
    "-0.0": "0",
    "0e5": "0",
    "49.0": "49",
    "4.9e1": "49",
    "4.50": "4.5",
    "2e-3": "0.002",
    "0.000001": "0.000001",
    "1e-6": "0.000001",
    "-0.00000123": "-0.00000123",
    "0.0000099999999999999999": "0.000009999999999999999",
    "1e-7": "1e-7",
    "0.00000000000000000000000000001": "1e-29",
    "1e-27": "1e-27",
    "5e-324": "5e-324",
    "1e-400": "0",
    "333333333.33333329": "333333333.3333333",
    "333333333.33333333": "333333333.3333333",
    "0.1": "0.1",
    "123456789012345.678": "123456789012345.67",
    "9007199254740991": "9007199254740991",
    "-9007199254740991.0": "-9007199254740991",
    "9.007199254740991e15": "9007199254740991",
    "4503599627370495.5": "4503599627370495.5",
}

STRINGS = {
    '"\\u0041"': '"A"',
    '"\\/"': '"/"',
    '"\\b\\t\\n\\f\\r\\"\\\\"': '"\\b\\t\\n\\f\\r\\"\\\\"',
    '"\\u0008\\u000a"': '"\\b\\n"',
    '"\\u000F\\u001f"': '"\\u000f\\u001f"',
    '"\\u007f\\u0080"': '"\x7f\x80"',
    '"\\u20AC"': '"€"',
    '"\\u2028\\u2029"': '"\u2028\u2029"',
    '"\\ud83d\\ude02"': '"😂"',
    '"\\u003c\\u003e\\u0026"': '"<>&"',
    '"A\\u030a"': '"A\u030a"',  # no normalisation: not the same text as Å
}


@pytest.mark.parametrize(("text", "expected"), (NUMBERS | STRINGS).items())
def test_known_scalars(text: str, expected: str) -> None:
    assert parse(text).data.decode() == parse(f"[{text}]").data.decode()[1:-1] == expected


def test_keys_are_sorted_by_utf16_code_unit() -> None:
    """The order of RFC 8785, 3.2.3: the emoji, past U+FFFF, comes before the Hebrew form, below it."""
    expected = ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]
    for start in range(len(expected)):
        keys = expected[start:] + expected[:start]
        assert list(json.loads(admit(dict.fromkeys(keys)).data)) == expected
    assert sorted(expected) != expected, "the control: code points would put the emoji last"


def test_combining_marks_are_sorted_as_they_are() -> None:
    assert admit({"é": 1, "e\u0301": 2, "z": 3}).data.decode() == '{"e\u0301":2,"z":3,"é":1}'


def test_nested_objects_are_sorted_and_arrays_are_not() -> None:
    assert parse(b' { "b" : [ 3 , 1 ] , "a" : { "d" : null , "c" : [ true, false ] } } ').data == (
        b'{"a":{"c":[true,false],"d":null},"b":[3,1]}'
    )


def test_integral_floats_become_integers() -> None:
    for canonical in (parse(b'{"amount":49.0}'), admit({"amount": 49.0})):
        assert canonical == Canonical({"amount": 49}, b'{"amount":49}')
        assert type(canonical.value["amount"]) is int


def test_booleans_stay_booleans() -> None:
    assert admit([True, False, None, 1, 0]).data == b"[true,false,null,1,0]"


def test_admit_copies() -> None:
    inner = {"b": [1]}
    canonical = admit({"a": inner, "again": inner})
    inner["b"].append(2)
    canonical.value["a"]["b"].append(3)
    assert canonical.value["again"] == {"b": [1]}
    assert inner == {"b": [1, 2]}


class Colour(str, enum.Enum):  # noqa: UP042 - the kind whose str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Ratio(float):
    pass


def test_admit_reads_subclasses_as_what_they_extend() -> None:
    value = OrderedDict([(Colour.RED, (Colour.RED, Level.HIGH)), ("r", Ratio(2.0))])
    canonical = admit(value)
    assert canonical == Canonical({"red": ["red", 3], "r": 2}, b'{"r":2,"red":["red",3]}')
    assert [type(key) for key in canonical.value] == [str, str]
    assert [type(item) for item in canonical.value["red"]] == [str, int]


def test_a_str_and_its_utf8_are_the_same_text() -> None:
    assert parse('{"é":"😀"}') == parse('{"é":"😀"}'.encode())


def test_encode_embeds_fragments_as_they_are() -> None:
    inner = parse(b'{"z":1e-6,"a":2}')
    outer = encode({"b": fragment(inner.data), "a": (1, "x", None, True)})
    assert outer == b'{"a":[1,"x",null,true],"b":{"a":2,"z":0.000001}}'
    assert is_canonical(outer)


def test_digest_names_the_algorithm() -> None:
    assert digest(b"{}") == "sha256:" + hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize(
    "data",
    [b" 1", b"1\n", b"1.0", b"-0", b"1e-6", b'{"b":1,"a":2}', b'"\\u0041"', b'"\\/"', b'{"a":1,"a":1}', b""],
)
def test_a_second_text_of_a_value_is_not_canonical(data: bytes) -> None:
    assert not is_canonical(data)


def test_a_record_may_be_larger_and_deeper_than_what_it_holds() -> None:
    value = admit(json.loads("[" * 32 + "]" * 32))
    assert is_canonical(encode({"data": {"parameters": fragment(value.data)}}))
    assert is_canonical(b'"' + b"x" * (1_048_576 - 2) + b'"')
    assert not is_canonical(b'"' + b"x" * (1_048_576 - 1) + b'"')
    assert not is_canonical(b"[" * 65 + b"]" * 65)


# One string of each kind that encoders treat in a way of their own.
CHARACTERS = 'aZ0 /:"\\<\x7f\t\n\x00\x1féö€\u2028\ud7ff\ue000\ufb33\ufe0f\uffff😀\U00010000\U0010ffff'
PIECES = [*CHARACTERS, "::", "\\u003a", "e-6", "1e-6,", "e\u0301"]
EDGES = [5e-324, 2.2250738585072014e-308, 1e-7, 1e-6, 1e-5, 0.1, 1.0, 1e15, 2.0**52 - 0.5, float(MAX_INT)]


def number(rng: random.Random) -> float:
    """A double within ±(2^53-1): any bits, any magnitude, few digits, or next to an edge."""
    kind = rng.randrange(4)
    if kind == 0:
        value = struct.unpack("<d", rng.randbytes(8))[0]
    elif kind == 1:
        value = rng.uniform(-10, 10) * 10.0 ** rng.randint(-20, 15)
    elif kind == 2:
        value = round(rng.uniform(-1000, 1000), rng.randint(0, 9)) * 10.0 ** rng.randint(-9, 2)
    else:
        value = math.nextafter(rng.choice(EDGES), rng.choice([-math.inf, math.inf])) * rng.choice([-1, 1])
    return float(value) if -MAX_INT <= value <= MAX_INT else rng.choice(EDGES)


def text(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.choice((0, 1, 1, 2, 3, 8))))


def value(rng: random.Random, levels: int) -> Any:
    kind = rng.randrange(9 if levels else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, -1, MAX_INT, -MAX_INT, rng.randint(-MAX_INT, MAX_INT)])
    if kind in (2, 3):
        return number(rng)
    if kind in (4, 5):
        return text(rng)
    size = rng.choice((0, 1, 2, 3, 5))
    if kind == 6:
        return rng.choice((list, tuple))(value(rng, levels - 1) for _ in range(size))
    return {text(rng): value(rng, levels - 1) for _ in range(size)}


@pytest.mark.parametrize("values", VALUES)
def test_the_bytes_are_those_of_the_rfc8785_package(values: int) -> None:
    print(f"KIFF_SEED={SEED}")
    rng = random.Random(SEED)
    for index in range(values):
        drawn = value(rng, 4)
        canonical = admit(drawn)
        assert canonical.data == rfc8785.dumps(drawn), index
        again = parse(canonical.data)
        assert again == canonical, index
        spelt = json.dumps(drawn, indent=rng.choice((None, 1)), ensure_ascii=rng.random() < 0.5)
        assert parse(spelt).data == canonical.data, index


@pytest.mark.parametrize("values", VALUES)
def test_every_number_is_written_as_the_rfc8785_package_does(values: int) -> None:
    print(f"KIFF_SEED={SEED}")
    rng = random.Random(SEED)
    for _ in range(values * 2):
        drawn = number(rng)
        assert admit(drawn).data == rfc8785.dumps(drawn), drawn.hex()


def test_every_character_is_written_as_the_rfc8785_package_does() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    for start in range(0, len(characters), 4096):
        block = "".join(characters[start : start + 4096])
        assert admit(block).data == rfc8785.dumps(block), f"{start:#x}"


def test_every_pair_of_kinds_of_character_is_sorted_as_the_rfc8785_package_does() -> None:
    for first in PIECES:
        for second in PIECES:
            drawn = {first: 1, second: 2, "x" + first: 3, "x" + second: 4}
            assert admit(drawn).data == rfc8785.dumps(drawn), (first, second)


def test_no_change_of_one_byte_leaves_a_canonical_text_of_the_same_value() -> None:
    """What a digest is for: flip any byte, and it is another value or no value."""
    canonical = parse(b'{"amount":49,"note":"caf\xc3\xa9: 1e-6","tags":["a",true,null,-0.5]}')
    for at in range(len(canonical.data)):
        for bit in range(8):
            changed = bytearray(canonical.data)
            changed[at] ^= 1 << bit
            try:
                assert parse(bytes(changed)).value != canonical.value
            except InvalidJson:
                continue
