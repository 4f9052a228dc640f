"""The dispatcher: a thread that looks for deliveries whose time has come, and sends each in a thread of a pool.

It decides nothing about what is delivered or when it is tried again: rows say the one, a step the other. It sees to it
that no endpoint, and no tenant, keeps the others waiting.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from math import inf

from msgspec import Struct

from kiff.canonical import encode
from kiff.errors import Closed, KiffError, Overloaded
from kiff.protocol.instant import rfc3339
from kiff.protocol.webhook import Endpoint
from kiff.runtime.outbox import read
from kiff.runtime.ports import Clock, Store
from kiff.runtime.rows import Delivery, LogHead
from kiff.runtime.webhooks import Webhooks
from kiff.server.counts import Counts
from kiff.server.egress import Egress
from kiff.server.hook_secrets import HookSecrets
from kiff.server.webhook_message import TIMEOUT_SECONDS, Ended, send

IDLE_SECONDS = 1.0
"""How often it looks for what has come due, or what another process wrote."""
PACE_SECONDS, CALM_SECONDS = 0.02, 0.2
"""How often it looks at most, however often logs grow: when there was something the last time, and when not."""
LOOKING_SHARE, LONGEST_LOOK_SECONDS = 20, 10.0
"""For how many times as long as a fruitless look at an endpoint's backlog took there is none, and how long at most."""
LEASE_MS = int(4 * TIMEOUT_SECONDS * 1_000)
"""How long a delivery is this process's; when it dies meanwhile, another one, or the next, sends it after that."""
TEST = "webhook.test"
"""What a message is called that no record tells of."""
AT_ONCE, OF_A_TENANT, OF_AN_ENDPOINT = 64, 16, 4
"""How many messages may be on their way, of all, of one tenant and of one endpoint."""
TROUBLE = 5
"""After how many failures in a row an endpoint is left alone for a while, and then asked one message at a time."""
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 5.0, 300.0


class Trouble(Struct):
    """How an endpoint has been doing lately, as this process saw it."""

    failures: int = 0
    until: float = -inf

    def take(self, ended: Ended, now: float) -> None:
        """The next outcome.

        Args:
            now: monotonic seconds.
        """
        if ended.how == "dropped":
            return
        if ended.how == "delivered":
            self.failures, self.until = 0, -inf
            return
        self.failures += 1
        rest = (ended.asked_ms or 0) / 1_000
        if self.failures >= TROUBLE:
            rest = max(rest, min(FIRST_REST_SECONDS * 2 ** min(self.failures - TROUBLE, 10), LONGEST_REST_SECONDS))
        self.until = max(self.until, now + rest) if rest else self.until


