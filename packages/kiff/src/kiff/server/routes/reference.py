"""What the server says about itself: the OpenAPI document, a page of every route, a page of every code."""

from __future__ import annotations

import asyncio
from typing import Literal

from kiff.server.reference_pages import Page, Reference
from kiff.server.route import Answer, Call, Route

POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
CACHED = "public, max-age=300"


async def openapi(call: Call) -> Answer:
    return await _page(call, "openapi")


async def routes(call: Call) -> Answer:
    return await _page(call, "routes")


async def errors(call: Call) -> Answer:
    return await _page(call, "errors")


async def style(call: Call) -> Answer:
    return await _page(call, "style")


async def _page(call: Call, name: Literal["openapi", "routes", "errors", "style"]) -> Answer:
    """A page, or that the client has it already. The first one asked for takes a while to make."""
    reference: Reference = call.request.app.state.reference
    page: Page = await asyncio.to_thread(getattr, reference, name)
    headers = {"etag": page.tag, "cache-control": CACHED, "content-security-policy": POLICY}
    given = call.request.headers.get("if-none-match", "")
    if page.tag in (tag.strip().removeprefix("W/") for tag in given.split(",")):
        return Answer(None, 304, headers, page.media)
    return Answer(page.body, 200, headers, page.media)


ROUTES = (
    Route(
        "GET",
        "/v1/openapi.json",
        openapi,
        "This document.",
        "Reference",
        answers={200: "application/json", 304: None},
        access="public",
    ),
    Route(
        "GET",
        "/v1/docs",
        routes,
        "Every route, for people.",
        "Reference",
        answers={200: "text/html", 304: None},
        access="public",
    ),
    Route(
        "GET",
        "/v1/docs/errors",
        errors,
        "Every code, for people.",
        "Reference",
        answers={200: "text/html", 304: None},
        access="public",
    ),
    Route(
        "GET",
        "/v1/docs/style.css",
        style,
        "How the pages look.",
        "Reference",
        answers={200: "text/css", 304: None},
        access="public",
    ),
)
