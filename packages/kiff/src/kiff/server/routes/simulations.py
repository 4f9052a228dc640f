"""What a draft would have decided: the tenant's history decided again, beside the lane and within bounds."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal

from msgspec import Meta, Struct

from kiff.analysis.simulate import Draft, Question, Simulated, simulate
from kiff.analysis.simulate.window import since
from kiff.domain import Domain
from kiff.domain.policy import Policy, load_policy
from kiff.errors import InvalidInput, InvalidPolicy, NotFound
from kiff.server.authoring import (
    ISSUES,
    compiled,
    examined,
    refusal,
    slug_of,
    told_issues,
    unknown,
    version_of,
)
from kiff.server.notes import note
from kiff.server.problems import HttpError, Problem
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.drafts import KIND

RECORDS = 250_000
"""How many records are read at most: the newest."""
SECONDS = 15.0
"""How long one takes at most; what was read until then is told."""
BREATH_SECONDS = 0.002
"""How long the interpreter is left to others between pages."""


class Simulate(Struct, forbid_unknown_fields=True):
    """What is to be tried: a `yaml`, or a published `version`; the kept draft, when neither is given.

    `policy` is the text of a policy that is to hold as well; the one in force at each decision, when none is given.
    `since` is `90d` or an instant. `sequential`: what is decided otherwise changes what comes after it.
    """

    yaml: str | None = None
    version: str | None = None
    policy: str | None = None
    since: str | None = None
    action: str | None = None
    mode: Literal["independent", "sequential"] = "independent"
    examples: Annotated[int, Meta(ge=0, le=20)] = 3
    minutes_per_approval: Annotated[float, Meta(ge=0, le=10_000)] | None = None


async def post(call: Call) -> Answer:
    slug = slug_of(call)
    body: Simulate = call.body
    domain = await _domain(call, slug, body)
    policy = None if body.policy is None else await _policy(call, body.policy)
    question = Question(
        since_ms=None if body.since is None else since(body.since, call.tower.clock.now()),
        action=body.action,
        sequential=body.mode == "sequential",
        examples=body.examples,
        minutes=body.minutes_per_approval,
        most_records=RECORDS,
    )
    async with call.tower.simulating.take(call.tenant):
        return Answer(await asyncio.to_thread(_simulated, call, Draft(domain, policy), question))


def _simulated(call: Call, draft: Draft, question: Question) -> Simulated:
    ends = time.monotonic() + SECONDS

    def go_on(records: int) -> bool:
        time.sleep(BREATH_SECONDS)
        return time.monotonic() < ends

    return simulate(call.tower.store, draft, question, tenant=call.tenant, go_on=go_on)


async def _policy(call: Call, text: str) -> Policy:
    """
    Raises:
        HttpError: `invalid_policy`; `issues` says what is wrong.
    """
    async with call.tower.compiling[call.tenant]:
        try:
            return await asyncio.to_thread(load_policy, text, "the policy")
        except InvalidPolicy as error:
            raise HttpError("invalid_policy", error.message, issues=told_issues(error.issues)[:ISSUES]) from error


async def _domain(call: Call, slug: str, body: Simulate) -> Domain:
    if body.yaml is not None and body.version is not None:
        raise InvalidInput("give either `yaml` or `version`", field="version")
    if body.version is not None:
        row = version_of(call, slug, body.version)
        if row is None:
            named = body.version[:64]
            raise NotFound(f"there is no version `{named}` of `{slug}`", slug=slug, version=named)
        return await compiled(call, row)
    if body.yaml is not None:
        text = body.yaml.encode()
    else:
        draft = note(call.tower.store, call.tenant, f"{KIND}{slug}")
        if draft is None:
            raise unknown(slug)
        text = draft.body
    found = await examined(call, text, slug)
    if found.domain is None or found.domain.name != slug:
        raise refusal(found)
    return found.domain


ROUTES = (
    Route(
        "POST",
        "/v1/me/domains/{slug}/simulate",
        post,
        "What a draft would have decided: history decided again, nothing is changed.",
        "Domains",
        body=Simulate,
        answers={200: Simulated, 422: Problem},
        access="owner",
    ),
)
