"""Instants: integer milliseconds since the epoch inside, RFC 3339 with milliseconds and `Z` outside."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from kiff.errors import InvalidInput


@lru_cache(maxsize=256)
def rfc3339(at_ms: int) -> str:
    """1779616435011 -> `2026-05-24T09:53:55.011Z`."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    """The same for every instant of one second, so it is spelled once."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_rfc3339(text: str, *, field: str) -> int:
    """The instant in milliseconds; an offset is accepted and converted, a missing one is refused.

    Raises:
        InvalidInput: not an RFC 3339 time with a zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(f"`{field}` must be an RFC 3339 time with a zone, as in 2026-05-24T09:53:55Z", field=field)
    return round(moment.timestamp() * 1000)
