"""Domain documents on their way in: read beside the event loop, told about as the wire does, published.

Compiling one takes up to a second and keeps the interpreter busy, so a tenant compiles one at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from kiff.domain import Domain, check
from kiff.domain.issue import Issue as Found
from kiff.errors import InvalidInput, NotFound
from kiff.runtime.answers import Activated
from kiff.runtime.rows import DomainVersion
from kiff.server.notes import note
from kiff.server.problems import HttpError
from kiff.server.route import Call

YAML = "application/x-yaml"
MEDIA = frozenset({YAML, "application/yaml", "text/yaml", "text/x-yaml", "text/plain"})
ISSUES = 500
"""How many issues of one document are told; the first ones."""
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,62}")


class Yaml(Struct, forbid_unknown_fields=True):
    """A kiff.yaml inside JSON. It can be the body itself too, as `application/x-yaml`."""

    yaml: str


class Issue(Struct):
    """One problem. An `error` keeps the document from being read, `activation` from governing; a `warning` neither."""

    path: str
    message: str
    line: int
    code: str
    fix: str
    level: str


class Published(Struct):
    """The version that governs now; `changed` is false when it did already.

    `pending_approvals`: how many of the domain were pending. They stay: each is decided again under the version that
    governs when it is used, and a grant satisfies only what it was asked for.
    """

    slug: str
    version: str
    digest: str
    entity: str
    changed: bool
    pending_approvals: int


class Examined(Struct, frozen=True):
    """What a document says, and what is wrong with it.

    Args:
        domain: None when it cannot be read.
        blocking: what keeps it from governing.
        warnings: what does not.
    """

    domain: Domain | None
    blocking: list[Issue]
    warnings: list[Issue]


def text_of(call: Call) -> bytes:
    """The YAML of a request.

    Raises:
        HttpError: it is of another media type.
        InvalidInput: there is none.
    """
    if call.body is not None:
        text: bytes = call.body.yaml.encode()
    else:
        kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in MEDIA:
            raise HttpError("unsupported_media_type", f"expected a body of {YAML}, or of application/json")
        text = call.raw
    if not text.strip():
        raise InvalidInput("there is no YAML in the request", field="yaml")
    return text


def slug_of(call: Call) -> str:
    """The domain that the path names.

    Raises:
        InvalidInput: no domain is named so.
    """
    slug = call.path["slug"]
    if not _SLUG.fullmatch(slug):
        raise InvalidInput("`slug` must be a lower-case letter, then up to 62 of a-z 0-9 -", field="slug")
    return slug


def version_of(call: Call, slug: str, named: str) -> DomainVersion | None:
    """The published version of a domain that a name means: `refund-ops-v2`, or `v2` for short."""
    for version in (named, f"{slug}-{named}"):
        row = call.tower.store.row(DomainVersion, call.tenant, version)
        if row is not None and row.domain == slug:
            return row
    return None


def unknown(slug: str) -> NotFound:
    return NotFound(f"there is no domain `{slug}`", slug=slug)


async def examined(call: Call, text: bytes, slug: str = "") -> Examined:
    """Reads a document, in a thread.

    Args:
        slug: the domain that it should be of.
    """
    async with call.tower.compiling[call.tenant]:
        domain, issues = await asyncio.to_thread(check, text)
    told = told_issues(issues)
    if slug and domain is not None and domain.name != slug:
        message = f"the document is of `{domain.name}`, and was sent as one of `{slug}`"
        told.insert(0, Issue("domain", message, 0, "other_domain", f"write `domain: {slug}`", "activation"))
    blocking = [each for each in told if each.level != "warning"]
    return Examined(domain, blocking[:ISSUES], [each for each in told if each.level == "warning"][:ISSUES])


async def complete(call: Call, text: bytes, slug: str = "") -> Domain:
    """Reads a document that is to govern.

    Raises:
        HttpError: `invalid_domain`; `issues` says what is wrong.
    """
    found = await examined(call, text, slug)
    if found.domain is None or found.blocking:
        raise refusal(found)
    return found.domain


def refusal(found: Examined) -> HttpError:
    """The error that says why a document cannot govern."""
    more = f", and {len(found.blocking) - 1} more" if len(found.blocking) > 1 else ""
    message = f"the domain cannot govern: {found.blocking[0].message}{more}"
    return HttpError("invalid_domain", message, issues=found.blocking)


async def compiled(call: Call, row: DomainVersion) -> Domain:
    """A published version, compiled in a thread."""
    async with call.tower.compiling[call.tenant]:
        return await asyncio.to_thread(Domain.from_content, row.content)


async def publish(call: Call, domain: Domain, text: bytes | None = None, *, asked: str | None = None) -> Published:
    """Publishes a version and makes it govern. What entities are in is looked at in a thread, and made sure of later.

    Args:
        text: as its author wrote it; kept for whoever reads the version.
        asked: see `Runtime.activate`.
    """
    runtime, key = call.tower.runtime, call.id_of_write(None)
    seen = await asyncio.to_thread(runtime.read.in_use, domain, tenant=call.tenant)
    told: Activated = await call.write(lambda caller: runtime.activate(caller, domain, seen=seen, key=key, asked=asked))
    if text is not None:
        await keep_text(call, domain.digest, text)
    pending = told.pending_approvals
    return Published(told.domain, told.version, told.digest, domain.entity, told.changed, pending)


async def keep_text(call: Call, digest: str, text: bytes) -> None:
    """Keeps what an author wrote, once, for whoever reads the version."""
    id = _as_written(digest)
    if note(call.tower.store, call.tenant, id) is None:
        await call.write(lambda caller: call.tower.runtime.note(caller, id, text))


def written(call: Call, digest: str, content: bytes) -> str:
    """A version as its author wrote it; or its content, which is JSON, and as such YAML."""
    row = note(call.tower.store, call.tenant, _as_written(digest))
    return (content if row is None else row.body).decode("utf-8", "replace").removeprefix("\ufeff")


def _as_written(digest: str) -> str:
    """Named after the content, so it never says anything else than the version does."""
    return f"yaml:{digest}"


def no_mapping(mapping: dict[str, Any] | None) -> None:
    """
    Raises:
        HttpError: entities are to be moved out of states that a version drops.
    """
    if mapping is not None:
        message = "moving entities out of dropped states is not in this version; move them by events first"
        raise HttpError("mapping_not_supported", message, field="mapping")


def told_issues(found: Iterable[Found]) -> list[Issue]:
    """Issues as the wire has them."""
    return [_issue(each) for each in found]


def _issue(found: Found) -> Issue:
    return Issue(found.path, found.message, found.line, found.code, found.fix, found.level)