class Outbox:
    """Delivers what a store's rows say is to be delivered, until it is closed.

    Args:
        secrets: opens what messages are signed with.
        counts: how attempts end is added there.
    """

    def __init__(
        self, store: Store, webhooks: Webhooks, egress: Egress, secrets: HookSecrets, clock: Clock, counts: Counts
    ) -> None:
        self._store = store
        self._webhooks = webhooks
        self._egress = egress
        self._secrets = secrets
        self._clock = clock
        self._counts = counts
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._under_way: Counter[tuple[str, str]] = Counter()
        self._trouble: dict[tuple[str, str], Trouble] = {}
        self._asked: dict[tuple[str, str], float] = {}
        self._first: tuple[str, str] = ("", "")
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="kiff-webhook")
        self._thread = threading.Thread(target=self._run, name="kiff-outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def committed(self, heads: list[LogHead]) -> None:
        """Logs grew: there may be something to deliver."""
        self._woken.set()

    def stop(self) -> None:
        """Takes up nothing new."""
        self._stopped.set()
        self._woken.set()

    def close(self, timeout: float) -> None:
        """Waits for what is under way; what does not end in time is sent again by whoever is next."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way.total(), timeout)

    def again(self, tenant: str, endpoint_id: str) -> None:
        """Somebody says that an endpoint is well: it is asked at once, whatever it asked for before."""
        with self._changed:
            self._trouble.pop((tenant, endpoint_id), None)
            self._asked.pop((tenant, endpoint_id), None)
        self._woken.set()

    def test(self, tenant: str, endpoint: Endpoint) -> Future[Ended]:
        """Sends a message that no record tells of, once.

        Raises:
            Overloaded: as many messages are on their way to it as there may be.
            Closed: nothing is sent any more.
        """
        with self._changed:
            if self._free(tenant, endpoint.id) < 1:
                raise Overloaded("messages are on their way to this endpoint; try again when they have ended")
            self._under_way[tenant, endpoint.id] += 1
        try:
            sent = self._pool.submit(self._test, tenant, endpoint)
        except RuntimeError as error:
            self._done(tenant, endpoint.id)
            raise Closed("the server is shutting down") from error
        sent.add_done_callback(lambda _: self._done(tenant, endpoint.id))
        return sent

    def _test(self, tenant: str, endpoint: Endpoint) -> Ended:
        now = self._clock.now()
        message = {"data": {"webhook": endpoint.id}, "timestamp": rfc3339(now), "type": TEST}
        id = f"msg_{self._webhooks.draw_id().removeprefix('whk_')}"
        return send(self._egress, endpoint.url, id, encode(message), self._signing(tenant, endpoint), now)

    def _run(self) -> None:
        pace = PACE_SECONDS
        while not self._stopped.wait(pace):
            self._woken.wait(IDLE_SECONDS)
            self._woken.clear()
            try:
                pace = PACE_SECONDS if self._take_up() else CALM_SECONDS
            except Exception:  # noqa: BLE001  the store is failing or closing, or a row cannot be read: it is looked again
                pace = IDLE_SECONDS

    def _take_up(self) -> bool:
        """Sends what may be sent now. Every time another endpoint is the first to be served.

        Returns:
            Whether anything waits.
        """
        backlogs = self._store.backlogs(self._clock.now())
        after = [each for each in backlogs if each > self._first]
        turns = after + backlogs[: len(backlogs) - len(after)]
        if turns:
            self._first = turns[0]
        for tenant, endpoint_id in turns:
            if self._stopped.is_set():
                break
            endpoint = next((each for each in self._webhooks.all(tenant) if each.id == endpoint_id), None)
            room = 0 if endpoint is not None and not endpoint.is_on else self._room(tenant, endpoint_id)
            if not room:
                continue
            for row in self._lease(tenant, endpoint_id, room):
                self._start(row, endpoint)
        return bool(turns)

    def _lease(self, tenant: str, endpoint_id: str, room: int) -> list[Delivery]:
        """What may be sent. Where much waits behind few, looking takes long; then it is not looked again at once."""
        now, began = self._clock.now(), self._clock.monotonic()
        rows = self._store.lease(tenant, endpoint_id, now, now + LEASE_MS, limit=room)
        if not rows:
            ended = self._clock.monotonic()
            self._asked[tenant, endpoint_id] = ended + min(LOOKING_SHARE * (ended - began), LONGEST_LOOK_SECONDS)
        return rows

    def _room(self, tenant: str, endpoint_id: str) -> int:
        """How many more messages may go to an endpoint now."""
        where = (tenant, endpoint_id)
        with self._changed:
            trouble = self._trouble.get(where, Trouble())
            if max(trouble.until, self._asked.get(where, -inf)) > self._clock.monotonic():
                return 0
            free = self._free(tenant, endpoint_id)
            alone = 0 if self._under_way[where] else 1
        return min(free, alone) if trouble.failures >= TROUBLE else free

    def _free(self, tenant: str, endpoint_id: str) -> int:
        here = self._under_way[tenant, endpoint_id]
        own = sum(count for (whose, _), count in self._under_way.items() if whose == tenant)
        return min(OF_AN_ENDPOINT - here, OF_A_TENANT - own, AT_ONCE - self._under_way.total())

    def _start(self, row: Delivery, endpoint: Endpoint | None) -> None:
        with self._changed:
            self._under_way[row.tenant, row.endpoint] += 1
        try:
            self._pool.submit(self._deliver, row, endpoint)
        except RuntimeError:  # it is being closed
            self._done(row.tenant, row.endpoint)

    def _deliver(self, row: Delivery, endpoint: Endpoint | None) -> None:
        """One attempt, and the word of how it ended. The next one starts when that is written."""
        try:
            ended = self._attempt(row, endpoint)
        except KiffError as error:
            ended = Ended("failed", f"it could not be made ready to send [{error.code}]")
        except Exception as error:  # noqa: BLE001  a defect in one message must not end the others
            ended = Ended("failed", f"it could not be sent ({type(error).__name__})")
        with self._changed:
            trouble = self._trouble.setdefault((row.tenant, row.endpoint), Trouble())
            trouble.take(ended, self._clock.monotonic())
            self._counts.webhooks[ended.how] += 1
        try:
            written = self._webhooks.attempted(row, ended.how, ended.said, asked_ms=ended.asked_ms)
        except KiffError:
            self._done(row.tenant, row.endpoint)  # it is sent again when the lease is over
            return
        written.add_done_callback(lambda _: self._done(row.tenant, row.endpoint))

    def _attempt(self, row: Delivery, endpoint: Endpoint | None) -> Ended:
        if endpoint is None or row.status == "dead":
            return Ended("dropped")
        found = self._store.records(row.tenant, after=row.seq - 1, limit=1)
        told = read(found[0].body) if found else None
        if told is None or told.seq != row.seq:
            return Ended("failed", "its record cannot be read")
        secrets = self._signing(row.tenant, endpoint)
        return send(self._egress, endpoint.url, row.id, told.body, secrets, self._clock.now())

    def _signing(self, tenant: str, endpoint: Endpoint) -> list[str]:
        return [self._secrets.open(tenant, endpoint.id, each) for each in endpoint.signing(self._clock.now())]

    def _done(self, tenant: str, endpoint_id: str) -> None:
        with self._changed:
            self._under_way[tenant, endpoint_id] -= 1
            if not self._under_way[tenant, endpoint_id]:
                del self._under_way[tenant, endpoint_id]
            self._changed.notify_all()
        self._woken.set()
