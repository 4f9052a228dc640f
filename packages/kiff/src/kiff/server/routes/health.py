"""Whether the process lives, whether it would take a write in, and what it counted."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from kiff.server.counts import render
from kiff.server.route import Answer, Call, Route
from kiff.server.tower import Tower


class Health(Struct):
    """`ok`, or why not."""

    status: str


async def alive(call: Call) -> Answer:
    return Answer(Health("ok"))


async def ready(call: Call) -> Answer:
    status = await _not_ready(call.tower)
    return Answer(Health(status), 503, {"retry-after": "2"}) if status else Answer(Health("ok"))


async def _not_ready(tower: Tower) -> str:
    """Why not; empty when it is."""
    if tower.draining:
        return "draining"
    failure = tower.runtime.failure
    return await tower.readiness.failure() if failure is None else failure.code


async def metrics(call: Call) -> Answer:
    runtime = call.tower.runtime
    gauges = {
        "kiff_commands_waiting": ("Commands that wait for the lane.", float(runtime.waiting())),
        "kiff_executors_running": ("Operations in an executor slot.", float(len(runtime.running()))),
        "kiff_streams_open": ("Event streams that are open.", float(call.tower.counts.streams.total())),
    }
    text, media = await asyncio.to_thread(render, call.tower.counts, gauges, call.tower.settings.worker)
    return Answer(text, media=media)


ROUTES = (
    Route("GET", "/healthz", alive, "The process lives.", "Server", answers={200: Health}, access="public"),
    Route(
        "GET",
        "/readyz",
        ready,
        "A write would be taken in.",
        "Server",
        answers={200: Health, 503: Health},
        access="public",
    ),
    Route(
        "GET",
        "/metrics",
        metrics,
        "What the process counted, for Prometheus.",
        "Server",
        answers={200: "text/plain"},
        access="public",
    ),
)
