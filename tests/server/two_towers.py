"""Two servers on one PostgreSQL database, as two workers are: each with its own runtime, caches and loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from auth_cases import FREE
from served import PATIENCE_SECONDS, Outside, Served

from kiff.client import Client
from kiff.server.settings import Limits


class Pair:
    """Both have the same keys, the same data folder, and executors that change the same outside."""

    def __init__(self, one: Served, other: Served, open_clients: ExitStack) -> None:
        self.one = one
        self.other = other
        self.outside = one.outside
        self._open = open_clients
        self._clients: dict[tuple[Served, str], Client] = {}

    def one_as(self, key: str) -> Client:
        """A client of the first, with the key of this name, or this secret."""
        return self._client(self.one, key)

    def other_as(self, key: str) -> Client:
        return self._client(self.other, key)

    def _client(self, shop: Served, key: str) -> Client:
        if (shop, key) not in self._clients:
            client = Client(shop.serving.url, shop.keys.get(key, key), timeout=PATIENCE_SECONDS)
            self._clients[shop, key] = self._open.enter_context(client)
        return self._clients[shop, key]


@contextmanager
def pair(data: Path, url: str, limits: Limits = FREE) -> Iterator[Pair]:
    outside = Outside()
    with ExitStack() as stack:
        one = Served(data, limits, outside=outside, store=url)
        stack.callback(one.close)
        other = Served(data, limits, outside=outside, store=url)
        stack.callback(other.close)
        other.keys = one.keys
        yield Pair(one, other, stack)
