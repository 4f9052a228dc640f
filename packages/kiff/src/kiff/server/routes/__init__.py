"""Every route of the server, in the order they are tried: what is asked most stands first."""

from __future__ import annotations

from kiff.server.route import Route
from kiff.server.routes import (
    actions,
    approvals,
    auth,
    domains,
    drafts,
    entities,
    events,
    evidence,
    guard,
    health,
    keys,
    log,
    oidc,
    operations,
    proposals,
    reference,
    stream,
    tenants,
    usage,
)

ROUTES: tuple[Route, ...] = (
    *proposals.ROUTES,
    *actions.ROUTES,
    *events.ROUTES,
    *approvals.ROUTES,
    *entities.ROUTES,
    *operations.ROUTES,
    *evidence.ROUTES,
    *log.ROUTES,
    *stream.ROUTES,
    *keys.ROUTES,
    *domains.ROUTES,
    *drafts.ROUTES,
    *usage.ROUTES,
    *guard.ROUTES,
    *auth.ROUTES,
    *oidc.ROUTES,
    *tenants.ROUTES,
    *health.ROUTES,
    *reference.ROUTES,
)
