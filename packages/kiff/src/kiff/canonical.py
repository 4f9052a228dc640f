"""Strict JSON in, RFC 8785 bytes out, digests.

The one rule: one value has one text, and a text that two JSON readers could take for two values is refused.
Readers disagree about a key given twice, a number no double can hold, half a surrogate pair: none of these
gets past the edge, and what is left has one encoding and one digest. This file knows no noun.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import orjson
import rfc8785

from kiff.errors import InvalidJson

MAX_BYTES = 262_144
MAX_DEPTH = 32
MAX_INT = 2**53 - 1

# A record wraps admitted values in members of its own, so it may be larger and deeper than any of them.
_RECORD_BYTES = 1_048_576
_RECORD_DEPTH = 2 * MAX_DEPTH
_SMALLEST = 2  # bytes that a member or an element needs at least
_BACKSLASH = ord("\\")
_SHOWN = 40  # characters of one key that an error repeats


class Canonical(NamedTuple):
    """A JSON value and its one text.

    `value` is made of dict, list, str, int, float, bool and None only, and belongs to the receiver.
    `data` is its RFC 8785 encoding.
    """

    value: Any
    data: bytes


def parse(raw: bytes | str, *, field: str = "", max_bytes: int = MAX_BYTES) -> Canonical:
    """Read one JSON text from outside.

    Args:
        raw: UTF-8 without a byte order mark; a str stands for its UTF-8.
        field: where the text came from; the path in an error starts with it.
        max_bytes: the most bytes that the text, and its canonical form, may have.

    Raises:
        InvalidJson: malformed, invalid UTF-8, a key given twice, NaN or Infinity, a lone surrogate, a number
            beyond ±(2^53-1), more than 32 arrays and objects inside one another, or too large.

    Returns:
        The value with integral floats as integers (49.0 is 49, -0.0 is 0), and its bytes.
    """
    return _parse(raw, field, max_bytes, MAX_DEPTH)


def admit(value: Any, *, field: str = "", max_bytes: int = MAX_BYTES) -> Canonical:
    """Accept one Python value under the rules of `parse`.

    Args:
        value: dict with str keys, list, tuple, str, bool, int, float or None, nested at will. Instances of
            their subclasses (an enum member, an OrderedDict) are read as what they extend. All is copied.
        field: where the value came from; the path in an error starts with it.
        max_bytes: the most bytes that the canonical form may have.

    Raises:
        InvalidJson: as in `parse`, and for another type (Decimal, set, bytes) or a value that holds itself.

    Returns:
        As in `parse`.
    """
    return _canonical(value, field, max_bytes, MAX_DEPTH)


def encode(own: Any) -> bytes:
    """Canonical bytes of a structure KIFF built itself: ASCII keys, no floats, integers within ±(2^53-1).

    Nothing is checked: for such values orjson with sorted keys writes what RFC 8785 asks. Values from outside
    come in through `parse` or `admit` and are embedded as a `fragment`.
    """
    return orjson.dumps(own, option=orjson.OPT_SORT_KEYS)


def fragment(data: bytes) -> Any:
    """Wrap canonical bytes so that `encode` embeds them as they are."""
    return orjson.Fragment(data)


def digest(data: bytes) -> str:
    """The name of these bytes: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_canonical(data: bytes) -> bool:
    """Whether these bytes are the one text of their value: `parse` would take them and give them back.

    The limits are a record's, 1 MiB and 64 levels, because whole records are asked about.
    """
    try:
        return _parse(data, "", _RECORD_BYTES, _RECORD_DEPTH).data == data
    except InvalidJson:
        return False


