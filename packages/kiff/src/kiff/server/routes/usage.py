"""How much there is: of a tenant, and of one domain."""

from __future__ import annotations

import asyncio
from collections import Counter

from msgspec import Struct

from kiff.protocol.authority import Credential, Member
from kiff.protocol.receipt import Receipt
from kiff.protocol.state import EntityState
from kiff.runtime.rows import ActiveDomain
from kiff.server.authoring import slug_of, unknown
from kiff.server.notes import note
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.drafts import KIND

PAGE = 1_000
ENTITIES = 20_000
"""How many entities of a type are counted by state; beyond, `complete` is false."""
WAITING = 10_000


class Usage(Struct):
    """How much a tenant has.

    `decisions` are those with a receipt, `keys` those that were ever minted, sessions too. `since_start` counts the
    decisions that this process answered, by outcome.
    """

    records: int
    decisions: int
    entities: int
    keys: int
    members: int
    since_start: dict[str, int]


class DomainUsage(Struct):
    """What a domain governs now. `complete` is false where there are more entities than were counted."""

    slug: str
    entities: int
    states: dict[str, int]
    complete: bool
    pending_approvals: int
    open_operations: int
    unknown_operations: int


async def tenant(call: Call) -> Answer:
    counted = call.tower.counts.outcomes_of.items()
    decided = {outcome: count for (whose, outcome), count in counted if whose == call.tenant}
    return Answer(await asyncio.to_thread(_tenant, call, decided))


def _tenant(call: Call, decided: dict[str, int]) -> Usage:
    store, whose = call.tower.store, call.tenant
    head = store.peek((whose,), ()).heads[whose]
    return Usage(
        records=0 if head is None else head.size,
        decisions=store.count(Receipt, whose),
        entities=store.count(EntityState, whose),
        keys=store.count(Credential, whose),
        members=store.count(Member, whose),
        since_start=decided,
    )


async def domain(call: Call) -> Answer:
    slug = slug_of(call)
    return Answer(await asyncio.to_thread(_domain, call, slug))


def _domain(call: Call, slug: str) -> DomainUsage:
    store, whose = call.tower.store, call.tenant
    types = [row.entity_type for row in store.rows(ActiveDomain, whose) if row.domain == slug]
    if not types and note(store, whose, f"{KIND}{slug}") is None:
        raise unknown(slug)
    states: Counter[str] = Counter()
    complete = all(_count(call, entity_type, states) for entity_type in types)
    approvals = store.approvals(whose, status="pending", limit=WAITING)
    operations = [store.clearances(whose, status=status, limit=WAITING) for status in ("open", "unknown")]
    still_open, lost = (sum(row.entity.split(":", 1)[0] in types for row in rows) for rows in operations)
    pending = sum(row.domain == slug for row in approvals)
    return DomainUsage(slug, states.total(), dict(states), complete, pending, still_open, lost)


def _count(call: Call, entity_type: str, states: Counter[str]) -> bool:
    """Counts entities of a type by state. Returns whether that were all."""
    prefix = f"{entity_type}:"
    after = prefix
    while page := call.tower.store.entities(call.tenant, after=after, limit=PAGE):
        mine = [row for row in page if row.entity.startswith(prefix)]
        states.update(row.state or "" for row in mine)
        if len(mine) < len(page):
            return True
        if states.total() >= ENTITIES:
            return False
        after = page[-1].entity
    return True


ROUTES = (
    Route("GET", "/v1/me/usage", tenant, "How much the tenant has.", "Usage", answers={200: Usage}, access="read"),
    Route(
        "GET",
        "/v1/me/domains/{slug}/usage",
        domain,
        "How much a domain governs.",
        "Usage",
        answers={200: DomainUsage},
        access="read",
    ),
)
