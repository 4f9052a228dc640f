"""One event of a coding agent: what is about to happen, or happened. Read once, at the edge, or refused."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from kiff_guard.errors import GuardError
from kiff_guard.strict_json import no_number, once

BYTES_LIMIT = 32 * 1024 * 1024
"""After a call the whole of its result is in the event: a picture, a page."""
ID_LIMIT = 512

# the moments of a call
BEFORE = "before"
AFTER = "after"
END = "end"
"""The session is over: what is still open there will not be told any more."""


class EventRefused(GuardError, ValueError):
    """What the agent sent is no event that can be answered."""

    code = "event_refused"


class Event(NamedTuple):
    """One event.

    Args:
        moment: BEFORE, AFTER or END.
        name: the event as the agent names it.
        call_id: "" where the agent gives none.
        cwd: where the agent stands.
        status: AFTER only: succeeded, failed, cancelled, not_run, or unknown where the agent does not tell.
        result: AFTER only.
        error: AFTER only: what went wrong, as the agent says it.
        reports: the agent will tell how this call ends.
    """

    moment: str
    name: str
    tool: str = ""
    args: Any = None
    call_id: str = ""
    session: str = ""
    cwd: str = ""
    status: str = ""
    result: Any = None
    error: str = ""
    reports: bool = True


def payload(raw: bytes) -> dict[str, Any]:
    """The JSON object that the agent wrote.

    Raises:
        EventRefused: it is nothing, too much, or no JSON object; or a name stands twice in it.
    """
    if not raw.strip():
        raise EventRefused("stdin is empty; expected one JSON object from the agent")
    if len(raw) > BYTES_LIMIT:
        raise EventRefused(f"stdin has more than {BYTES_LIMIT} bytes")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise EventRefused(f"stdin is no JSON that two readers read alike: {_said(error)}") from error
    if not isinstance(value, dict):
        raise EventRefused("stdin is JSON but no object; expected one event of the agent")
    return value


def text(told: dict[str, Any], name: str, *, limit: int = ID_LIMIT) -> str:
    """A text of the event; "" if it has none.

    Raises:
        EventRefused: it is something else, or too long to be what it says.
    """
    value = told.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limit:
        raise EventRefused(f"`{name}` of the event must be a text of at most {limit} characters")
    return value


def _said(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
