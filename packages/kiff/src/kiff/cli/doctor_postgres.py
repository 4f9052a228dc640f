"""What `kiff doctor` asks a PostgreSQL server: does it keep what it answered, and does the role only what it may?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from msgspec import Struct

from kiff.cli.finding import SKEW_MS, Finding, seen_finding
from kiff.cli.store_place import StorePlace
from kiff.errors import KiffError
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Store
from kiff.runtime.rows import Delivery, SealedKey
from kiff.stores.keyring import INSTALLATION
from kiff.stores.opening import open_store
from kiff.stores.postgres.connections import EVERYONE, Connections
from kiff.stores.postgres.schema import APPEND_ONLY, MIGRATIONS, SCHEMA
from kiff.stores.root_key import open_keyring

OLDEST, NEWEST = 15, 18
"""Major versions that KIFF is made for."""
FEW_CONNECTIONS, FEWEST_CONNECTIONS = 20, 3
LAG_BYTES = 64 << 20
MOST_DEAD = 10_000
"""How many deliveries of a tenant are looked through."""
PAGE = 1000


class Server(Struct, frozen=True):
    """What the server says of itself, and of whoever asks. The names are its own where it has names.

    Args:
        now: its clock (ms), and `asked` ours, half way through.
        owns, changes: of the tables: whether the role owns one, and those of the log that it may change.
        standbys: how many follow it; `lag` in bytes, of the slowest, where the role may see that.
        free: connections that are left for a role that is no superuser.
    """

    version: int
    now: int
    asked: int
    fsync: str
    synchronous_commit: str
    full_page_writes: str
    standby: bool
    role: str
    superuser: bool
    owns: bool
    changes: tuple[str, ...]
    standbys: int
    lag: int | None
    synchronous: str
    free: int
    bytes: int


class Looked(Struct, frozen=True):
    """The rows that are looked at, and the clock of their server (ms)."""

    place: StorePlace
    store: Store
    now: int


def findings(place: StorePlace) -> Iterator[tuple[str, Finding]]:
    """Every question, with its answer."""
    try:
        server = _asked(place.where)
    except KiffError as error:
        fix = str(error.detail.get("hint") or "check the address, the role and its password, and pg_hba.conf")
        yield "reachable", Finding("fail", f"{place.shown}: {error.message}", fix)
        return
    yield "reachable", Finding("ok", f"{place.shown}, as `{server.role}`")
    for name, question in OF_THE_SERVER.items():
        yield name, question(server)
    try:
        store = open_store(place.where, read_only=True)
    except KiffError as error:
        yield "schema", Finding("fail", error.message, str(error.detail.get("hint") or "install a newer KIFF"))
        return
    yield "schema", Finding("ok", f"version {len(MIGRATIONS)}, in `{SCHEMA}`")
    with closing(store):
        for name, asks in OF_THE_ROWS.items():
            yield name, _answer(asks, Looked(place, store, server.now))


def _answer(question: Callable[[Looked], Finding], looked: Looked) -> Finding:
    try:
        return question(looked)
    except KiffError as error:
        return Finding("fail", error.message, str(error.detail.get("hint", "")))


def _version(server: Server) -> Finding:
    major = server.version // 10_000
    if major < OLDEST:
        return Finding("fail", f"PostgreSQL {major}", f"KIFF takes {OLDEST} to {NEWEST}: upgrade the server")
    if major > NEWEST:
        return Finding("warn", f"PostgreSQL {major}", f"KIFF was tried on {OLDEST} to {NEWEST}")
    return Finding("ok", f"PostgreSQL {major}.{server.version % 10_000}")


def _durable(server: Server) -> Finding:
    """A decision is answered when its commit is on disk; with one of these off, it may be answered and lost."""
    said = {name: getattr(server, name) for name in ("fsync", "synchronous_commit", "full_page_writes")}
    off = [name for name, value in said.items() if value == "off"]
    if off:
        fix = "; ".join(f"ALTER SYSTEM SET {name} = on" for name in off)
        return Finding("fail", f"{', '.join(off)} off: what was answered can be lost", f"{fix}; then reload it")
    return Finding("ok", ", ".join(f"{name} {value}" for name, value in said.items()))


def _writable(server: Server) -> Finding:
    if server.standby:
        return Finding("fail", "it is a standby, and takes no writes", "give the address of the primary")
    return Finding("ok", "the primary")


def _role(server: Server) -> Finding:
    fix = "kiff migrate --role kiff_app, as the owner; then connect as kiff_app"
    if server.superuser:
        return Finding("warn", f"`{server.role}` passes by row-level security", fix)
    if server.owns:
        return Finding("warn", f"`{server.role}` owns the tables, and may change what is in the log", fix)
    if server.changes:
        return Finding("warn", f"`{server.role}` may change {', '.join(server.changes)}", f"revoke that; {fix}")
    return Finding("ok", f"`{server.role}` adds to the log, and can change nothing of it")


def _clock(server: Server) -> Finding:
    skew = server.now - server.asked
    if abs(skew) > SKEW_MS:
        which = "ahead of" if skew > 0 else "behind"
        return Finding("warn", f"the server's clock is {abs(skew) / 1000:,.0f} s {which} this machine's", "set both")
    return Finding("ok", "the server's and this machine's agree")


def _connections(server: Server) -> Finding:
    said, fix = f"{server.free} connections are free", "raise max_connections, or put a pooler before it"
    if server.free < FEWEST_CONNECTIONS:
        return Finding("fail", said, fix)
    return Finding("warn", said, fix) if server.free < FEW_CONNECTIONS else Finding("ok", said)


def _replication(server: Server) -> Finding:
    if not server.standbys:
        return Finding("none", "no standby follows it")
    how = "synchronous" if server.synchronous else "asynchronous: what it lacks is lost when it takes over"
    lag = "" if server.lag is None else f", {server.lag:,} bytes behind"
    said = f"{server.standbys} standbys{lag}; {how}"
    if server.lag is not None and server.lag > LAG_BYTES:
        return Finding("warn", said, "look at the standby, and at the network to it")
    return Finding("ok", said)


def _disk(server: Server) -> Finding:
    return Finding("ok", f"the database has {server.bytes:,} bytes; its free disk is not seen from here")


def _seen(looked: Looked) -> Finding:
    return seen_finding(looked.place.seen, looked.store)


def _log(looked: Looked) -> Finding:
    store = looked.store
    heads = store.heads()
    if not heads:
        return Finding("none", "no log yet", "kiff serve makes the first tenant")
    ahead = max(head.last_at for head in heads) - looked.now
    if ahead > SKEW_MS:
        behind = f"the server's clock is {ahead / 1000:,.0f} s behind the last record"
        return Finding("warn", behind, "nothing expires until it has caught up: set the clock")
    notes = {head.tenant: store.checkpoint(head.tenant) for head in heads}
    tails = {head.tenant: head.size - (note.size if (note := notes[head.tenant]) else 0) for head in heads}
    never = [tenant for tenant, note in notes.items() if note is None]
    if never:
        return Finding(
            "warn", f"no head of `{never[0]}` was ever signed", "look at its key; a server signs in a second"
        )
    return Finding("ok", f"{len(heads)} logs; {sum(tails.values())} records after their last signed heads")


def _operations(looked: Looked) -> Finding:
    unknown = {tenant: looked.store.clearances(tenant, status="unknown") for tenant in looked.store.tenants()}
    count = sum(map(len, unknown.values()))
    if not count:
        return Finding("ok", "every one has ended, or is in time")
    first = next(tenant for tenant, some in unknown.items() if some)
    fix = "kiff operations list, look, then settle them"
    return Finding("warn", f"nobody knows how {count} ended, of `{first}` first", fix)


def _webhooks(looked: Looked) -> Finding:
    dead: dict[str, int] = {}
    waiting = 0
    for tenant in looked.store.tenants():
        for row in _deliveries(looked.store, tenant):
            waiting += row.status == "due"
            dead[tenant] = dead.get(tenant, 0) + (row.status == "dead")
    count = sum(dead.values())
    if count:
        first = next(tenant for tenant, number in dead.items() if number)
        return Finding(
            "warn", f"{count} deliveries are dead, of `{first}` first", "kiff webhooks replay sends them again"
        )
    return Finding("ok", f"{waiting} deliveries wait, none is dead") if waiting else Finding("none", "nothing waits")


def _deliveries(store: Store, tenant: str) -> Iterator[Delivery]:
    after, seen = "", 0
    while seen < MOST_DEAD and (page := store.rows(Delivery, tenant, after=after, limit=PAGE)):
        yield from page
        after, seen = page[-1].id, seen + len(page)


def _keys(looked: Looked) -> Finding:
    store = looked.store
    if not store.rows(SealedKey, INSTALLATION, limit=1):
        tenants = store.tenants()
        if tenants:
            return Finding("fail", f"no key is here, and {len(tenants)} tenants are", "kiff move carries keys along")
        return Finding("none", "no keys yet", "the first start makes them")
    keyring = open_keyring(store, looked.place.data, looked.place.root_key)  # raises when the root opens nothing
    held = keyring.tenants()
    for tenant in held:
        keyring.private(tenant)  # raises likewise
    without = sorted({head.tenant for head in store.heads()} - set(held))
    if without:
        return Finding("fail", f"`{without[0]}` has a log, and no key here", "restore it from a backup of the database")
    return Finding("ok", f"the root secret opens the keys of {len(held)} tenants")


OF_THE_SERVER: dict[str, Callable[[Server], Finding]] = {
    "version": _version,
    "primary": _writable,
    "durability": _durable,
    "role": _role,
    "clock": _clock,
    "connections": _connections,
    "replication": _replication,
    "disk": _disk,
}
OF_THE_ROWS: dict[str, Callable[[Looked], Finding]] = {
    "keys": _keys,
    "log": _log,
    "seen": _seen,
    "operations": _operations,
    "webhooks": _webhooks,
}


def _asked(url: str) -> Server:
    """
    Raises:
        StoreError: the server does not answer.
    """
    clock = SystemClock()
    with closing(Connections(url, 1)) as connections:
        before = clock.now()
        now = connections.ask(EVERYONE, lambda raw: raw.fetchval(_NOW))
        asked = (before + clock.now()) // 2
        row: Any = connections.ask(EVERYONE, lambda raw: raw.fetchrow(_FACTS))
        lag = connections.ask(EVERYONE, lambda raw: raw.fetchval(_LAG)) if not row["standby"] else None
        changes = connections.ask(EVERYONE, lambda raw: raw.fetch(_CHANGES, SCHEMA, list(APPEND_ONLY)))
    told = dict(row)
    return Server(**told, now=now, asked=asked, lag=lag, changes=tuple(table for (table,) in changes))


_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_FACTS = f"""
    SELECT current_setting('server_version_num')::bigint AS version,
        current_setting('fsync') AS fsync,
        current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('full_page_writes') AS full_page_writes,
        current_setting('synchronous_standby_names') AS synchronous,
        pg_is_in_recovery() AS standby,
        current_user::text AS role,
        (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) AS superuser,
        EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = '{SCHEMA}' AND tableowner = current_user) AS owns,
        (SELECT count(*) FROM pg_stat_replication) AS standbys,
        current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
            - (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL) AS free,
        pg_database_size(current_database()) AS bytes
"""
_LAG = "SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::bigint FROM pg_stat_replication"
_CHANGES = """
    SELECT tablename::text FROM pg_tables WHERE schemaname = $1 AND tablename = ANY($2::text[])
        AND (has_table_privilege(quote_ident(schemaname) || '.' || tablename, 'UPDATE')
            OR has_table_privilege(quote_ident(schemaname) || '.' || tablename, 'DELETE'))
    ORDER BY tablename
"""
