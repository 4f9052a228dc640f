"""One line of a receipts file: how it is written, sealed and read. This file touches no disk.

A line is one JSON object in ASCII. Its last member is `hash`, the seal of every byte before it:

    {"seq":1,"kind":"settled","at":"…","receipt":{…},"prev":"sha256:…","hash":"sha256:…"}

The hash is that of the text without `,"hash":"…"`, the closing brace kept: any language can check it without having
to know how numbers or keys are written. `prev` is the hash of the line before, so no line can be changed, moved or
taken out from between without all lines behind it being written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

FORMAT = "kiff-guard-receipts"
VERSION = 1
HEADER = "header"
OPENED = "opened"
SETTLED = "settled"
SET_ASIDE = "set_aside"
KINDS = (OPENED, SETTLED, SET_ASIDE)
BYTES_LIMIT = 4 * 1024 * 1024
"""The longest line. KIFF takes 256 KiB of arguments, and escapes may make six times that of them."""

_FRAME = 512  # what a line has beside the members of its kind, at most

_MEMBERS = {
    HEADER: ("seq", "kind", "at", "format", "version", "file", "seal", "hash"),
    OPENED: ("seq", "kind", "at", "receipt", "prev", "hash"),
    SETTLED: ("seq", "kind", "at", "receipt", "prev", "hash"),
    SET_ASIDE: ("seq", "kind", "at", "kept_in", "bytes", "sha256", "prev", "hash"),
}
_SEAL = re.compile(rb',"hash":"((?:hmac-)?sha256:[0-9a-f]{64})"\}\Z')


class Unreadable(ValueError):
    """A line is not one of ours; says why."""


class Line(NamedTuple):
    """A line as read: its members, and the bytes its hash covers."""

    members: dict[str, Any]
    sealed: bytes

    @property
    def seq(self) -> int:
        return int(self.members["seq"])

    @property
    def kind(self) -> str:
        return str(self.members["kind"])

    @property
    def hash(self) -> str:
        return str(self.members["hash"])


class Seal:
    """What makes the hash of a line: SHA-256, or HMAC-SHA-256 with a key that only the writer and the checker have.

    Args:
        key: without one, whoever can write the file can write all of it again, hashes and all.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self.name = "sha256" if key is None else "hmac-sha256"
        self._key = key

    def __call__(self, sealed: bytes) -> str:
        import hmac
        from hashlib import sha256

        made = sha256(sealed) if self._key is None else hmac.new(self._key, sealed, sha256)
        return f"{self.name}:{made.hexdigest()}"


def put(seq: int, kind: str, at: str, body: bytes, prev: str, seal: Seal) -> tuple[bytes, str]:
    """One line with its line break, and its hash.

    Args:
        body: the members that are of its kind only, as `members` writes them.
        prev: the hash of the line before; "" for the header, which is the first.
    """
    tail = f',"prev":"{prev}"' if prev else ""
    sealed = f'{{"seq":{seq},"kind":"{kind}","at":"{at}",'.encode() + body + f"{tail}}}".encode()
    made = seal(sealed)
    return sealed[:-1] + f',"hash":"{made}"}}\n'.encode(), made


def members(given: Mapping[str, Any]) -> bytes:
    """The members of a kind as JSON, without the braces.

    Raises:
        ValueError, TypeError, RecursionError: there is something JSON cannot hold, or more than a line may.
    """
    written = text(given)
    if len(written) > BYTES_LIMIT - _FRAME:
        raise ValueError(f"it takes {len(written)} bytes, and a line holds {BYTES_LIMIT - _FRAME}")
    return written[1:-1].encode("ascii")


def text(given: Mapping[str, Any]) -> str:
    """One JSON object in ASCII: what agents and servers wrote is text, whatever shows it."""
    return json.dumps(dict(given), separators=(",", ":"), allow_nan=False).replace("\x7f", "\\u007f")


def read(raw: bytes) -> Line:
    """Take one line apart, without its line break. Whether its hash is right is for `Seal` to say.

    Raises:
        Unreadable: it is not JSON as we write it, or not the members its kind has.
    """
    if len(raw) > BYTES_LIMIT:
        raise Unreadable(f"it is longer than {BYTES_LIMIT} bytes")
    found = _SEAL.search(raw)
    if found is None:
        raise Unreadable("it does not end with a hash")
    held = _parsed(raw)
    expected = _MEMBERS.get(str(held.get("kind")))
    if expected is None:
        raise Unreadable("its kind is none we know")
    if tuple(held) != expected:
        raise Unreadable(f"its members are not those of kind `{held['kind']}`: {', '.join(expected)}")
    if type(held["seq"]) is not int or held["seq"] < 0:
        raise Unreadable("its seq is no number of a line")
    if "receipt" in held and type(held["receipt"]) is not dict:
        raise Unreadable("its receipt is no object")
    return Line(held, raw[: found.start()] + b"}")


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        held = json.loads(raw.decode("ascii"), object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_finite)
    except Unreadable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from None
    if type(held) is not dict:
        raise Unreadable("it is no JSON object")
    return held


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise Unreadable("a name stands twice in it, and readers disagree on which one counts")
    return names


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Unreadable("it holds a number that is larger than any")
    return number


def _constant(name: str) -> None:
    raise Unreadable(f"`{name}` is no number that JSON knows")
