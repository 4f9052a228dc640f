"""A whole version of a domain asked beside the one that governs: its answers are recorded, and decide nothing."""

from __future__ import annotations

from msgspec import Struct

from kiff.domain import Domain
from kiff.errors import InvalidInput, NotFound
from kiff.runtime.answers import Shadowed
from kiff.server.authoring import YAML, compiled, complete, keep_text, slug_of, text_of, version_of
from kiff.server.problems import Problem
from kiff.server.route import Answer, Call, Route


class Shadowing(Struct, forbid_unknown_fields=True):
    """What is to be asked as well: a kiff.yaml, which is published by that, or a published version.

    The document can be the body itself too, as `application/x-yaml`.
    """

    yaml: str | None = None
    version: str | None = None


class ShadowTold(Struct):
    """What is asked beside the version that governs; null when nothing is.

    `changed` is false when it was so already.
    """

    slug: str
    version: str | None
    digest: str | None
    beside: str
    changed: bool


async def begin(call: Call) -> Answer:
    slug = slug_of(call)
    body: Shadowing | None = call.body
    if body is not None and (body.yaml is None) == (body.version is None):
        raise InvalidInput("name either `yaml` or `version`", field="version")
    if body is not None and body.version is not None:
        return Answer(await _ask(call, slug, await _published(call, slug, body.version)))
    text = text_of(call)
    told = await _ask(call, slug, domain := await complete(call, text, slug))
    await keep_text(call, domain.digest, text)
    return Answer(told)


async def _published(call: Call, slug: str, named: str) -> Domain:
    row = version_of(call, slug, named)
    if row is None:
        raise NotFound(f"there is no version `{named[:64]}` of `{slug}`", slug=slug, version=named[:64])
    return await compiled(call, row)


async def end(call: Call) -> Answer:
    return Answer(await _ask(call, slug_of(call), None))


async def _ask(call: Call, slug: str, domain: Domain | None) -> ShadowTold:
    runtime, key = call.tower.runtime, call.id_of_write(None)
    told: Shadowed = await call.write(lambda caller: runtime.shadow(caller, domain, of=slug, key=key))
    return ShadowTold(told.domain, told.version, told.digest, told.beside, told.changed)


ROUTES = (
    Route(
        "POST",
        "/v1/me/domains/{slug}/shadow",
        begin,
        "Ask another version beside the one that governs.",
        "Domains",
        body=Shadowing,
        media=YAML,
        answers={200: ShadowTold, 404: Problem, 415: Problem, 422: Problem},
        access="owner",
        writes=True,
    ),
    Route(
        "DELETE",
        "/v1/me/domains/{slug}/shadow",
        end,
        "Ask no other version any more.",
        "Domains",
        answers={200: ShadowTold, 404: Problem},
        access="owner",
        writes=True,
    ),
)
