"""Server-sent events: the log as it grows, taken up again where it was left when the connection gave out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import httpx

from kiff.client.connection import Connection, strict_json
from kiff.errors import Closed, Overloaded, RateLimited, StoreError, Unanswered

SILENCE_SECONDS = 60.0
"""After how long without a sign of life a connection is given up; a server gives several in that time."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 30.0
MOST_LINE_BYTES = 4 * 1024 * 1024
MEDIA = "text/event-stream"
PASSING = (Unanswered, Overloaded, RateLimited, Closed, StoreError)
"""What is waited out once a stream stood: it says nothing about the key, or the place in the log."""


class Event(NamedTuple):
    """One record, as it was committed. `id`: what to go on behind."""

    id: str
    kind: str
    record: dict[str, Any]


class Stream:
    """The records of a log from a place on, for ever.

    Args:
        query: `kind` and `entity`, as the server filters.
        after: the `id` of the last event that was seen; None for what comes next.
        wait: `time.sleep`, or what takes its place.
    """

    def __init__(
        self,
        connection: Connection,
        query: Mapping[str, Any],
        *,
        after: str | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._query = query
        self._after = after
        self._wait = wait
        self._stood = False

    def __iter__(self) -> Iterator[Event]:
        """The events.

        Raises:
            KiffError: the server will not, such as Unauthorized when the key was revoked. Losing a connection that
                stood is no error.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                for event in self._connected():
                    pause = FIRST_PAUSE_SECONDS
                    yield event
            except PASSING:
                if not self._stood:
                    raise
            self._wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _connected(self) -> Iterator[Event]:
        """The events of one connection."""
        headers = {"accept": MEDIA} | ({} if self._after is None else {"last-event-id": self._after})
        try:
            with self._connection.stream("/v1/stream", self._query, headers, SILENCE_SECONDS) as response:
                media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if response.status_code != 200 or media != MEDIA:
                    response.read()
                    raise self._connection.failed(self._connection.read(response))
                self._stood = True
                yield from self._events(response)
        except httpx.RequestError as error:
            raise self._connection.distrusted(f"the stream broke off ({error})", None) from error

    def _events(self, response: httpx.Response) -> Iterator[Event]:
        """Each event once its last line is there; an id without data only moves the place to go on from."""
        kind, id, data = "", self._after, list[str]()
        for line in self._lines(response):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif not line:
                self._after = id
                if data:
                    yield Event(id or "", kind, self._record("\n".join(data)))
                kind, data = "", []

    def _lines(self, response: httpx.Response) -> Iterator[str]:
        rest = b""
        for part in response.iter_bytes():
            *whole, rest = (rest + part).split(b"\n")
            yield from (line.removesuffix(b"\r").decode("utf-8", "replace") for line in whole)
            if len(rest) > MOST_LINE_BYTES:
                raise self._connection.distrusted(f"a line of the stream has over {MOST_LINE_BYTES} bytes", None)

    def _record(self, data: str) -> dict[str, Any]:
        try:
            record = strict_json(data.encode())
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise self._connection.distrusted("an event of the stream is no record", None)
        return record
