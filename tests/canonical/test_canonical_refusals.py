"""What `parse` and `admit` refuse, where they say it is, and that a lenient reader would have let it in."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from kiff.canonical import MAX_BYTES, MAX_DEPTH, MAX_INT, admit, parse
from kiff.errors import InvalidJson

DEEP = MAX_DEPTH + 1

# Texts that the standard library reads without a word, and the place that the refusal names.
LENIENT: dict[str, tuple[str, str]] = {
    "repeated key": ('{"a":1,"a":2}', "body.a"),
    "repeated key with equal values": ('{"a":1,"a":1}', "body.a"),
    "repeated key, once escaped": ('{"amount":1,"\\u0061mount":2}', "body.amount"),
    "repeated key further in": ('{"p":[0,{"a":1,"b":{},"a":2}]}', "body.p[1].a"),
    "repeated key in a repeated key": ('{"p":{"a":1,"a":2},"p":3}', "body.p"),
    "colon hidden by an escape": ('{"a":1,"a":"\\u003a"}', "body.a"),
    "colon hidden by a capital escape": ('{"a":1,"a":"\\u003A"}', "body.a"),
    "empty key twice": ('{"":1,"":2}', "body."),
    "not a number": ('{"a":NaN}', "body"),
    "infinity": ("[Infinity]", "body"),
    "minus infinity": ("[-Infinity]", "body"),
    "float past a double": ('{"a":1e400}', "body"),
    "float past the safe integers": ('{"a":[1,1e21]}', "body.a[1]"),
    "integer past the safe integers": ('{"a":9007199254740992}', "body.a"),
    "integer below the safe integers": ('{"a":-9007199254740992}', "body.a"),
    "integral float past the safe integers": ('{"a":9007199254740992.0}', "body.a"),
    "float that rounds past the safe integers": ('{"a":9007199254740991.5}', "body.a"),
    "integer past 64 bits": ('{"a":18446744073709551616}', "body.a"),
    "integer of three hundred digits": ('{"a":' + "9" * 300 + "}", "body.a"),
    "high surrogate alone": ('["\\ud800"]', "body"),
    "low surrogate alone": ('["\\udc00"]', "body"),
    "surrogates the wrong way round": ('["\\ude00\\ud83d"]', "body"),
    "surrogate in a key": ('{"\\ud800":1}', "body"),
    "too deep in arrays": ("[" * DEEP + "]" * DEEP, "body" + "[0]" * MAX_DEPTH),
    "too deep in objects": ('{"a":' * DEEP + "1" + "}" * DEEP, "body" + ".a" * MAX_DEPTH),
    "too long": (json.dumps("x" * MAX_BYTES), "body"),
}

MALFORMED: dict[str, bytes | str] = {
    "nothing": b"",
    "white space only": b" \n",
    "two texts": b"1 2",
    "comma at the end of an array": b"[1,]",
    "comma at the end of an object": b'{"a":1,}',
    "comment": b"[1] // one",
    "single quotes": b"{'a':1}",
    "bare key": b"{a:1}",
    "cut short": b'{"a":',
    "leading zero": b"01",
    "plus sign": b"+1",
    "bare point": b".5",
    "point without digits": b"1.",
    "hexadecimal": b"0x1",
    "control character in a string": b'"\x00"',
    "line break in a string": b'"a\nb"',
    "unknown escape": b'"\\x41"',
    "escaped colon": b'"\\:"',
    "byte order mark": b"\xef\xbb\xbf1",
    "byte order mark in a str": "\ufeff1",
    "UTF-16": '{"a":1}'.encode("utf-16-le"),
    "stray byte": b'"\xff"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "surrogate as UTF-8": b'"\xed\xa0\x80"',
    "past the last code point": b'"\xf4\x90\x80\x80"',
    "surrogate in a str": '"\ud800"',
    "nesting past any limit": b"[" * 100_000,
}


class Unknown:
    pass


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def doubled(levels: int) -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


class Clashing(str):
    """Equal to no other text, so a dict can hold it beside the same text."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


FOREIGN: dict[str, tuple[Any, str]] = {
    "decimal": ({"amount": Decimal("49.00")}, "parameters.amount"),
    "bytes": ({"a": [1, b"x"]}, "parameters.a[1]"),
    "set": ({"a": {1}}, "parameters.a"),
    "object": (Unknown(), "parameters"),
    "type": ([int], "parameters[0]"),
    "complex": ([1j], "parameters[0]"),
    "not a number": ({"a": ({"b": math.nan},)}, "parameters.a[0].b"),
    "infinity": ([math.inf], "parameters[0]"),
    "integer past the safe integers": ({"a": MAX_INT + 1}, "parameters.a"),
    "integer of five thousand digits": ({"a": 10**5000}, "parameters.a"),
    "float past the safe integers": ({"a": -1e16}, "parameters.a"),
    "integer as key": ({"a": {1: 2}}, "parameters.a"),
    "none as key": ({None: 2}, "parameters"),
    "two keys of one text": ({"a": {"k": 1, Clashing("k"): 2}}, "parameters.a"),
    "surrogate": ({"a": ["x", "\ud800"]}, "parameters.a[1]"),
    "surrogate in a key": ({"a": {"\udfff": 1}}, "parameters.a.'\\udfff'"),
    "value that holds itself": (cyclic(), "parameters" + ".self" * MAX_DEPTH),
    "shared lists that would never end": (doubled(MAX_DEPTH - 1), "parameters"),
    "too long": ("x" * MAX_BYTES, "parameters"),
}


