"""A process that hammers one cap with eight threads, and prints the amounts it got as JSON."""

from __future__ import annotations

import json
import random
import sys
import threading
from http.client import HTTPConnection
from typing import Any

THREADS = 8


def main() -> None:
    host, key, action, calls, seed = sys.argv[1:]
    got: list[float] = []
    threads = [
        threading.Thread(target=_ask, args=(host, key, action, int(calls), random.Random(f"{seed}/{n}"), got))
        for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(got))


def _ask(host: str, key: str, action: str, calls: int, chance: random.Random, got: list[float]) -> None:
    connection = HTTPConnection(host, timeout=60)
    for _ in range(calls):
        amount = chance.randint(1, 300) / 100
        body: dict[str, Any] = {"entity_id": "t1", "entity_type": "till", "action_name": action}
        body["parameters"] = {"amount": amount}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/proposals/decide", json.dumps(body), headers)
        response = connection.getresponse()
        told = json.loads(response.read())
        if response.status == 200 and told["outcome"] == "allowed":
            got.append(amount)


if __name__ == "__main__":
    main()
