"""What literals mean: the escapes of a text, an instant, a length of time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from kiff.domain.issue import shown

FIRST_INSTANT = -62_135_596_800_000  # 0001-01-01T00:00:00Z in milliseconds: CEL's range of timestamps
LAST_INSTANT = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
LONGEST = 9_223_372_036_854  # milliseconds: 2^63 nanoseconds, CEL's longest duration, 292 years

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_DURATION = re.compile(r"(-?)((?:[0-9]+(?:\.[0-9]+)?(?:ms|[hms]))+)")
_PART = re.compile(r"([0-9.]+)(ms|[hms])")
_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.S)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {c: c for c in "\\?\"'`"}


def text_of(token: str) -> str:
    """The text a string literal stands for.

    Raises:
        ValueError: an escape that CEL does not have; its message says which.
    """
    raw = token[0] in "rR"
    quoted = token[1:] if raw else token
    quotes = 3 if quoted[:3] in ('"""', "'''") else 1
    body = quoted[quotes:-quotes]
    return body if raw else _ESCAPE.sub(_unescaped, body)


def _unescaped(match: re.Match[str]) -> str:
    x, u, upper, octal, plain = match.groups()
    if plain is not None:
        if plain not in _PLAIN:
            raise ValueError(f"{shown(chr(92) + plain)} is no escape")
        return _PLAIN[plain]
    code = int(octal, 8) if octal else int(x or u or upper, 16)
    if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
        raise ValueError(f"`{match[0]}` is no character")
    return chr(code)


def instant(text: str) -> int:
    """`2026-05-24T09:53:55Z` in milliseconds since the epoch; finer digits are cut off.

    Raises:
        ValueError: no RFC 3339 time with a zone, or outside of the years 1 to 9999.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError("no RFC 3339 time with a zone")
    at = (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    if not FIRST_INSTANT <= at <= LAST_INSTANT:
        raise ValueError("outside of the years 1 to 9999")
    return at


def length(text: str) -> int:
    """`1h30m` in milliseconds.

    Raises:
        ValueError: no duration, one that is no whole number of milliseconds, or too long.
    """
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError("no duration")
    total = sum(Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(match[2]))
    if total != int(total) or total > LONGEST:
        raise ValueError("no whole number of milliseconds within 292 years")
    return -int(total) if match[1] else int(total)
