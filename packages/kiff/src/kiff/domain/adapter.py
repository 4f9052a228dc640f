"""Webhooks: whether one was signed by the source it claims to come from, and which event its body means.

The one rule: nothing of a body counts before its signature does, and nothing of it is kept that the adapter's map
does not name. The time and the secrets are arguments; the refusal is one sentence whatever was wrong.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from kiff import canonical
from kiff.errors import Forbidden, InvalidInput
from kiff.protocol.ids import require_id
from kiff.protocol.instant import parse_rfc3339, rfc3339

Signature = Literal["stripe", "standard", "hmac-sha256"]


class WebhookMap(msgspec.Struct, frozen=True):
    """Where in a JSON body things are: names joined by dots, `data.object.id`; an item of a list by its number.

    Args:
        id: where the source's id of the event is.
        type: where the source's name for what happened is.
        entity: where the id of the entity is.
        events: the source's type -> our event. A type that is not here is ignored.
        occurred_at: where the source says when it happened: seconds since the epoch, or RFC 3339.
        payload: name -> where its value is; what is not there is left out.
    """

    id: str
    type: str
    entity: str
    events: Mapping[str, str]
    occurred_at: str | None = None
    payload: Mapping[str, str] = {}


class Adapter(msgspec.Struct, frozen=True):
    """Where events come from, as a kiff.yaml declares it.

    Args:
        signature: how its webhooks are signed; None, like `map`, when it cannot take any.
        tolerance_seconds: how far a signed time may be from ours. `hmac-sha256` signs none.
    """

    name: str
    source: str
    kind: str
    signature: Signature | None = None
    tolerance_seconds: int = 300
    map: WebhookMap | None = None


class Mapped(msgspec.Struct, frozen=True):
    """The event that a webhook's body means.

    Args:
        id: `<adapter>:<the source's id>`, so that two sources cannot collide.
        type: a name from the domain's `events`.
        occurred_at: RFC 3339; None when the map does not say where.
    """

    id: str
    type: str
    entity_id: str
    payload: dict[str, Any]
    occurred_at: str | None


def verify_signature(
    adapter: Adapter, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now_ms: int
) -> None:
    """Refuse a webhook unless one of the secrets signed it, a short while ago.

    With `stripe` (stripe-signature) and `standard` (Standard Webhooks 1.0: webhook-id, -timestamp, -signature) a
    body cannot be sent again after the tolerance. `hmac-sha256` (x-signature: the body's MAC in lower-case hex, with
    or without `sha256=`) signs no time: all that stands against sending one again is that an event id counts once.

    Args:
        headers: by lower-case name; several of one name joined by a comma, so that they are refused.
        body: the bytes as they came.
        secrets: every one that may have signed, such as the old and the new one during a rotation. An empty one, or
            a `whsec_` of `standard` that is not base64, signs nothing.

    Raises:
        Forbidden: `signature_invalid`; it does not say why.
    """
    scheme = _SCHEMES.get(adapter.signature or "")
    signed = scheme.read(headers, body) if scheme else None
    if not (scheme and signed and _is_recent(signed, adapter, now_ms) and _is_signed(signed, scheme, secrets)):
        message = "the signature is missing, wrong, too old or from the future: check the secret and both clocks"
        raise Forbidden(message, reason="signature_invalid")


class _Signed(NamedTuple):
    """What is signed, with what, and when in seconds; 0 candidates fit nothing."""

    content: bytes
    candidates: list[str]
    at: int | None = None


class _Scheme(NamedTuple):
    """How to read a request (None when it is malformed), a secret's key, and how a MAC is written."""

    read: Callable[[Mapping[str, str], bytes], _Signed | None]
    key: Callable[[bytes], bytes]
    written: Callable[[bytes], str]


def _is_recent(signed: _Signed, adapter: Adapter, now_ms: int) -> bool:
    return signed.at is None or abs(now_ms - signed.at * 1000) <= adapter.tolerance_seconds * 1000


def _is_signed(signed: _Signed, scheme: _Scheme, secrets: Sequence[bytes]) -> bool:
    """Whether a candidate is a secret's MAC, as it is written: a signature has one writing. All are compared."""
    found = False
    for key in filter(None, map(scheme.key, secrets)):
        expected = scheme.written(hmac.digest(key, signed.content, "sha256"))
        for candidate in signed.candidates:
            found |= hmac.compare_digest(expected, candidate)
    return found


_SECONDS = re.compile(r"[0-9]{1,12}")
# What is not v1 belongs to other schemes and is ignored, as their makers ask; v1 in another form is refused.
_STRIPE = re.compile(r"t=[0-9]{1,12}|v1=[0-9a-f]{64}|(?!t=|v1=)[a-z0-9]{1,16}=[!-+\--~]{1,256}")
_STANDARD = re.compile(r"v1,[A-Za-z0-9+/]{43}=|(?!v1,)[a-z0-9]{1,16},[!-~]{1,256}")
_STANDARD_ID = re.compile(r"[!-\-/-~]{1,256}")  # the full stop ends it in what is signed
_HEX = re.compile(r"(?:sha256=)?([0-9a-f]{64})")


