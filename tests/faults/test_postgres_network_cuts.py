"""A bad network between a worker and the database, and to the executor's target: a commit whose reply is lost at any
byte is found again, nothing acknowledged is lost, no effect without a durable clearance, no second effect, and every
call is answered within ten seconds of the fault.

KIFF_FAULT_SEED replays a run: it draws the same calls and the same faults.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from callers import answered, crowd, serves
from outside import Book
from postgres_server import Server
from refund_shop import at_once, open_shop, paid, paying, refund, until
from reliability import note_run, seed_of_run
from shared_aftermath import Verdict, judged
from tcp_proxy import Fault, Kind, Proxy, Toward, drawn

from kiff.errors import StoreInDoubt
from kiff.runtime.ports import Append, Store
from kiff.stores.postgres import PostgresStore
from kiff.stores.postgres.failures import explained

pytestmark = pytest.mark.slow

ENDS: tuple[Kind, ...] = ("cut", "reset", "half-close")
COMMITS = {"decision": 1, "settle": 2}
"""Which append of a call it is."""


class Network:
    """A runtime of which one append can be disturbed, and how many bytes each append took."""

    def __init__(
        self,
        folder: Path,
        url: str,
        book: Book,
        proxy: Proxy,
        mutant: Callable[[PostgresStore], Store] = lambda store: store,
    ) -> None:
        self._place = folder, url, book
        self.proxy = proxy
        self._fault: Fault | None = None
        self._left = 0
        self._began: Counter[Toward] = Counter()
        self.sizes: list[Counter[Toward]] = []
        store = mutant(PostgresStore(through(url, proxy)))
        self.runtime = open_shop(folder, paying(book), store=store, probe=self._passed)

    def verdict(self) -> Verdict:
        """Closes the runtime and judges what it leaves."""
        self.runtime.close()
        return judged(*self._place, [])

    def disturb(self, fault: Fault, commit: int) -> None:
        """Arms a fault when the n-th append from now begins."""
        self._fault, self._left = fault, commit

    def _passed(self, point: str) -> None:
        if point == "append":
            self._began = Counter(self.proxy.passed)
            self._left -= 1
            if self._left == 0 and self._fault is not None:
                self.proxy.arm(self._fault)
        elif point == "appended":
            self.sizes.append(self.proxy.passed - self._began)


def through(url: str, proxy: Proxy) -> str:
    """The same database, by way of the proxy."""
    before, _, rest = url.rpartition(":")
    return f"{before}:{proxy.port}/{rest.partition('/')[2]}"


@pytest.fixture
def network(tmp_path: Path, durable: Server, book: Book) -> Iterator[Network]:
    with Proxy(durable.port) as proxy:
        network = Network(tmp_path, durable.fresh(), book, proxy)
        try:
            yield network
        finally:
            network.runtime.close()


@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.parametrize("kind", ENDS)
def test_a_commit_whose_reply_is_lost_is_found_again(network: Network, kind: Kind, commit: str) -> None:
    _swept(network, kind, "down", commit, points=4)


@pytest.mark.parametrize("commit", COMMITS)
def test_a_commit_that_never_arrives_whole_is_made_again(network: Network, commit: str) -> None:
    _swept(network, "cut", "up", commit, points=4)


@pytest.mark.soak
@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.parametrize("toward", ["up", "down"])
@pytest.mark.parametrize("kind", ENDS)
def test_a_commit_is_disturbed_at_every_byte(network: Network, kind: Kind, toward: Toward, commit: str) -> None:
    _swept(network, kind, toward, commit, points=100)


def test_a_connection_that_goes_silent_is_given_up_in_time(network: Network) -> None:
    _swept(network, "drop", "down", "decision", points=1)


def test_a_network_that_forgot_every_connection_is_noticed_once(network: Network) -> None:
    order = paid(network.runtime, "ord_001")
    at_once(6, lambda _: network.runtime.read.rebuild(order))  # each with a connection of its own
    network.proxy.strike_all("drop")
    assert serves(network.runtime, "after")
    assert network.proxy.struck["drop"] > 2
    assert network.verdict().problems() == []


def test_an_error_of_the_driver_leaves_a_commit_in_doubt() -> None:
    lost = explained(asyncpg.InternalClientError("cannot switch to state 12"), writing=True)
    assert type(lost) is StoreInDoubt


def test_a_worker_on_a_bad_network_loses_nothing(tmp_path: Path, durable: Server, book: Book) -> None:
    verdict = _cuts(tmp_path, durable, book, seed_of_run(), cuts=30)
    assert verdict.problems() == []
    assert verdict.effects


@pytest.mark.soak
@pytest.mark.parametrize("number", range(4))
def test_a_bad_network_for_long(tmp_path: Path, durable: Server, book: Book, number: int) -> None:
    assert _cuts(tmp_path, durable, book, seed_of_run() + number, cuts=100, drops=2).problems() == []


def test_a_worker_far_away_is_not_starved_by_one_nearby(tmp_path: Path, durable: Server, book: Book) -> None:
    url = durable.fresh()
    slow = Fault("delay", "up", seconds=0.02)
    with Proxy(durable.port, lambda _: slow) as proxy, ExitStack() as stack:
        near = stack.enter_context(open_shop(tmp_path, paying(book), store=PostgresStore(url)))
        store = PostgresStore(through(url, proxy))
        far = stack.enter_context(open_shop(tmp_path, paying(book), store=store))
        stack.enter_context(crowd([near], seed_of_run()))
        assert all(serves(far, f"far{number}") for number in range(3))


class HopefulStore:
    """The mutant: it takes a lost reply for a yes."""

    exclusive = False

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def append(self, batch: Append) -> None:
        with suppress(StoreInDoubt):
            self._store.append(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_control_a_store_that_takes_a_lost_reply_for_a_yes_is_found_out(
    tmp_path: Path, durable: Server, book: Book
) -> None:
    with Proxy(durable.port) as proxy:
        network = Network(tmp_path, durable.fresh(), book, proxy, mutant=HopefulStore)
        with network.runtime as runtime:
            entity = paid(runtime, "ord_001")
            network.disturb(Fault("cut", "up", 0), COMMITS["decision"])
            refund(runtime, entity)
            until(lambda: bool(book.debits()))
    assert len(network.verdict().uncleared) == 1


def _swept(network: Network, kind: Kind, toward: Toward, commit: str, *, points: int) -> None:
    """Disturbs that commit of a call after so many different numbers of bytes of it, one call each."""
    for name in ("first", "usual"):  # the first one also brings the statement to the server
        assert serves(network.runtime, name)
    size = network.sizes[-2 if commit == "decision" else -1][toward] - 16  # ids and counts differ in length
    places = sorted({size * number // points for number in range(points)})
    for after in places:
        entity = paid(network.runtime, f"ord_{after}")
        network.disturb(Fault(kind, toward, after), COMMITS[commit])
        assert answered(partial(refund, network.runtime, entity, id=f"prop_{after}")).executed
    verdict = network.verdict()
    struck = network.proxy.struck.total()
    note_run("postgres-commit-cut", 0, {"network_cuts": struck, **verdict.figures()})
    assert (verdict.problems(), verdict.effects, struck) == ([], len(places) + 2, len(places))


def _cuts(folder: Path, server: Server, book: Book, seed: int, *, cuts: int, drops: int = 0) -> Verdict:
    """Cuts the network of two workers so many times, wherever its bytes are, then judges the database."""
    url, draw = server.fresh(), random.Random(seed)
    kinds: list[Kind] = [draw.choice((*ENDS, "delay")) for _ in range(cuts - drops)]
    kinds += ["drop"] * drops
    draw.shuffle(kinds)
    lossy = drawn(seed, kinds=(*ENDS, "delay"), within=300, one_in=20)
    with Proxy(server.port) as to_database, Proxy(book.port, lossy) as to_target, ExitStack() as stack:
        target = book._replace(port=to_target.port)
        runtimes = [
            # A server listens to what its fellows commit; so do these.
            stack.enter_context(open_shop(folder, paying(target), store=PostgresStore(at), on_commit=lambda _: None))
            for at in [through(url, to_database)] * 2
        ]
        struck_at = [0.0]  # a call that meets several faults has its ten seconds from the last
        acknowledged = stack.enter_context(crowd(runtimes, seed, lambda: time.monotonic() - struck_at[0] < 1))
        for number, kind in enumerate(kinds):
            toward: Toward = draw.choice(("up", "down"))
            after = draw.randrange(20_000 if toward == "up" else 2_000)
            to_database.arm(Fault(kind, toward, after, seconds=0.002))
            until(partial(_has_struck, to_database, number))
            struck_at[0] = time.monotonic()
            if kind == "drop" or number % 10 == 0:
                assert all(serves(runtime, f"after{number}at{at}") for at, runtime in enumerate(runtimes))
    verdict = judged(folder, url, book, acknowledged)
    outside = to_target.struck.total()
    figures = {"network_cuts": to_database.struck.total(), "executor_network_cuts": outside, **verdict.figures()}
    note_run("postgres-network", seed, figures)
    return verdict


def _has_struck(proxy: Proxy, before: int) -> bool:
    return proxy.struck.total() > before
