"""The process that `benchmarks.http` measures: the server as it is, with one route more that only answers.

python -m benchmarks.http_server DATA

It prints its port and the agent's key. `/bare` goes the same way as a decide (key, rate, body, strict parse) up to
the handler, which gives a fixed answer: what is left to the decision is the difference.
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec import structs

import kiff.server.serving as serving
from benchmarks.subject import domain
from kiff.protocol.authority import Member
from kiff.server.route import Answer, Call
from kiff.server.routes import ROUTES
from kiff.server.routes.proposals import ROUTES as PROPOSALS
from kiff.server.settings import Limits, ServerSettings
from kiff.server.wire import DecideAnswer

TENANT = "bench"
ANSWER = DecideAnswer("prop_0", "allowed", [], "cleared", "trace_0", "rcpt_0")


async def bare(call: Call) -> Answer:
    call.caller(call.body.actor_id)
    return Answer(ANSWER)


def main(data: Path) -> None:
    serving.ROUTES = (structs.replace(PROPOSALS[0], path="/bare", handler=bare), *ROUTES)
    limits = Limits(key_rate=0, tenant_rate=0)
    server = serving.Serving(ServerSettings(data, port=0, limits=limits))
    tower = server.tower
    members = [
        Member(TENANT, "ops-agent", "agent", None, None, "ops_agent", True),
        Member(TENANT, "stripe", "service", None, None, "adapter", True),
    ]
    tower.found(TENANT, members)
    tower.activate(TENANT, domain())
    key = tower.mint(TENANT, "ops-agent", "bench")
    server.run(lambda: print(server.url.rpartition(":")[2], key, flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
