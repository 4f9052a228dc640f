"""What the tests about logging in share: people, a clock, what a database file gives away, and many asking at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

from served import TENANT, Served, Told, served

from kiff.protocol.authority import Member
from kiff.server.settings import Limits

FREE = Limits(key_rate=0, tenant_rate=0, client_rate=0, code_rate=0)
"""No rate limits at all."""
FORWARDED = {"X-Forwarded-For": "203.0.113.9"}
"""What a proxy says of a client that is elsewhere."""


class SteppedClock:
    """A clock that goes where the test puts it."""

    def __init__(self) -> None:
        self.wall = int(time.time() * 1000)

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return time.monotonic()

    def pass_seconds(self, seconds: float) -> None:
        self.wall += int(seconds * 1000)


@contextmanager
def timed_shop(data: Path, limits: Limits = FREE, **settings: Any) -> Iterator[tuple[Served, SteppedClock]]:
    """A server whose clock the test moves."""
    clock = SteppedClock()
    with served(data, limits, options={"clock": clock}, **settings) as shop:
        yield shop, clock


def enrol(shop: Served, id: str, type: str, roles: str, person: str | None = None, *, active: bool = True) -> None:
    """A member, as an owner makes one."""
    body = {"type": type, "roles": roles.split(",") if roles else [], "person": person, "active": active}
    told = shop.ask("PUT", f"/v1/members/{id}", body, "owner")
    assert told.status == 200, told


def key_of(shop: Served, id: str, key: str = "owner", **more: Any) -> str:
    """A key that is bound to a member."""
    told = shop.post("/v1/keys", {"label": id, "principal": id, **more}, key)
    assert told.status == 201, told
    return str(told.body["secret"])


def log_in(shop: Served, member: str = "owner") -> str:
    """The session that a one-time token brings."""
    told = shop.post("/v1/auth/session", {"token": shop.tower.logins.token(TENANT, member)}, None)
    assert told.status == 200, told
    return str(told.body["session"])


def switch_off(shop: Served, id: str) -> None:
    """The member is not active any more."""
    row = shop.tower.store.row(Member, TENANT, id)
    assert row is not None
    enrol(shop, id, row.type, row.roles, row.person, active=False)


def at_once(times: int, ask: Callable[[int], Told]) -> list[Told]:
    """The answers to requests that begin at the same moment."""
    start = Barrier(times)

    def one(number: int) -> Told:
        start.wait()
        return ask(number)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def gives_away(data: Path, *secrets: str) -> list[str]:
    """Which of these texts stand in a file of the data folder, the keys' files included."""
    held = [file.read_bytes() for file in sorted(data.rglob("*")) if file.is_file()]
    assert any(TENANT.encode() in each for each in held), "the database was looked at"
    return [secret for secret in secrets if any(secret.encode() in each for each in held)]


def parts(secret: str) -> tuple[str, str, str]:
    """A credential's text, its random part, and what of that no id tells."""
    random = secret.rpartition("_")[2]
    return secret, random, random[10:]