def _stripe(headers: Mapping[str, str], body: bytes) -> _Signed | None:
    elements = _elements(headers.get("stripe-signature", ""), ",", _STRIPE)
    times = _of("t=", elements)
    if len(times) != 1:
        return None
    return _Signed(f"{times[0]}.".encode() + body, _of("v1=", elements), int(times[0]))


def _standard(headers: Mapping[str, str], body: bytes) -> _Signed | None:
    id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (_STANDARD_ID.fullmatch(id) and _SECONDS.fullmatch(at)):
        return None
    elements = _elements(headers.get("webhook-signature", ""), " ", _STANDARD)
    return _Signed(f"{id}.{at}.".encode() + body, _of("v1,", elements), int(at))


def _hmac_sha256(headers: Mapping[str, str], body: bytes) -> _Signed | None:
    found = _HEX.fullmatch(headers.get("x-signature", ""))
    return _Signed(body, [found[1]]) if found else None


def _elements(header: str, separator: str, form: re.Pattern[str]) -> list[str]:
    """The elements of a header; none at all when one is malformed or there twice."""
    elements = header.split(separator)
    well_formed = all(map(form.fullmatch, elements)) and len(set(elements)) == len(elements)
    return elements if well_formed else []


def _of(prefix: str, elements: list[str]) -> list[str]:
    return [element.removeprefix(prefix) for element in elements if element.startswith(prefix)]


def _as_it_is(secret: bytes) -> bytes:
    return secret


def _standard_key(secret: bytes) -> bytes:
    if not secret.startswith(b"whsec_"):
        return secret
    try:
        return base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
    except ValueError:
        return b""


def _base64(mac: bytes) -> str:
    return base64.b64encode(mac).decode()


_SCHEMES = {
    "stripe": _Scheme(_stripe, _as_it_is, bytes.hex),  # its `whsec_` is part of the key
    "standard": _Scheme(_standard, _standard_key, _base64),
    "hmac-sha256": _Scheme(_hmac_sha256, _as_it_is, bytes.hex),
}


def read_webhook(adapter: Adapter, body: bytes) -> Mapped | None:
    """The event that a body means; None when the map does not know its type.

    Only for a body whose signature was verified.

    Raises:
        InvalidInput: not strict JSON, or something the map names is missing or of the wrong type; `field` is its path.
            What the payload names may be missing: one map serves events of several shapes.
    """
    where = adapter.map
    if where is None:
        raise InvalidInput(f"the adapter `{adapter.name}` has no `map`, so it cannot take webhooks", field="map")
    said = canonical.parse(body).value
    kind = _found(said, where.type)
    if not isinstance(kind, str):
        raise _unexpected("a text", kind, where.type)
    if kind not in where.events:
        return None
    values = {name: _found(said, path) for name, path in where.payload.items()}
    return Mapped(
        id=require_id(f"{adapter.name}:{_id(said, where.id)}", where.id),
        type=where.events[kind],
        entity_id=_id(said, where.entity),
        payload={name: value for name, value in values.items() if value is not _NOTHING},
        occurred_at=None if where.occurred_at is None else _instant(said, where.occurred_at),
    )


_NOTHING = object()
_YEAR_10000_MS = 253_402_300_800_000


def _found(said: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(said, dict) and step in said:
            said = said[step]
        elif isinstance(said, list) and step.isdecimal() and int(step) < len(said):
            said = said[int(step)]
        else:
            return _NOTHING
    return said


def _id(said: Any, path: str) -> str:
    found = _found(said, path)
    if type(found) is not str and type(found) is not int:
        raise _unexpected("a text or a whole number", found, path)
    return require_id(str(found), path)


def _instant(said: Any, path: str) -> str:
    """RFC 3339: as the source wrote it, or from its seconds."""
    found = _found(said, path)
    if isinstance(found, str):
        parse_rfc3339(found, field=path)
        return found
    at_ms = round(found * 1000) if type(found) in (int, float) else -1
    if 0 <= at_ms < _YEAR_10000_MS:
        return rfc3339(at_ms)
    raise _unexpected("an RFC 3339 time, or seconds since 1970", found, path)


def _unexpected(expected: str, found: object, path: str) -> InvalidInput:
    """Never repeats a value: a body may hold anything about anybody."""
    what = "nothing" if found is _NOTHING else "something else"
    return InvalidInput(f"expected {expected} at `{path}` of the body, found {what}", field=path)
