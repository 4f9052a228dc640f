"""From when on history counts, as people write it: `90d`, or an instant."""

from __future__ import annotations

import re

from kiff.domain.document import seconds
from kiff.errors import InvalidInput
from kiff.protocol.instant import parse_rfc3339

_AGO = re.compile(r"[1-9][0-9]{0,5}[smhd]")


def since(text: str, now_ms: int) -> int:
    """The instant (ms) that a window begins at.

    Args:
        text: `90d`, `12h`, `30m` or `45s` before `now_ms`; or an RFC 3339 time with a zone.

    Raises:
        InvalidInput: it is neither.
    """
    if _AGO.fullmatch(text):
        return now_ms - 1000 * seconds(text)
    try:
        return parse_rfc3339(text, field="since")
    except InvalidInput as error:
        expected = "a length of time such as `90d`, or a time such as 2026-05-24T09:53:55Z"
        raise InvalidInput(f"expected `since` as {expected}, found `{text[:40]}`", field="since") from error
