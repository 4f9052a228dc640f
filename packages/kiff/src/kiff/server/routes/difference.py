"""What a version, or a text, would let through that another version does not."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct, convert

from kiff.analysis.access.difference import difference_json
from kiff.domain import Domain
from kiff.errors import InvalidInput, NotFound
from kiff.runtime.rows import ActiveDomain
from kiff.server.authoring import compiled, examined, refusal, slug_of, unknown, version_of
from kiff.server.problems import Problem
from kiff.server.route import Answer, Call, Route

CALLS, MOST_CALLS = 1_000, 3_000
"""How many calls of one action, and of all, are tried for one request."""


class Compare(Struct, forbid_unknown_fields=True):
    """Either a published `version` or a `yaml` is compared with `against`: a published version; the one that governs,
    when none is named."""

    yaml: str | None = None
    version: str | None = None
    against: str | None = None


class Answered(Struct, omit_defaults=True):
    """What a gate says. `people`: how many it asks, when it asks any."""

    outcome: str
    reasons: list[str]
    people: int = 0


class Access(Struct):
    """A call that gets further than before.

    `kind`: `new_access` (it runs and did not), `approvable` (a person may let it through and nobody could),
    `fewer_people` (fewer or other people are asked), `weaker_review` (a yes is held to less). `case` is a test file
    with the call: what it expects is what `before` answers.
    """

    kind: str
    action: str
    reason: str
    message: str
    before: Answered
    after: Answered
    case: dict[str, Any]


class Moved(Struct, rename={"from_": "from"}):
    """An event that leads to the state `to`; `before` is where it led, or null where it was refused."""

    event: str
    from_: str | None
    to: str
    before: str | None
    message: str
    case: dict[str, Any]


class Change(Struct):
    """One place where the documents differ."""

    change: str
    where: str
    before: Any
    after: Any


class Compared(Struct):
    """What was found by trying calls on both gates: all of it is so, and there may be more."""

    before: str
    after: str
    access: list[Access]
    moves: list[Moved]
    differences: list[Change]


async def diff(call: Call) -> Answer:
    slug = slug_of(call)
    body: Compare = call.body
    if (body.yaml is None) == (body.version is None):
        raise InvalidInput("give one of `yaml` and `version`: what is to be compared", field="yaml")
    before = await _published(call, slug, body.against or _governing(call, slug))
    after = await _text(call, slug, body.yaml) if body.yaml is not None else await _published(call, slug, body.version)
    async with call.tower.compiling[call.tenant]:
        told = await asyncio.to_thread(difference_json, before, after, None, CALLS, MOST_CALLS)
    return Answer(convert({"before": before.version, "after": after.version, **told}, Compared))


def _governing(call: Call, slug: str) -> str:
    row = next((row for row in call.tower.store.rows(ActiveDomain, call.tenant) if row.domain == slug), None)
    if row is None:
        raise unknown(slug)
    return row.version


async def _published(call: Call, slug: str, named: str | None) -> Domain:
    row = None if named is None else version_of(call, slug, named)
    if row is None:
        name = str(named)[:64]
        raise NotFound(f"there is no version `{name}` of `{slug}`", slug=slug, version=name)
    return await compiled(call, row)


async def _text(call: Call, slug: str, yaml: str) -> Domain:
    """A text that may lack what it takes to govern, if it can be read."""
    found = await examined(call, yaml.encode(), slug)
    if found.domain is None:
        raise refusal(found)
    return found.domain


ROUTES = (
    Route(
        "POST",
        "/v1/me/domains/{slug}/diff",
        diff,
        "What a version or a kiff.yaml lets through that another version does not.",
        "Domains",
        body=Compare,
        answers={200: Compared, 422: Problem},
    ),
)
