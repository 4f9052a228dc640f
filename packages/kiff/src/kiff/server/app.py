"""The ASGI application: one way for every request, from bytes to an answer.

    trace -> route -> size -> key -> rate -> room -> body -> access -> handler -> answer

Everything up to the handler turns away before anything is decided.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from msgspec import ValidationError, convert, json, structs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from kiff.canonical import MAX_INT, parse
from kiff.errors import Closed, InvalidInput, KiffError, Overloaded
from kiff.protocol.ids import require_id
from kiff.server.answered import Answered
from kiff.server.cookies import session_of
from kiff.server.problems import HttpError, as_problem_details, error_body
from kiff.server.reference_pages import Reference
from kiff.server.route import Answer, Call, Route
from kiff.server.stream import StreamResponse
from kiff.server.tower import Tower

log = logging.getLogger("kiff.server")
SECURE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
PROBLEM = "application/problem+json"
_OUTCOMES = {400: "invalid", 401: "invalid", 404: "invalid", 413: "invalid", 429: "limit_exceeded", 403: "blocked"}
"""What an error of a deciding route says as `outcome`: never `allowed`, and anything unknown is `invalid`."""
_STRANGERS = ""
"""Whose room a request takes that shows no key."""
_ALWAYS = frozenset({"/healthz", "/metrics"})
"""A process that sheds lives, and says what it sheds."""
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def application(tower: Tower, routes: tuple[Route, ...], **options: Any) -> Starlette:
    """The application over a tower. Routes are tried in the table's order."""
    served = [StarletteRoute(route.path, endpoint(tower, route), methods=[route.method]) for route in routes]

    async def missing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "method_not_allowed" if error.status_code == 405 else "not_found"
        message = f"there is no {request.method} {request.scope['path'][:200]}"
        response = _failed(request, HttpError(code, message), _trace(request)[0], None)
        if error.status_code == 405:
            path = request.scope["path"]
            taken = {name for each in served if each.path_regex.match(path) for name in each.methods or ()}
            response.headers["allow"] = ", ".join(sorted(taken))
        return response

    app = Starlette(routes=served, exception_handlers={404: missing, 405: missing}, **options)
    app.state.reference = Reference(routes, tower.settings.public_url or "/")
    app.router.redirect_slashes = False  # it would send clients, and their keys, wherever their Host header says
    return app


def endpoint(tower: Tower, route: Route) -> Callable[[Request], Awaitable[Response]]:
    """One route's way through the tower."""
    counts, limits = tower.counts, tower.settings.limits

    async def serve(request: Request) -> Response:
        started = time.perf_counter()
        trace, inbound = _trace(request)
        counts.open += 1
        call = Call(tower, route, request, trace, inbound)
        tenant = None
        try:
            if counts.open > limits.open and route.path not in _ALWAYS:
                raise Overloaded("the server has all it can carry; try again shortly")
            path = request.scope["raw_path"]
            if len(path) + len(request.scope["query_string"]) > limits.url_bytes:
                raise HttpError("uri_too_long", f"expected a URL of at most {limits.url_bytes} bytes")
            if b"%2f" in path.lower():  # an id has no slash, however it is written
                raise HttpError("not_found", "there is nothing at an address with an encoded slash")
            if route.access != "public":
                tenant = _admit(call)
            elif route.path not in _ALWAYS:
                tenant = _take_room(call, _STRANGERS)
            await _read(call)
            call.admit()
            response = _response(request, await route.handler(call), trace)
        except KiffError as error:
            response = _failed(request, error, trace, route)
            if error.code in ("overloaded", "rate_limited"):
                counts.shed[error.code] += 1
            elif response.status_code >= 500 and error.code != "closed":
                log.error("KIFF cannot serve", extra={"trace_id": trace, "code": error.code}, exc_info=error)
        except ClientDisconnect:
            response = Response(status_code=499)
        except asyncio.CancelledError:
            if not tower.draining:
                raise
            closed = Closed("the server stops before this was answered; send it again, with the same id")
            response = _failed(request, closed, trace, route)
        except Exception:
            log.exception("a request failed", extra={"trace_id": trace, "route": route.path})
            failed = HttpError("internal", "KIFF itself failed")
            response = _failed(request, failed, trace, route)
        finally:
            counts.open -= 1
            if tenant is not None:
                counts.open_of[tenant] -= 1
        seconds = time.perf_counter() - started
        counts.request(route.method, route.path, response.status_code, seconds)
        if tower.telemetry is not None:
            tower.telemetry.request(_answered(call, response.status_code, seconds, tenant))
        if log.isEnabledFor(logging.INFO):
            _tell(_answered(call, response.status_code, seconds, tenant))
        return response

    return serve


def _admit(call: Call) -> str:
    """Who calls, and whether there is room for them. Returns the tenant whose room it takes."""
    tower = call.tower
    credential = call.authenticate(_secret(call.request))
    tower.key_rates.take(f"{credential.tenant}/{credential.id}")
    tower.tenant_rates.take(credential.tenant)
    return _take_room(call, credential.tenant)


def _take_room(call: Call, tenant: str) -> str:
    """One more request in work of a tenant; of all who show no key together, so that they leave room to the others."""
    counts, most = call.tower.counts, call.tower.settings.limits.tenant_open
    if counts.open_of[tenant] >= most:
        raise Overloaded("too many requests of this tenant are in work; try again shortly")
    counts.open_of[tenant] += 1
    return tenant


def _secret(request: Request) -> str | None:
    """The key that a request carries: `Authorization: Bearer …`, once; without that header, a browser's session."""
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not given:
        return session_of(request)
    if len(given) != 1:
        return None
    scheme, _, text = given[0].decode("latin-1").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


