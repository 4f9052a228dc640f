"""The log as it grows: server-sent events that a client takes up again where it left off."""

from __future__ import annotations

import asyncio
import re

from msgspec import Struct

from kiff.errors import InvalidInput, NotFound
from kiff.server.problems import Problem
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.evidence import Seq, wanted
from kiff.server.stream import LINES, Page, Read

MEDIA = "text/event-stream"
_SEQ = re.compile(r"-1|0|[1-9][0-9]{0,14}")


class From(Struct, forbid_unknown_fields=True):
    """Where to begin: behind the seq `after`, -1 for the whole log; with what comes next when it is not said.

    The header Last-Event-ID says the same, and is believed first. `kind`, `entity`: only records of it.
    """

    after: Seq | None = None
    kind: str | None = None
    entity: str | None = None


async def stream(call: Call) -> Answer:
    query: From = call.query
    entity = wanted(call, query.kind, query.entity)
    after = await asyncio.to_thread(_after, call, query)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    if call.request.method == "HEAD":
        return Answer(b"", headers=headers, media=MEDIA)
    cut = getattr(call.request.state, "cut", _nothing)  # another server than ours ends its connections itself
    opened = call.tower.streams.open(call.tenant, after, _reader(call, entity, query.kind), cut)
    return Answer(stream=opened, headers=headers, media=MEDIA)


def _after(call: Call, query: From) -> int:
    """The seq behind which the stream begins.

    Raises:
        InvalidInput: it is none, or the log has not come that far: it is of another log.
    """
    said = call.request.headers.get("last-event-id")
    if said and not _SEQ.fullmatch(said):
        raise InvalidInput("the header Last-Event-ID must be the id of an event of this stream", field="Last-Event-ID")
    try:
        last = call.tower.logs.of(call.tenant).size - 1
    except NotFound:
        last = -1
    after = int(said) if said else last if query.after is None else query.after
    if after > last:
        raise InvalidInput(f"the log ends at {last}, so nothing was seen up to {after}", field="after")
    return after


def _reader(call: Call, entity: str | None, kind: str | None) -> Read:
    """Reads the next page, for whoever holds the key by then and what they may see by then."""

    def read(after: int, size: int | None) -> Page:
        call.authenticate_again()
        seen = call.sight()
        size = call.tower.logs.of(call.tenant).size if size is None else size
        lines = call.tower.streams.lines(call.tenant, entity, after, size)
        events = [each.event for each in lines if kind in (None, each.told.kind) and seen.record(each.told)]
        return Page(b"".join(events), lines[-1].seq if len(lines) == LINES else max(after, size - 1), size)

    return read


def _nothing() -> None:
    return None


ROUTES = (
    Route(
        "GET",
        "/v1/stream",
        stream,
        "The tenant's records as they are committed, as server-sent events.",
        "Evidence",
        query=From,
        answers={200: MEDIA, 404: Problem},
    ),
)
