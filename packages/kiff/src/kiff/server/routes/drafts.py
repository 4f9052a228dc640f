"""Drafts of domains: kept whatever is wrong with them, until they govern."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, json

from kiff.errors import Conflict, InvalidInput, NotFound
from kiff.runtime.rows import NoteRow
from kiff.server.authoring import (
    YAML,
    Examined,
    Issue,
    Published,
    Yaml,
    complete,
    examined,
    no_mapping,
    publish,
    refusal,
    slug_of,
    text_of,
)
from kiff.server.notes import note, notes
from kiff.server.problems import Problem
from kiff.server.route import Answer, Call, Route

KIND = "draft:"
UNNAMED = ""
"""The draft that no domain is named for: a guard writes it."""
MOST = 200
TEMPLATES = Path(__file__).parents[2] / "templates"


class Start(Struct, forbid_unknown_fields=True):
    """Which text to begin with."""

    template: Literal["refund-ops", "agentic-ops"] = "refund-ops"


class Template(Struct):
    """A kiff.yaml that governs as it is."""

    template: str
    yaml: str


class Parsed(Struct):
    """What a document that can be read is."""

    slug: str
    version: str
    entity: str
    digest: str


class Validity(Struct):
    """Whether a document could govern, and every problem of it, warnings too.

    `parsed` is null when it cannot be read.
    """

    valid: bool
    issues: list[Issue]
    parsed: Parsed | None


class Draft(Struct):
    """A draft as it is kept.

    `updated_at` is Unix time in seconds. `parsed` is the document with everything written out, or null when it cannot
    be read. `issues` is what keeps it from governing; `warnings` keep it from nothing.
    """

    slug: str
    yaml: str
    updated_at: int
    parsed: dict[str, Any] | None
    issues: list[Issue]
    warnings: list[Issue]


class Mapping(Struct, forbid_unknown_fields=True):
    """`mapping`: where entities go whose states are dropped; not in this version."""

    mapping: dict[str, Any] | None = None


class Forgotten(Struct):
    """The draft is gone; what is published stays."""

    slug: str


async def validate(call: Call) -> Answer:
    found = await examined(call, text_of(call))
    domain = found.domain
    parsed = None if domain is None else Parsed(domain.name, domain.version, domain.entity, domain.digest)
    issues = sorted([*found.blocking, *found.warnings], key=lambda issue: issue.line)
    return Answer(Validity(not found.blocking, issues, parsed))


async def template(call: Call) -> Answer:
    body: Start = call.body
    text = await asyncio.to_thread((TEMPLATES / body.template / "kiff.yaml").read_text, "utf-8")
    return Answer(Template(body.template, text))


async def show(call: Call) -> Answer:
    return Answer(await _show(call, UNNAMED))


async def show_named(call: Call) -> Answer:
    return Answer(await _show(call, slug_of(call)))


async def _show(call: Call, slug: str) -> Draft:
    row = _kept(call, slug)
    return _draft(slug, row.body, row.last_at, await examined(call, row.body, slug))


async def save(call: Call) -> Answer:
    return Answer(await _save(call, UNNAMED, text_of(call)))


async def save_named(call: Call) -> Answer:
    slug = slug_of(call)
    text = text_of(call)
    await _make_room(call, slug)
    return Answer(await _save(call, slug, text))


async def begin(call: Call) -> Answer:
    """The slug is what the document says."""
    text = text_of(call)
    found = await examined(call, text)
    if found.domain is None or not found.domain.name:
        raise refusal(found)
    slug = found.domain.name
    known = await asyncio.to_thread(call.tower.runtime.read.activations, slug, tenant=call.tenant)
    if known or note(call.tower.store, call.tenant, f"{KIND}{slug}") is not None:
        raise Conflict(f"there is a domain `{slug}`; change it with PUT /v1/me/domains/{slug}", slug=slug)
    await _make_room(call, slug)
    return Answer(await _save(call, slug, text), 201)


async def activate(call: Call) -> Answer:
    body: Mapping = call.body
    no_mapping(body.mapping)
    row = _kept(call, UNNAMED)
    return Answer(await publish(call, await complete(call, row.body), row.body))


async def forget(call: Call) -> Answer:
    slug = slug_of(call)
    _kept(call, slug)
    await call.write(lambda caller: call.tower.runtime.note(caller, f"{KIND}{slug}", None))
    return Answer(Forgotten(slug))


async def _save(call: Call, slug: str, text: bytes) -> Draft:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("the YAML must be UTF-8 text", field="yaml") from error
    call.id_of_write(None)
    told = await call.write(lambda caller: call.tower.runtime.note(caller, f"{KIND}{slug}", text))
    return _draft(slug, text, told.last_at, await examined(call, text, slug))


async def _make_room(call: Call, slug: str) -> None:
    """
    Raises:
        Conflict: the tenant has as many drafts as it may.
    """
    if note(call.tower.store, call.tenant, f"{KIND}{slug}") is not None:
        return
    there = await asyncio.to_thread(lambda: sum(1 for _ in notes(call.tower.store, call.tenant, KIND)))
    if there >= MOST:
        raise Conflict(f"a tenant has at most {MOST} drafts; write over one of them", limit=MOST)


def _draft(slug: str, text: bytes, at: int, found: Examined) -> Draft:
    content = None if found.domain is None else json.decode(found.domain.content)
    return Draft(slug, text.decode(), at // 1000, content, found.blocking, found.warnings)


def _kept(call: Call, slug: str) -> NoteRow:
    """
    Raises:
        NotFound: there is no such draft.
    """
    row = note(call.tower.store, call.tenant, f"{KIND}{slug}")
    if row is None:
        raise NotFound(f"there is no draft{f' of `{slug}`' if slug else ''}; PUT one")
    return row


ROUTES = (
    Route(
        "POST",
        "/v1/me/domain/validate",
        validate,
        "What is wrong with a kiff.yaml; nothing is kept.",
        "Drafts",
        body=Yaml,
        media=YAML,
        answers={200: Validity, 415: Problem},
    ),
    Route(
        "POST",
        "/v1/me/domain/template",
        template,
        "A kiff.yaml to begin with.",
        "Drafts",
        body=Start,
        answers={200: Template},
    ),
    Route(
        "GET",
        "/v1/me/domain/draft",
        show,
        "The unnamed draft.",
        "Drafts",
        answers={200: Draft, 404: Problem},
        access="owner",
    ),
    Route(
        "PUT",
        "/v1/me/domain/draft",
        save,
        "Keep a draft, whatever is wrong with it.",
        "Drafts",
        body=Yaml,
        media=YAML,
        answers={200: Draft, 415: Problem},
        access="owner",
        writes=True,
    ),
    Route(
        "POST",
        "/v1/me/domain/draft/activate",
        activate,
        "Publish the draft and make it govern.",
        "Drafts",
        body=Mapping,
        answers={200: Published, 422: Problem},
        access="owner",
        writes=True,
    ),
    Route(
        "POST",
        "/v1/me/domains",
        begin,
        "Begin a domain: its first draft.",
        "Drafts",
        body=Yaml,
        media=YAML,
        answers={201: Draft, 415: Problem, 422: Problem},
        access="owner",
        writes=True,
    ),
    Route(
        "PUT",
        "/v1/me/domains/{slug}",
        save_named,
        "Keep the draft of a domain.",
        "Drafts",
        body=Yaml,
        media=YAML,
        answers={200: Draft, 415: Problem},
        access="owner",
        writes=True,
    ),
    Route(
        "GET",
        "/v1/me/domains/{slug}/draft",
        show_named,
        "The draft of a domain.",
        "Drafts",
        answers={200: Draft},
        access="owner",
    ),
    Route(
        "DELETE",
        "/v1/me/domains/{slug}/draft",
        forget,
        "Forget the draft of a domain.",
        "Drafts",
        answers={200: Forgotten},
        access="owner",
        writes=True,
    ),
)
