"""One way for every request: from a verb to an answer that can be trusted, or to an error that says why there is none.

What is no answer of KIFF's (another content type, half a body, no body in time) is never read as one.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlencode

import httpx
from msgspec import ValidationError, convert
from msgspec.json import encode

from kiff.client.address import server_url
from kiff.client.failures import failure
from kiff.errors import InvalidInput, KiffError, Unanswered

T = TypeVar("T")

MOST_BYTES = 64 * 1024 * 1024
"""What an answer may have."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
JSON_MEDIA = ("application/json", "application/problem+json", "application/jwk-set+json")


class Reply(NamedTuple):
    """One whole answer. `body` is JSON, or bytes when other media were asked for and came."""

    status: int
    body: Any
    retry_after_seconds: int | None

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


class _Lost(Exception):
    """The connection gave out. `sent`: the server may have read the request."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Connection:
    """Connections to one server, with one key. Threads may share it.

    Args:
        key: a secret of the server's; None for what needs none.
        timeout: seconds, for the connection, for each silence, and for an answer as a whole.
        transport: an httpx transport instead of the network.
        attempts: how often a request that may be repeated is sent at most.

    Raises:
        InvalidInput: the URL or the key cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        unsafe_http: bool = False,
        attempts: int = 4,
    ) -> None:
        self.url = server_url(url, unsafe_http=unsafe_http)
        self._timeout = timeout
        self._attempts = attempts
        headers = {"user-agent": "kiff-python", "accept-encoding": "identity"}
        if key is not None:
            headers["authorization"] = f"Bearer {_readable(key)}"
        # A proxy from the environment would read plain HTTP, so that goes straight to where it is meant for.
        is_tls = self.url.startswith("https:")
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout, transport=transport, trust_env=is_tls
        )

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def value(
        self, shape: type[T], method: str, path: str, *, query: Mapping[str, Any] | None = None, **request: Any
    ) -> T:
        """The answer of a request in its shape; for arguments see `ask`.

        Raises:
            KiffError: what the server says went wrong. Unanswered: it said nothing that can be trusted.
        """
        reply = self.ask(method, path, query=query, **request)
        return self.shaped(reply, shape, id=request.get("id"))

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        media: str = "application/json",
        accept: str = "application/json",
        id: str | None = None,
        safe: bool = False,
        trace: str | None = None,
    ) -> Reply:
        """The whole answer to one request, whatever its status.

        Args:
            query: what is None is left out.
            body: becomes JSON; `content` is sent as it is, as `media`.
            accept: the media type of a good answer.
            id: what makes a write repeatable.
            safe: it writes nothing, so it may be repeated without an id.
            trace: the trace that the caller is in, `trace_` and 32 hexadecimal digits.

        Raises:
            Unanswered: there is none.
        """
        headers = {"accept": accept} | ({} if id is None else {"idempotency-key": id})
        if trace is not None:
            headers["traceparent"] = _traceparent(trace)
        sent = encode(body) if body is not None else content
        if sent is not None:
            headers["content-type"] = media
        request = self._http.build_request(method, _where(path, query or {}), content=sent, headers=headers)
        return self._asked(request, id, accept, self._attempts if safe or method == "GET" or id is not None else 1)

    def _asked(self, request: httpx.Request, id: str | None, accept: str, attempts: int) -> Reply:
        reached = False
        for attempt in range(attempts):
            is_last = attempt + 1 == attempts
            try:
                reply = self._once(request, id, accept)
            except _Lost as lost:
                reached |= lost.sent
                if is_last:
                    self._unanswered(str(lost), id, reached=reached)
                wait = None
            else:
                wait = reply.retry_after_seconds
                if is_last or reply.status != 503 or wait is None or wait > LONGEST_PAUSE_SECONDS:
                    return reply
            _pause(attempt, wait)
        raise AssertionError("the last attempt returns or raises")

    def shaped(self, reply: Reply, shape: type[T], *, id: str | None = None) -> T:
        """A good answer in its shape.

        Args:
            id: of the write that it answers.

        Raises:
            KiffError: the answer is a failure. Unanswered: it is of neither shape.
        """
        if not reply.is_good:
            raise self.failed(reply, id=id)
        try:
            return convert(reply.body, shape)
        except ValidationError as error:
            self._unanswered(f"the answer is not one of KIFF's ({error})", id, reached=True, status=reply.status)

    def failed(self, reply: Reply, *, id: str | None = None) -> KiffError:
        """The error that a failure is."""
        error = failure(reply.status, reply.body, reply.retry_after_seconds)
        if error is not None and not reply.is_good:
            return error
        return self.distrusted(f"the answer with status {reply.status} is not one of KIFF's", id, status=reply.status)

    def distrusted(self, why: str, id: str | None, **detail: Any) -> Unanswered:
        """What an answer is worth that came and cannot be one.

        Args:
            id: of the write that it would answer.
        """
        return _unanswered(self.url, why, id, reached=True, **detail)

    def stream(
        self, path: str, query: Mapping[str, Any], headers: Mapping[str, str], silence_seconds: float
    ) -> AbstractContextManager[httpx.Response]:
        """An answer that goes on, to be entered and read; httpx errors come through."""
        timeout = httpx.Timeout(self._timeout, read=silence_seconds)
        return self._http.stream("GET", _where(path, query), headers=dict(headers), timeout=timeout)

    def read(self, response: httpx.Response) -> Reply:
        """The reply that a response is whose body was read.

        Raises:
            Unanswered: it is none of KIFF's.
        """
        return self._read(response, response.content, None, "application/json")

    def _once(self, request: httpx.Request, id: str | None, accept: str) -> Reply:
        until = time.monotonic() + self._timeout
        try:
            response = self._http.send(request, stream=True)
            try:
                raw = self._body(response, until, id)
            finally:
                response.close()
        except httpx.TimeoutException as error:
            never_sent = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            self._unanswered(f"no answer within {self._timeout:g} s", id, reached=not never_sent)
        except httpx.ConnectError as error:
            raise _Lost(f"it cannot be reached ({error})", sent=False) from error
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise _Lost(f"the connection broke off ({error})", sent=True) from error
        except httpx.RequestError as error:  # such as a proxy that refuses, or an encoding nobody asked for
            self._unanswered(f"{type(error).__name__}: {error}", id, reached=True)
        return self._read(response, raw, id, accept)

    def _body(self, response: httpx.Response, until: float, id: str | None) -> bytes:
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                self._unanswered(f"the answer has more than {MOST_BYTES} bytes", id, reached=True)
            if time.monotonic() > until:
                self._unanswered(f"no whole answer within {self._timeout:g} s", id, reached=True)
        return b"".join(parts)

    def _read(self, response: httpx.Response, raw: bytes, id: str | None, accept: str) -> Reply:
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        retry_after = response.headers.get("retry-after", "")
        wait = int(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
        status = response.status_code
        if 200 <= status < 300 and accept != "application/json" and media == accept:
            return Reply(status, raw, wait)
        if media not in JSON_MEDIA:
            if status == 503 and wait is not None:
                return Reply(status, None, wait)
            shown = f"`{media[:60]}`" if media else "no content type"
            why = f"expected {accept}, found {shown} with status {status}; is it KIFF's address?"
            self._unanswered(why, id, reached=True, status=status)
        try:
            return Reply(status, strict_json(raw), wait)
        except ValueError:
            self._unanswered(f"the answer with status {status} is no JSON", id, reached=True, status=status)

    def _unanswered(self, why: str, id: str | None, *, reached: bool, **detail: Any) -> NoReturn:
        raise _unanswered(self.url, why, id, reached=reached, **detail)


def _where(path: str, query: Mapping[str, Any]) -> str:
    asked = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(asked)}" if asked else path


