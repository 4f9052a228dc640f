"""A program that somebody stops with Ctrl-C: it uses the runtime, and does nothing special about signals.

Work is `hang` (waits for an executor that never answers, and closes nothing), `tidy` (lets its executor go on the
way out of the `with` block) or `write` (one event after the other, each told to the pipe once it is acknowledged).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from outside import Book
from refund_shop import STRIPE, Held, open_shop, paid, paying, refund

from kiff import Runtime


def tell(line: Any) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def hang(runtime: Runtime, held: Held) -> None:
    call = refund(runtime, paid(runtime, "ord_001"))
    held.wait_for()
    tell("at work")
    call.result()


def tidy(runtime: Runtime, held: Held) -> None:
    with runtime:
        try:
            hang(runtime, held)
        finally:
            held.let_go()


def write(runtime: Runtime, held: Held) -> None:
    with runtime:
        entity = paid(runtime, "ord_001")
        tell("at work")
        while True:
            answer = runtime.ingest(STRIPE, type="ORDER_NOTED", entity=entity).result()
            tell({"event": answer.event_id, "entity": entity})


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    held = Held(paying(Book(plan["port"], plan["book"])))
    runtime = open_shop(Path(plan["folder"]), held)
    {"hang": hang, "tidy": tidy, "write": write}[plan["work"]](runtime, held)
