"""Domains: which versions are published, which govern, and making one govern."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from msgspec import UNSET, Struct, UnsetType, json, structs

from kiff.errors import Conflict, NotFound
from kiff.runtime.rows import ActiveDomain, DomainVersion
from kiff.server.authoring import (
    YAML,
    Published,
    compiled,
    complete,
    examined,
    no_mapping,
    publish,
    slug_of,
    text_of,
    unknown,
    version_of,
    written,
)
from kiff.server.notes import note, notes
from kiff.server.problems import Problem
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.drafts import KIND, Mapping

VERSIONS = 50
"""How many published versions are read at once; each carries its content."""


class Publish(Struct, forbid_unknown_fields=True):
    """A kiff.yaml that is to govern; it can be the body itself too, as `application/x-yaml`.

    `mapping`: where entities go whose states are dropped; not in this version.
    """

    yaml: str
    mapping: dict[str, Any] | None = None


class Activation(Struct, forbid_unknown_fields=True):
    """Which version is to govern: a published one, or the one that the domain's draft is; none named: the draft.

    `mapping`: where entities go whose states are dropped; not in this version.
    """

    version: str | None = None
    mapping: dict[str, Any] | None = None


class Which(Struct, forbid_unknown_fields=True):
    """`version`: a published one; the one that governs, when none is named."""

    version: str | None = None


class GoverningVersion(Struct):
    """A version that governs its entity type. `content` is the document with everything written out."""

    slug: str
    version: str
    digest: str
    entity: str
    yaml: str
    content: dict[str, Any]


class Governing(Struct, omit_defaults=True):
    """Every domain that governs; where it is one, what it is stands here as well."""

    domains: list[GoverningVersion]
    slug: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    digest: str | UnsetType = UNSET
    entity: str | UnsetType = UNSET
    yaml: str | UnsetType = UNSET
    content: dict[str, Any] | UnsetType = UNSET


class Listed(Struct):
    """A domain. `active`: entity type -> the version that governs it."""

    slug: str
    active: dict[str, str]
    versions: int
    draft: bool


class Domains(Struct):
    """The tenant's domains."""

    domains: list[Listed]


class Version(Struct):
    """A published version. It was published when it governed, or shadowed, first, and may have governed again since.

    `shadow`: it is asked beside the version that governs. `activated_at` is null when it never governed.
    """

    version: str
    digest: str
    active: bool
    shadow: bool
    published_at: str
    activated_at: str | None
    activated_by: str | None


class Versions(Struct):
    """A domain's published versions, in the order they were published."""

    slug: str
    versions: list[Version]


async def show(call: Call) -> Answer:
    told = await asyncio.to_thread(_governing, call)
    if not told:
        raise NotFound("no domain governs yet; PUT one")
    if len(told) > 1:
        return Answer(Governing(told))
    [one] = told
    return Answer(Governing(told, one.slug, one.version, one.digest, one.entity, one.yaml, one.content))


def _governing(call: Call) -> list[GoverningVersion]:
    return [
        GoverningVersion(
            slug=domain.name,
            version=domain.version,
            digest=domain.digest,
            entity=domain.entity,
            yaml=written(call, domain.digest, domain.content),
            content=json.decode(domain.content),
        )
        for domain in call.tower.runtime.read.domains(call.tenant).values()
    ]


async def put(call: Call) -> Answer:
    if call.body is not None:
        no_mapping(call.body.mapping)
    text = text_of(call)
    return Answer(await publish(call, await complete(call, text), text))


async def list_(call: Call) -> Answer:
    return Answer(Domains(await asyncio.to_thread(_listed, call)))


def _listed(call: Call) -> list[Listed]:
    store, tenant = call.tower.store, call.tenant
    versions: Counter[str] = Counter()
    after = ""
    while page := store.rows(DomainVersion, tenant, after=after, limit=VERSIONS):
        versions.update(row.domain for row in page)
        after = page[-1].version
    active: dict[str, dict[str, str]] = {}
    for row in store.rows(ActiveDomain, tenant):
        active.setdefault(row.domain, {})[row.entity_type] = row.version
    drafts = {row.id.removeprefix(KIND) for row in notes(store, tenant, KIND)}
    slugs = sorted(versions.keys() | drafts)
    return [Listed(slug, active.get(slug, {}), versions[slug], slug in drafts) for slug in slugs]


async def yaml(call: Call) -> Answer:
    slug = slug_of(call)
    query: Which = call.query
    return Answer(await asyncio.to_thread(_yaml, call, slug, query.version), media=YAML)