def _unanswered(url: str, why: str, id: str | None, *, reached: bool, **detail: Any) -> Unanswered:
    acted = reached and id is not None
    hint = f"it may have been carried out all the same; the id {id} brings its answer" if acted else None
    more = {name: value for name, value in {"id": id, "hint": hint}.items() if value is not None}
    return Unanswered(f"no answer from {url}: {why}", may_have_acted=acted, url=url, **more, **detail)


def _pause(attempt: int, asked_seconds: float | None) -> None:
    """Longer after every attempt, never all clients at once, and not before the server wants to be asked again."""
    longest = min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)
    time.sleep((asked_seconds or 0.0) + random.uniform(0.0, longest))


def strict_json(raw: bytes) -> Any:
    """The one value that every reader takes this text for.

    Raises:
        ValueError: it is no JSON, or two readers could disagree about it.
    """
    try:
        return json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("too deep") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _readable(key: str) -> str:
    if key and key.isascii() and key.isprintable() and " " not in key and len(key) <= 512:
        return key
    # Not repeated: it is a secret, or next to one.
    raise InvalidInput("`key` must be a secret as the server printed it: letters, digits, _ . -", field="key")


def _traceparent(trace: str) -> str:
    """The W3C header of a trace that KIFF calls `trace_…`."""
    number = trace.removeprefix("trace_")
    if len(number) != 32 or number.strip("0123456789abcdef"):
        raise InvalidInput("`trace` must be `trace_` and 32 hexadecimal digits", field="trace")
    return f"00-{number}-{number[:16]}-01"
