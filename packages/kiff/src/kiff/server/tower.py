"""The control tower of one process: a runtime over a store, who may call it, and what it counts."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiff.domain import Domain
from kiff.errors import InvalidInput, KiffError
from kiff.protocol.actor import Caller
from kiff.protocol.authority import AUTHOR, OPERATOR, Credential, Member, Tenant
from kiff.runtime.clock import SystemClock
from kiff.runtime.commands import SYSTEM
from kiff.runtime.ports import Clock, Executor, Remote, Store
from kiff.runtime.rehearsal import Rehearsal
from kiff.runtime.rows import LogHead
from kiff.runtime.runtime import Runtime
from kiff.server.authenticate import Authenticator
from kiff.server.counts import Counts
from kiff.server.devices import Devices
from kiff.server.egress import Egress, read_policy
from kiff.server.hook_secrets import HookSecrets
from kiff.server.logins import Logins
from kiff.server.logs import Logs
from kiff.server.oidc import Provider
from kiff.server.outbox import Outbox
from kiff.server.rates import Rates
from kiff.server.readiness import Readiness
from kiff.server.remote_settings import RemoteSettings
from kiff.server.secrets import draw, is_tenant
from kiff.server.settings import SQLITE, ServerSettings
from kiff.server.stream import Streams
from kiff.server.turns import Turns
from kiff.server.waiting import Waiting
from kiff.stores.durable_file import make_folder
from kiff.stores.follow_heads import open_seen
from kiff.stores.keyfile import KeyFolder
from kiff.stores.keyring import Keyring
from kiff.stores.opening import open_store
from kiff.stores.root_key import open_keyring
from kiff.stores.seen_heads import seen_path

if TYPE_CHECKING:
    from kiff.server.telemetry import Telemetry

DATABASE = "kiff.db"
SHARED_SEEN = "postgres.seen.json"
"""Where a server on a shared database remembers how far it saw each log."""
_FOUNDING = "kiff:founding"
"""The idempotency key of making a tenant."""
USED_SECONDS = 60.0
"""How exact `last_used_at` is."""
SIMULATING, SIMULATING_PATIENCE_SECONDS = 2, 10.0
"""How many tenants may decide history again at once, and how long another one waits for that."""
DELIVERING_SECONDS = 5.0
"""How long messages to webhooks that are under way are waited for at the end; they are sent again otherwise."""
Watcher = Callable[[list[LogHead]], None]


class Tower:
    """Everything that requests share.

    Args:
        executors: name -> function; the only code a cleared action can run.

    Raises:
        StoreError: the database cannot serve. KeyUnusable: a tenant's signing key cannot.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        executors: Mapping[str, Executor] | None = None,
        clock: Clock | None = None,
        store: Store | None = None,
        **options: Any,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.telemetry = _telemetry() if settings.otel else None
        self.provider = None if settings.oidc is None else Provider(settings.oidc, self.clock)
        make_folder(settings.data)
        self.egress = Egress(read_policy(settings.data))
        self.store: Store = store or open_store(place(settings), clock=clock)
        self._watchers: set[Watcher] = set()
        limits = settings.limits
        try:
            self.keys = _keys(settings, self.store)
            self.runtime = Runtime(
                self.store,
                self.keys,
                executors=executors,
                remote=_remote(settings, self.egress, self.clock),
                issuer=settings.issuer,
                slots=settings.slots,
                tenant_slots=settings.tenant_slots,
                max_waiting=limits.tenant_waiting,
                clock=clock,
                on_commit=self._committed,
                vault=self.keys.vault(self.store),
                seen=open_seen(seen_file(settings.data, self.store), self.store, accept=settings.accept_rollback),
                **options,
            )
        except BaseException:
            self.store.close()
            raise
        self.authenticator = Authenticator(self.store, self.clock)
        self.logins = Logins(self.runtime, self.store, self.clock)
        self.devices = Devices(self.runtime, self.store, self.clock)
        self.logs = Logs(self.store, self.runtime)
        self.counts = Counts()
        self.streams = Streams(self.store, limits, self.counts)
        self.watch(self.streams.committed)
        self.hook_secrets = HookSecrets(self.keys.vault(self.store))
        webhooks = self.runtime.webhooks
        self.outbox = Outbox(self.store, webhooks, self.egress, self.hook_secrets, self.clock, self.counts)
        self.watch(self.outbox.committed)
        self.key_rates = Rates(limits.key_rate, limits.key_burst, "key")
        self.tenant_rates = Rates(limits.tenant_rate, limits.tenant_burst, "tenant")
        self.client_rates = Rates(limits.client_rate, limits.client_burst, "address")
        self.code_rates = Rates(limits.code_rate, limits.code_burst, "key")
        self.compiling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One document of a tenant at a time is compiled: that takes long, and the interpreter with it."""
        self.simulating = Turns(SIMULATING, SIMULATING_PATIENCE_SECONDS)
        self._used: dict[str, float] = {}
        self._waiting: Waiting | None = None
        self.readiness = Readiness(self.store)
        self.draining = False
        self.outbox.start()

    @property
    def waiting(self) -> Waiting:
        """The bridge to the loop that serves; made by the first request of it."""
        if self._waiting is None:
            self._waiting = Waiting(asyncio.get_running_loop())
        return self._waiting

    @property
    def rehearsal(self) -> Rehearsal:
        return self.runtime.rehearsal

    def found(self, tenant: str, members: list[Member]) -> bool:
        """Makes a tenant that is not there: its key, its row, its first members. Again, it changes nothing.

        Returns:
            Whether this call made it: of several at once, in whichever processes, one did.

        Raises:
            InvalidInput: no tenant can be called so.
        """
        if not is_tenant(tenant):
            message = "a tenant is called by 1 to 63 characters out of a-z 0-9 -, and the first is no -"
            raise InvalidInput(message, field="tenant")
        founder = Caller(SYSTEM, (AUTHOR, OPERATOR), tenant)
        made = False
        if self.store.row(Tenant, tenant, "tenant") is None:
            self.keys.create(tenant)  # only then: a key that is gone is restored, never replaced
            row = Tenant(tenant, "tenant", False, 0)
            made = not self.runtime.establish(founder, row, key=_FOUNDING).result().repeated
        for member in members:
            if self.store.row(Member, tenant, member.id) is None:
                self.runtime.establish(founder, member).result()
        return made

    def mint(self, tenant: str, principal: str, label: str) -> str:
        """A key for a member, minted by the process itself. Its secret is nowhere but in what is returned."""
        secret, presented = draw("key", tenant)
        row = Credential(tenant, presented.id, "key", presented.digest, label, principal, "", None, SYSTEM.id, 0)
        self.runtime.establish(Caller(SYSTEM, (AUTHOR, OPERATOR), tenant), row).result()
        return secret

    def first_login(self, tenant: str) -> str | None:
        """Makes a tenant with an owner, and a one-time token for the owner; None when somebody came in before."""
        self.found(tenant, [Member(tenant, "owner", "human", None, "The owner", f"{AUTHOR},{OPERATOR}", True)])
        if self.store.count(Credential, tenant):
            return None
        return self.logins.token(tenant, "owner")

    def activate(self, tenant: str, domain: Domain) -> None:
        """Makes a domain govern, by the process itself."""
        self.runtime.activate(Caller(SYSTEM, (AUTHOR,), tenant), domain).result()

    def used(self, credential: Credential) -> None:
        """Remembers, once a minute at most, that a key is in use."""
        now = self.clock.monotonic()
        if now - self._used.get(credential.id, -USED_SECONDS) >= USED_SECONDS:
            self._used[credential.id] = now
            with suppress(KiffError):  # nothing depends on it
                self.runtime.note(Caller(SYSTEM, (), credential.tenant), f"used:{credential.id}", b"1")

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Calls `watcher`, in the lane's thread, after every commit. Returns what stops it."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def drain(self) -> None:
        """It stops soon: it is not ready any more, and streams end. Once, in the loop that serves."""
        self.draining = True
        self.outbox.stop()
        self.streams.end()

    def close(self, timeout: float = 30.0) -> None:
        began = time.monotonic()
        self.outbox.close(min(timeout, DELIVERING_SECONDS))
        self.runtime.close(max(0.0, timeout - (time.monotonic() - began)))
        if self.telemetry is not None:
            self.telemetry.close()

    def _committed(self, heads: list[LogHead]) -> None:
        for watcher in tuple(self._watchers):
            watcher(heads)


def place(settings: ServerSettings) -> str:
    """Where rows are kept, as `open_store` takes it."""
    return f"sqlite:{settings.data / DATABASE}" if settings.store == SQLITE else settings.store


def _keys(settings: ServerSettings, store: Store) -> KeyFolder | Keyring:
    """Where signing keys are: processes that share a store share the keys in it; one that has it alone has files."""
    if store.exclusive:
        return KeyFolder(settings.data / "keys", settings.data / f"{DATABASE}.key.jwks.json")
    return open_keyring(store, settings.data, settings.root_key)


def seen_file(data: Path, store: Store) -> Path:
    """Where a server remembers how far it saw the logs of a store."""
    return seen_path(data / DATABASE) if store.exclusive else data / SHARED_SEEN


def _remote(settings: ServerSettings, egress: Egress, clock: Clock) -> Remote | None:
    """Executors elsewhere; who names none does not pay for what reaches them."""
    if settings.remote == RemoteSettings():
        return None
    from kiff.server.remote_executors import RemoteExecutors

    return RemoteExecutors(settings.remote, egress, clock)


def _telemetry() -> Telemetry:
    """Imports OpenTelemetry: who does not ask for it does not pay for it, and need not have it.

    Raises:
        InvalidInput: it is not installed.
    """
    try:
        from kiff.server.telemetry import Telemetry
    except ImportError as error:
        message = "OpenTelemetry is not installed; install the extra: pip install 'kiff[otel]'"
        raise InvalidInput(message, field="--otel") from error
    return Telemetry()