@pytest.mark.parametrize(("text", "place"), LENIENT.values(), ids=LENIENT.keys())
def test_parse_refuses_what_readers_disagree_about(text: str, place: str) -> None:
    with pytest.raises(InvalidJson) as caught:
        parse(text.encode(), field="body")
    assert caught.value.field == caught.value.detail["field"] == place
    assert f"`{place}`" in caught.value.message


@pytest.mark.parametrize("text", [text for text, _ in LENIENT.values()], ids=LENIENT.keys())
def test_the_standard_library_reads_what_we_refuse(text: str) -> None:
    """The control: were these texts merely broken, refusing them would prove nothing."""
    json.loads(text)


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_parse_refuses_malformed_text(raw: bytes | str) -> None:
    with pytest.raises(InvalidJson):
        parse(raw)


@pytest.mark.parametrize(("value", "place"), FOREIGN.values(), ids=FOREIGN.keys())
def test_admit_refuses_what_json_cannot_say(value: Any, place: str) -> None:
    with pytest.raises(InvalidJson) as caught:
        admit(value, field="parameters")
    assert caught.value.field == place


def test_a_repeated_key_is_found_however_deep_the_lost_member() -> None:
    """orjson reads 1,024 levels and the standard library fewer; what is lost never reaches our own limit."""
    lost = "[" * 1_020 + "]" * 1_020
    with pytest.raises(InvalidJson, match="once"):
        parse('{"a":' + lost + ',"a":1}')


def test_a_repeated_key_is_found_whatever_number_is_lost() -> None:
    with pytest.raises(InvalidJson, match="once"):
        parse('{"a":[' + "9" * 300 + ",0." + "9" * 5_000 + '],"a":1}')


@pytest.mark.parametrize("depth", [1, MAX_DEPTH])
def test_the_deepest_value_is_read(depth: int) -> None:
    text = b"[" * depth + b"]" * depth
    assert parse(text).data == admit(json.loads(text)).data == text


def test_the_longest_text_is_read_and_one_byte_more_is_not() -> None:
    text = b'"' + b"x" * 8 + b'"'
    assert parse(text, max_bytes=10).data == text
    for read, value in ((parse, text), (admit, "x" * 8)):
        with pytest.raises(InvalidJson, match="at most 9 bytes"):
            read(value, max_bytes=9)


def test_white_space_counts() -> None:
    with pytest.raises(InvalidJson, match="at most 9 bytes"):
        parse(" " * 9 + "1", max_bytes=9)


def test_the_limit_counts_bytes_not_characters() -> None:
    with pytest.raises(InvalidJson, match="bytes"):
        parse('"ééé"', max_bytes=7)


def test_a_text_that_grows_past_the_limit_is_refused() -> None:
    """1e15 has four bytes and its canonical form sixteen; what is let in must be readable again."""
    assert parse(b"1e15").data == b"1000000000000000"
    with pytest.raises(InvalidJson, match="at most 10 bytes"):
        parse(b"1e15", max_bytes=10)


@pytest.mark.parametrize("elements", [0, 1, 2, 50])
def test_counting_elements_never_refuses_a_value_that_fits(elements: int) -> None:
    for value in ([0] * elements, [{}] * elements, {"": 0}, {"": [""] * elements}):
        assert admit(value, max_bytes=len(json.dumps(value, separators=(",", ":")))).value == value


@pytest.mark.parametrize("secret", ["hunter2", 12345678901234567890, 1.5e300, Decimal("123456789")])
def test_errors_repeat_keys_and_never_values(secret: Any) -> None:
    with pytest.raises(InvalidJson) as caught:
        admit({"token": [secret, Unknown()]})
    assert str(secret) not in caught.value.message
    assert caught.value.field.startswith("token[")


def test_a_broken_text_is_not_repeated() -> None:
    with pytest.raises(InvalidJson) as caught:
        parse(b'{"token":"hunter2"')
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_long_key_is_cut_short() -> None:
    with pytest.raises(InvalidJson) as caught:
        admit({"k" * 10_000: math.nan})
    assert caught.value.field == "k" * 40 + "…"


def test_a_key_cannot_write_control_characters_into_an_error() -> None:
    with pytest.raises(InvalidJson) as caught:
        admit({"a\x1b[2J\n": math.nan})
    assert caught.value.message.isprintable()


def test_a_foreign_type_name_is_cut_short() -> None:
    with pytest.raises(InvalidJson) as caught:
        admit(type("T" * 10_000, (), {})())
    assert len(caught.value.message) < 200
