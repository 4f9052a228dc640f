"""What a server is told when it starts. Read once; nothing below reads the environment."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from kiff.server.remote_settings import RemoteSettings

SQLITE = "sqlite"
"""The store in the data folder."""
DRAIN_SECONDS = 30
"""How long a server that was told to stop takes at most: for its answers, and then for its executors."""


class Limits(Struct, frozen=True):
    """How much of everything (PROTOCOL "Errors"). 0 switches a rate off.

    Args:
        body_bytes, url_bytes, header_bytes: of one request.
        header_seconds, body_seconds: how long a client may take to send them.
        key_rate, key_burst, tenant_rate, tenant_burst: requests a second, and at once.
        client_rate, client_burst: the same, of one client address, for what leads to a session and needs no key.
        code_rate, code_burst: the same, of one key, for the codes of logins that wait for a person.
        tenant_waiting: commands of one tenant that may wait for the lane.
        tenant_open, open: requests that may be in work at once, of one tenant and of all.
        streams: open event streams of one tenant.
        heartbeat_seconds: how long a stream is silent at most.
    """

    body_bytes: int = 262_144
    url_bytes: int = 4_096
    header_bytes: int = 16_384
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    key_rate: float = 500.0
    key_burst: int = 1_000
    tenant_rate: float = 2_000.0
    tenant_burst: int = 4_000
    client_rate: float = 10.0
    client_burst: int = 20
    code_rate: float = 1.0
    code_burst: int = 20
    tenant_waiting: int = 256
    tenant_open: int = 512
    open: int = 2_048
    streams: int = 64
    heartbeat_seconds: float = 15.0


class Oidc(Struct, frozen=True, forbid_unknown_fields=True):
    """A login provider.

    Args:
        issuer: its URL; the rest is discovered.
        claim: the claim whose value is the member's id, or the person behind it. An e-mail address is written
            with a colon there, `ann:example.com`: ids have no @.
    """

    issuer: str
    client_id: str
    client_secret: str
    tenant: str
    claim: str = "email"


class ServerSettings(Struct, frozen=True):
    """A server.

    Args:
        data: the folder of the database, the keys, and what else is kept.
        store: `sqlite`, in the data folder, or a PostgreSQL URL.
        worker: which of several processes behind one address this is, from 1; 0 when it is the only one.
        issuer: the name in receipts and log origins.
        public_url: how clients reach it, when a proxy stands before it.
        adapter_secrets: `<tenant>/<adapter>` -> its secrets, newest first.
        remote: executors that a contract names by an address, and who may use them.
        root_key: the file of the root secret, where the platform puts it; in the data folder when not given. Only keys
            that are kept in a database have one.
        otel: send spans with OpenTelemetry; the OTEL_* variables say where.
        accept_rollback: tenants whose log may hold less than was seen of it; that it goes on so is recorded.
    """

    data: Path
    store: str = SQLITE
    worker: int = 0
    host: str = "127.0.0.1"
    port: int = 8480
    issuer: str = "kiff"
    public_url: str | None = None
    slots: int = 128
    tenant_slots: int = 32
    limits: Limits = Limits()
    adapter_secrets: dict[str, tuple[str, ...]] = {}
    oidc: Oidc | None = None
    remote: RemoteSettings = RemoteSettings()
    root_key: Path | None = None
    otel: bool = False
    log_level: str = "info"
    accept_rollback: tuple[str, ...] = ()