def _yaml(call: Call, slug: str, named: str | None) -> bytes:
    """The text of the version that is asked for; of the draft, before any version governs."""
    if named is None:
        governs = [row for row in call.tower.store.rows(ActiveDomain, call.tenant) if row.domain == slug]
        draft = note(call.tower.store, call.tenant, f"{KIND}{slug}")
        if not governs and draft is not None:
            return draft.body
        if not governs:
            raise unknown(slug)
        named = governs[0].version
    row = version_of(call, slug, named)
    if row is None:
        raise _no_version(slug, named)
    return written(call, row.digest, row.content).encode()


async def versions(call: Call) -> Answer:
    slug = slug_of(call)
    activations = await asyncio.to_thread(_publications, call, slug)
    if not activations and note(call.tower.store, call.tenant, f"{KIND}{slug}") is None:
        raise unknown(slug)
    rows = call.tower.store.rows(ActiveDomain, call.tenant)
    active, shadows = {row.version for row in rows}, {row.shadow_version for row in rows}
    told: dict[str, Version] = {}
    for record in activations:
        data, governs = record["data"], record["kind"] == "domain_activated"
        name, at, by = data["version"], record["at"], record["actor"]["id"]
        before = told.get(name) or Version(name, data["digest"], name in active, name in shadows, at, None, None)
        told[name] = structs.replace(before, activated_at=at, activated_by=by) if governs else before
    return Answer(Versions(slug, list(told.values())))


async def activate(call: Call) -> Answer:
    slug = slug_of(call)
    body: Activation = call.body
    no_mapping(body.mapping)
    row = None if body.version is None else version_of(call, slug, body.version)
    if row is not None:
        return Answer(await publish(call, await compiled(call, row)))
    draft = note(call.tower.store, call.tenant, f"{KIND}{slug}")
    if draft is None:
        raise unknown(slug) if body.version is None else _no_version(slug, body.version)
    if body.version is not None:
        found = (await examined(call, draft.body, slug)).domain
        if found is None or found.version not in (body.version, f"{slug}-{body.version}"):
            raise _no_version(slug, body.version)
    return Answer(await publish(call, await complete(call, draft.body, slug), draft.body))


async def roll_back(call: Call) -> Answer:
    slug = slug_of(call)
    body: Mapping = call.body
    no_mapping(body.mapping)
    activations = await asyncio.to_thread(_activations, call, slug)
    if not activations:
        raise unknown(slug)
    before = activations[-1]["data"]["replaces"]
    row = None if before is None else version_of(call, slug, before)
    if row is None:
        raise Conflict(f"no version of `{slug}` governed before this one", slug=slug)
    return Answer(await publish(call, await compiled(call, row), asked=f"rollback {slug}"))


def _activations(call: Call, slug: str) -> list[dict[str, Any]]:
    """The records that made another version govern; an activation of what governed already is none."""
    records = call.tower.runtime.read.activations(slug, tenant=call.tenant)
    return [each for each in records if each["data"]["replaces"] != each["data"]["version"]]


def _publications(call: Call, slug: str) -> list[dict[str, Any]]:
    """The records that published a version, or made it govern."""
    records = call.tower.runtime.read.activations(slug, tenant=call.tenant, shadows=True)
    return [each for each in records if each["data"]["version"] not in (None, each["data"]["replaces"])]


def _no_version(slug: str, version: str) -> NotFound:
    return NotFound(f"there is no version `{version[:64]}` of `{slug}`", slug=slug, version=version[:64])


ROUTES = (
    Route("GET", "/v1/me/domain", show, "What governs.", "Domains", answers={200: Governing, 404: Problem}),
    Route(
        "PUT",
        "/v1/me/domain",
        put,
        "Publish a kiff.yaml and make it govern.",
        "Domains",
        body=Publish,
        media=YAML,
        answers={200: Published, 415: Problem, 422: Problem},
        access="owner",
        writes=True,
    ),
    Route("GET", "/v1/me/domains", list_, "The tenant's domains.", "Domains", answers={200: Domains}),
    Route(
        "GET",
        "/v1/me/domains/{slug}/yaml",
        yaml,
        "A version as its author wrote it.",
        "Domains",
        query=Which,
        answers={200: YAML},
    ),
    Route(
        "GET",
        "/v1/me/domains/{slug}/versions",
        versions,
        "The published versions, and when they governed.",
        "Domains",
        answers={200: Versions},
    ),
    Route(
        "POST",
        "/v1/me/domains/{slug}/activate",
        activate,
        "Make a version govern.",
        "Domains",
        body=Activation,
        answers={200: Published, 422: Problem},
        access="owner",
        writes=True,
    ),
    Route(
        "POST",
        "/v1/me/domains/{slug}/rollback",
        roll_back,
        "Make the version govern that governed before.",
        "Domains",
        body=Mapping,
        answers={200: Published, 422: Problem},
        access="owner",
        writes=True,
    ),
)
