"""One replica of a run: decides as fast as its callers ask, for some seconds.

python -m benchmarks.replica turns|free URL SECONDS CALLERS ENTITIES TENANT...

`free` takes no turns at a head that somebody else moved first, and steps again at once: the control.

It says `ready`, waits for a line, and then says how many decisions were allowed, and how many gave up because another
replica kept being first.
"""

from __future__ import annotations

import sys
import threading
import time
from itertools import count

from benchmarks.on_postgres import caller, opened
from benchmarks.subject import PARAMETERS
from kiff import Runtime
from kiff.errors import StoreConflict
from kiff.stores.postgres import PostgresStore, turns


def decisions(runtime: Runtime, seconds: float, callers: int, entities: int, tenants: list[str]) -> tuple[int, int]:
    """How many were allowed, and how many given up, of so many callers for each tenant."""
    numbers, allowed, given_up = count(), count(), count()

    def work(tenant: str) -> None:
        agent = caller("ops-agent", "agent", "ops_agent", tenant)
        while time.monotonic() < ends:
            entity = f"order:{next(numbers) % entities}"
            try:
                answer = runtime.propose(agent, entity=entity, action="NOTE", parameters=PARAMETERS).result()
            except StoreConflict:
                next(given_up)
                continue
            assert answer.outcome == "allowed", answer
            next(allowed)

    ends = time.monotonic() + seconds
    threads = [threading.Thread(target=work, args=[tenant]) for tenant in tenants for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next(allowed), next(given_up)


def main(how: str, url: str, seconds: str, callers: str, entities: str, *tenants: str) -> None:
    if how == "free":
        turns.CONTENDED_SECONDS = 0.0
    with opened(PostgresStore(url), tenants[0]) as runtime:
        decisions(runtime, 0.3, int(callers), int(entities), list(tenants))  # its statements are prepared
        print("ready", flush=True)
        sys.stdin.readline()
        print(*decisions(runtime, float(seconds), int(callers), int(entities), list(tenants)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