async def _read(call: Call) -> None:
    """The query and the body, strictly."""
    route, request = call.route, call.request
    if route.writes:
        _check_key(request)
    if route.query is not None:
        call.query = _asked(_query(request), route.query)
    elif request.scope["query_string"]:
        raise InvalidInput("this route takes no query", field="query")
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if route.media is not None and (route.body is None or kind != "application/json"):
        call.raw = await _body(call)
    elif route.body is not None:
        if kind != "application/json":
            raise HttpError("unsupported_media_type", "expected a body of application/json")
        raw = await _body(call)
        call.body = _shaped(parse(raw).value if raw else {}, route.body, strict=True)


async def _body(call: Call) -> bytes:
    """The bytes of the body, and never more than the limit of them."""
    most = call.tower.settings.limits.body_bytes
    said = call.request.headers.get("content-length")
    if said is not None and (not said.isdigit() or int(said) > most):
        raise HttpError("too_large", f"expected a body of at most {most} bytes", limit=most)
    parts, size = [], 0
    async for chunk in call.request.stream():
        size += len(chunk)
        if size > most:
            raise HttpError("too_large", f"expected a body of at most {most} bytes", limit=most)
        parts.append(chunk)
    return b"".join(parts)


def _query(request: Request) -> dict[str, str]:
    try:
        text = request.scope["query_string"].decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=32)
    except ValueError as error:
        raise InvalidInput("the query cannot be read", field="query") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidInput(f"`{name[:64]}` is given twice", field=name[:64])
        found[name] = value
    return found


def _asked(given: dict[str, str], shape: Any) -> Any:
    """The query as the route's Struct. What is given is a value, and a number is one that JSON could carry."""
    told = _shaped(given, shape, strict=False)
    inside = {field.encode_name: field.name for field in structs.fields(shape)}
    for name in given.keys() & inside.keys():  # a provider of logins says more than what is asked of it
        value = getattr(told, inside[name])
        if value is None or (type(value) is int and abs(value) > MAX_INT):
            raise InvalidInput(f"`{name}` cannot be {given[name][:64]}", field=name)
    return told


def _check_key(request: Request) -> None:
    """An Idempotency-Key is one id, whether or not the handler needs it."""
    for number, key in enumerate(request.headers.getlist("idempotency-key")):
        require_id(key, "Idempotency-Key")
        if number:
            raise InvalidInput("the header Idempotency-Key is given twice", field="Idempotency-Key")


def _shaped(value: Any, shape: Any, *, strict: bool) -> Any:
    """The value as the route's Struct.

    Raises:
        InvalidInput: names the field.
    """
    try:
        return convert(value, shape, strict=strict)
    except ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        field = where.strip("`").removeprefix("$").removeprefix(".")
        if "unknown field" in what or "missing required field" in what:
            field = ".".join(filter(None, (field, what.split("`")[1])))
        message = f"{what[:1].lower()}{what[1:]}"[:300]
        raise InvalidInput(f"{message} (at `{field[:100]}`)" if field else message, field=field[:100]) from error


def _response(request: Request, answer: Answer, trace: str) -> Response:
    if answer.stream is not None:
        return _dressed(StreamResponse(answer.stream, answer.status, answer.headers, answer.media), trace)
    value, media = answer.value, answer.media
    if answer.status >= 400 and isinstance(value, dict) and _wants_problem(request):
        value, media = as_problem_details(answer.status, value), PROBLEM
    body = value if isinstance(value, bytes) else b"" if value is None else json.encode(value)
    response = Response(body, answer.status, answer.headers, None if value is None else media)
    return _dressed(response, trace)


def _failed(request: Request, error: KiffError, trace: str, route: Route | None) -> Response:
    status, body, headers = error_body(error, trace)
    if route is not None and route.refuses is not None:
        answer = Answer(route.refuses(body), headers={**headers, "kiff-status": str(status)})
        return _response(request, answer, trace)
    if route is not None and route.decides:
        body |= {"outcome": _OUTCOMES.get(status, "invalid"), "reasons": [body["code"]]}
    media = "application/json"
    if _wants_problem(request):
        body, media = as_problem_details(status, body), PROBLEM
    return _dressed(Response(json.encode(body), status, headers, media), trace)


def _wants_problem(request: Request) -> bool:
    return PROBLEM in request.headers.get("accept", "")


def _dressed(response: Response, trace: str) -> Response:
    headers = response.raw_headers
    headers.append((b"trace-id", trace.encode()))
    if not any(name == b"cache-control" for name, _ in headers):
        headers.append((b"cache-control", b"no-store"))
    headers.extend(pair for pair in SECURE if not any(name == pair[0] for name, _ in headers))
    return response


def _trace(request: Request) -> tuple[str, bool]:
    """The trace of a W3C traceparent header; a fresh one when there is none that is right (Trace Context, 3.2)."""
    given = [value for name, value in request.scope["headers"] if name == b"traceparent"]
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if found is not None and (found[1] != b"00" or found[3] is None):
        return f"trace_{found[2].decode()}", True
    return f"trace_{secrets.token_hex(16)}", False


def _answered(call: Call, status: int, seconds: float, tenant: str | None) -> Answered:
    route, headers = call.route, call.request.headers if call.inbound else {}
    return Answered(route.method, route.path, status, call.trace, headers, tenant or None, call.outcome, seconds)


def _tell(said: Answered) -> None:
    """One line a request: what was asked and how it ended. Neither bodies, nor queries, nor secrets."""
    told = {"method": said.method, "route": said.route, "status": said.status, "trace_id": said.trace}
    told |= {"tenant": said.tenant, "outcome": said.outcome, "ms": round(said.seconds * 1e3, 2)}
    log.info("request", extra=told)