def _parse(raw: bytes | str, field: str, max_bytes: int, max_depth: int) -> Canonical:
    if isinstance(raw, str):
        if not _has_utf8(raw):
            raise _invalid("expected Unicode text, found a lone surrogate", field)
        raw = raw.encode()
    if len(raw) > max_bytes:
        raise _too_large(field, max_bytes)
    try:
        loaded = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # `from None`: the decoder's error holds the whole text, and texts hold secrets.
        raise _invalid(f"expected one JSON text in UTF-8, found an error: {error}", field) from None
    canonical = _canonical(loaded, field, max_bytes, max_depth)
    # INVARIANT: no key was given twice. orjson keeps the last of equal keys, so a repeated key is a member
    # that is in `raw` and not in `data`. In JSON a colon either follows a key or stands in a string, and a
    # string that was kept has as many colons in `data` as in `raw`: the one escape that means a colon is
    # \u003a (or A), no escape contains one, and the encoder writes colons as they are. So without \u003a both
    # counts are one per member plus those in strings, and every lost member leaves at least the colon after
    # its key over in `raw`.
    if raw.count(b":") != canonical.data.count(b":") or (_BACKSLASH in raw and b"\\u003" in raw):
        _refuse_repeated_key(raw, field)
    return canonical


def _canonical(value: Any, field: str, max_bytes: int, max_depth: int) -> Canonical:
    walk = [max_bytes // _SMALLEST, False]
    try:
        own = _READERS.get(type(value), _subclass)(value, max_depth, walk)
    except _Refused as refused:
        raise _invalid(refused.why, field, refused.path[::-1]) from None
    except _Exhausted:
        raise _too_large(field, max_bytes) from None
    try:
        data = orjson.dumps(own, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # After the walk, strings that have no UTF-8 are all that is left to object to.
        path = next(path for path, node in _places(own) if isinstance(node, str) and not _has_utf8(node))
        raise _invalid("expected Unicode text, found a lone surrogate", field, path) from None
    if walk[1] or not (data.isascii() or _orders_agree(data)):
        data = rfc8785.dumps(own)
    if len(data) > max_bytes:
        raise _too_large(field, max_bytes)
    return Canonical(own, data)


# Where orjson's text is not RFC 8785's, fuzzed over all that the walk lets through (tests/canonical): strings
# never differ; numbers only from 1e-6 up to 1e-5, where orjson writes `1e-6` and RFC 8785 `0.000001`; the
# order of keys as `_orders_agree` says.

_LOW, _HIGH = 1e-6, 1e-5
_PAST_FFFF = re.compile(rb"[\xf0-\xf4]")
_E000_TO_FFFF = re.compile(rb"[\xee\xef]")


def _orders_agree(data: bytes) -> bool:
    """Whether keys sorted by code point (orjson) are sorted by UTF-16 code unit (RFC 8785, 3.2.3) as well.

    The orders differ only between a character past U+FFFF, whose UTF-16 starts at D800, and one of U+E000 to
    U+FFFF. In UTF-8 the former start with F0 to F4, the latter with EE or EF; no other byte has those values.
    """
    return not (_PAST_FFFF.search(data) and _E000_TO_FFFF.search(data))


# The walk: one reader per type gives a fresh, normalised value. It takes the value, how many levels of
# nesting are left, and the walk's two notes: how many members and elements are left, and whether a number
# between _LOW and _HIGH was met. The former ends early what would never end: a list that holds one list many
# times, which holds another many times, stands for more text than any machine can hold.


class _Refused(Exception):
    """`path` grows from the offending value outwards while the walk unwinds."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path: list[str | int] = []


class _Exhausted(Exception):
    """The value needs more bytes than it may have."""


def _object(value: dict[Any, Any], levels: int, walk: list[int]) -> dict[str, Any]:
    if not levels:
        raise _too_deep()
    walk[0] -= len(value)
    if walk[0] < 0:
        raise _Exhausted
    own = value.copy()
    try:
        for key, item in own.items():
            if type(key) is not str:
                break
            if type(item) is not str:
                own[key] = _READERS.get(type(item), _subclass)(item, levels - 1, walk)
        else:
            return own
    except _Refused as refused:
        refused.path.append(key)
        raise
    return _object(_with_text_keys(value), levels, walk)


def _array(value: list[Any] | tuple[Any, ...], levels: int, walk: list[int]) -> list[Any]:
    if not levels:
        raise _too_deep()
    walk[0] -= len(value)
    if walk[0] < 0:
        raise _Exhausted
    own = list(value)
    index = 0
    try:
        for index, item in enumerate(own):
            if type(item) is not str:
                own[index] = _READERS.get(type(item), _subclass)(item, levels - 1, walk)
    except _Refused as refused:
        refused.path.append(index)
        raise
    return own


def _integer(value: int, levels: int, walk: list[int]) -> int:
    if -MAX_INT <= value <= MAX_INT:
        return value
    raise _out_of_range()


def _float(value: float, levels: int, walk: list[int]) -> int | float:
    if not -MAX_INT <= value <= MAX_INT:  # NaN is in no range
        raise _out_of_range()
    if value.is_integer():
        return int(value)
    if _LOW <= abs(value) < _HIGH:
        walk[1] = True
    return value


def _as_it_is(value: str | bool | None, levels: int, walk: list[int]) -> str | bool | None:
    return value


_READERS: dict[type, Callable[[Any, int, list[int]], Any]] = {
    dict: _object,
    list: _array,
    tuple: _array,
    str: _as_it_is,
    int: _integer,
    float: _float,
    bool: _as_it_is,
    type(None): _as_it_is,
}

_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (dict, dict),
    (list, list),
    (tuple, list),
)


def _subclass(value: Any, levels: int, walk: list[int]) -> Any:
    for base, read in _BASES:
        if isinstance(value, base):
            return _READERS[base](read(value), levels, walk)
    expected = "a dict, list, str, int, float, bool or None"
    raise _Refused(f"expected {expected}, found `{_shown(type(value).__name__)}`; convert it first")


def _with_text_keys(value: dict[Any, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Refused(f"expected a str as key, found `{_shown(type(key).__name__)}`")
        own[str.__str__(key)] = item
    if len(own) != len(value):
        raise _Refused("expected each key once, found two that are the same text")
    return own


def _refuse_repeated_key(raw: bytes, field: str) -> None:
    """Read a text that orjson accepted again, the slow way, and refuse it if an object has a key twice."""
    found: list[tuple[dict[str, Any], str]] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        for key, value in pairs:
            if key in own:
                found.append((own, key))
            own[key] = value
        return own

    try:
        tree = json.loads(raw.decode(), object_pairs_hook=members)
    except RecursionError:
        # What was kept is shallow, so the depth is in a member that was lost to a repeated key.
        raise _invalid("expected each key once, found one again", field) from None
    if found:
        # Objects end after what is in them: the last one found is in no lost member, so it is in the tree.
        culprit, key = found[-1]
        path = next(path for path, node in _places(tree) if node is culprit)
        raise _invalid("expected each key once, found one again", field, (*path, key))


def _places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every node of a plain value with its path; a key is a node too, at the path of its member."""
    yield path, node
    if isinstance(node, dict):
        for key, item in node.items():
            yield (*path, key), key
            yield from _places(item, (*path, key))
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _places(item, (*path, index))


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep() -> _Refused:
    return _Refused(f"expected at most {MAX_DEPTH} arrays and objects inside one another")


def _out_of_range() -> _Refused:
    return _Refused("expected a finite number within ±(2^53-1); send a larger one as a string")


def _too_large(field: str, max_bytes: int) -> InvalidJson:
    return _invalid(f"expected at most {max_bytes} bytes of JSON", field)


def _invalid(why: str, field: str, path: Iterable[str | int] = ()) -> InvalidJson:
    """The error, with the place in `field` and in the message. Keys are repeated cut short, values never."""
    for step in path:
        if isinstance(step, int):
            field += f"[{step}]"
        else:
            field += f".{_shown(step)}" if field else _shown(step)
    return InvalidJson(f"{why} (at `{field}`)" if field else why, field=field)


def _shown(name: str) -> str:
    short = name if len(name) <= _SHOWN else name[:_SHOWN] + "…"
    return short if short.isprintable() else ascii(short)
