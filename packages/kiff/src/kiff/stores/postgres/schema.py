"""The PostgreSQL schema, forward only: each entry of MIGRATIONS brings a database one version up.

Every key starts with the tenant, and ids are made by the app: no sequences, foreign keys or triggers, so that the rows
may be spread over machines by tenant. The unique indexes and CHECKs are the second wall behind the head's
compare-and-set, and row-level security is the second wall between tenants.
"""

from __future__ import annotations

from msgspec import Struct

SCHEMA = "kiff"
"""The tables stand in a schema of their own."""


class Migration(Struct, frozen=True):
    """One step forward.

    Args:
        ddl: `TEXT` in it is compared by its bytes, on every server the same.
        tables: those that it makes.
        oldest: the version of the schema that a KIFF must know at least to go on working with it.
    """

    ddl: str
    tables: tuple[str, ...]
    oldest: int


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        """
    CREATE TABLE heads (
        tenant TEXT NOT NULL PRIMARY KEY,
        log_id TEXT NOT NULL,
        size bigint NOT NULL CHECK (size > 0),
        root bytea NOT NULL CHECK (length(root) = 32),
        frontier bytea NOT NULL CHECK (length(frontier) % 32 = 0),
        last_at bigint NOT NULL
    ) WITH (fillfactor = 20);
    CREATE UNIQUE INDEX heads_by_log ON heads (log_id, tenant);

    CREATE TABLE records (
        tenant TEXT NOT NULL,
        seq bigint NOT NULL CHECK (seq >= 0),
        entity TEXT,
        leaf bytea NOT NULL CHECK (length(leaf) = 32),
        body bytea NOT NULL,
        PRIMARY KEY (tenant, seq)
    );
    CREATE INDEX records_by_entity ON records (tenant, entity, seq) WHERE entity IS NOT NULL;
    CREATE INDEX records_of_none ON records (tenant, seq) WHERE entity IS NULL;

    CREATE TABLE receipts (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        seq bigint NOT NULL,
        core bytea NOT NULL,
        signature TEXT NOT NULL CHECK (length(signature) > 128),
        batch bytea,
        PRIMARY KEY (tenant, id)
    );
    CREATE UNIQUE INDEX receipts_by_seq ON receipts (tenant, seq);

    CREATE TABLE tiles (
        tenant TEXT NOT NULL,
        level bigint NOT NULL,
        number bigint NOT NULL,
        hashes bytea NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192),
        PRIMARY KEY (tenant, level, number)
    );

    CREATE TABLE checkpoints (
        tenant TEXT NOT NULL,
        size bigint NOT NULL,
        note bytea NOT NULL,
        PRIMARY KEY (tenant, size)
    );

    CREATE TABLE commands (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        digest TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('final', 'running', 'open')),
        answer bytea NOT NULL,
        operation_id TEXT,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE active_domains (
        tenant TEXT NOT NULL,
        entity_type TEXT NOT NULL,
        domain TEXT NOT NULL,
        version TEXT NOT NULL,
        digest TEXT NOT NULL,
        shadow_version TEXT,
        shadow_digest TEXT,
        PRIMARY KEY (tenant, entity_type)
    );

    CREATE TABLE domain_versions (
        tenant TEXT NOT NULL,
        version TEXT NOT NULL,
        domain TEXT NOT NULL,
        digest TEXT NOT NULL,
        content bytea NOT NULL,
        PRIMARY KEY (tenant, version)
    );

    CREATE TABLE entities (
        tenant TEXT NOT NULL,
        entity TEXT NOT NULL,
        domain TEXT NOT NULL,
        state TEXT,
        version bigint NOT NULL CHECK (version > 0),
        data bytea NOT NULL,
        timers bigint NOT NULL,
        PRIMARY KEY (tenant, entity)
    ) WITH (fillfactor = 80);

    CREATE TABLE runways (
        tenant TEXT NOT NULL,
        entity TEXT NOT NULL,
        holder TEXT,
        fencing bigint NOT NULL CHECK (fencing > 0),
        in_doubt TEXT NOT NULL,
        PRIMARY KEY (tenant, entity)
    ) WITH (fillfactor = 80);

    CREATE TABLE last_approvals (
        tenant TEXT NOT NULL,
        action_digest TEXT NOT NULL,
        approval_id TEXT NOT NULL,
        PRIMARY KEY (tenant, action_digest)
    );

    CREATE TABLE approvals (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        status TEXT NOT NULL
            CHECK (status IN ('pending', 'granted', 'denied', 'expired', 'cancelled', 'consumed')),
        action_digest TEXT NOT NULL,
        domain TEXT NOT NULL,
        entity TEXT NOT NULL,
        entity_version bigint NOT NULL,
        action TEXT NOT NULL,
        proposal_id TEXT NOT NULL,
        proposal bytea NOT NULL,
        proposer TEXT NOT NULL,
        proposer_type TEXT NOT NULL,
        proposer_person TEXT,
        roles TEXT NOT NULL,
        command_id TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        receipt_id TEXT NOT NULL,
        reviewers TEXT NOT NULL,
        on_grant TEXT NOT NULL CHECK (on_grant IN ('wait', 'run')),
        opened_at bigint NOT NULL,
        expires_at bigint NOT NULL CHECK (expires_at > opened_at),
        use_within_ms bigint NOT NULL,
        use_by bigint,
        reviewed_by TEXT,
        reviewed_at bigint,
        reason TEXT,
        consumed_by TEXT,
        due_at bigint,
        demands bytea NOT NULL,
        votes bytea NOT NULL,
        human_only boolean NOT NULL,
        evidence TEXT NOT NULL,
        binds_version boolean NOT NULL,
        holds bytea NOT NULL,
        PRIMARY KEY (tenant, id),
        CHECK ((status = 'consumed') = (consumed_by IS NOT NULL)),
        CHECK (status NOT IN ('granted', 'denied', 'consumed') OR reviewed_by IS NOT NULL),
        CHECK (reviewed_by IS NULL OR reviewed_by <> proposer)
    );
    CREATE INDEX approvals_due ON approvals (due_at) WHERE due_at IS NOT NULL;
    CREATE INDEX approvals_by_status ON approvals (tenant, status, opened_at, id);

    CREATE TABLE clearances (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        status TEXT NOT NULL
            CHECK (status IN ('open', 'succeeded', 'failed', 'cancelled', 'unknown', 'expired')),
        mode TEXT NOT NULL CHECK (mode IN ('execute', 'decide')),
        proposal_id TEXT NOT NULL,
        command_id TEXT NOT NULL,
        domain_version TEXT NOT NULL,
        domain_digest TEXT NOT NULL,
        entity TEXT NOT NULL,
        action TEXT NOT NULL,
        action_digest TEXT NOT NULL,
        principal TEXT NOT NULL,
        principal_type TEXT NOT NULL,
        principal_person TEXT,
        owner TEXT NOT NULL,
        fencing bigint NOT NULL,
        holds_runway boolean NOT NULL,
        settles boolean NOT NULL,
        cleared_at bigint NOT NULL,
        deadline bigint NOT NULL,
        receipt_id TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        approval_id TEXT,
        settled_by TEXT,
        settled_at bigint,
        disputed boolean NOT NULL,
        due_at bigint,
        runway TEXT NOT NULL,
        holds bytea NOT NULL,
        payloads bytea NOT NULL,
        told TEXT NOT NULL,
        PRIMARY KEY (tenant, id)
    );
    CREATE UNIQUE INDEX clearances_one_in_flight ON clearances (tenant, runway)
        WHERE status = 'open' AND holds_runway;
    CREATE UNIQUE INDEX clearances_one_per_approval ON clearances (tenant, approval_id)
        WHERE approval_id IS NOT NULL;
    CREATE INDEX clearances_due ON clearances (due_at) WHERE due_at IS NOT NULL;
    CREATE INDEX clearances_in_doubt ON clearances (tenant, status, cleared_at, id)
        WHERE status IN ('open', 'unknown');

    CREATE TABLE blobs (
        tenant TEXT NOT NULL,
        digest TEXT NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (tenant, digest)
    );

    CREATE TABLE tenants (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL CHECK (id = 'tenant'),
        separate boolean NOT NULL,
        created_at bigint NOT NULL,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE members (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL CHECK (type IN ('human', 'agent', 'service')),
        person TEXT,
        name TEXT,
        roles TEXT NOT NULL,
        active boolean NOT NULL,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE credentials (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('key', 'session')),
        digest bytea NOT NULL CHECK (length(digest) = 32),
        label TEXT NOT NULL,
        principal TEXT,
        roles TEXT NOT NULL,
        domain TEXT,
        created_by TEXT NOT NULL,
        created_at bigint NOT NULL,
        expires_at bigint,
        revoked_at bigint,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE notes (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        body bytea NOT NULL,
        first_at bigint NOT NULL,
        last_at bigint NOT NULL,
        times bigint NOT NULL,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE active_policies (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL CHECK (id = 'policy'),
        policy TEXT NOT NULL,
        version TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE policy_versions (
        tenant TEXT NOT NULL,
        version TEXT NOT NULL,
        policy TEXT NOT NULL,
        digest TEXT NOT NULL,
        content bytea NOT NULL,
        PRIMARY KEY (tenant, version)
    );

    CREATE TABLE usages (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('rate', 'budget', 'concurrency')),
        state bytea NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITH (fillfactor = 80);

    CREATE TABLE timers (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        entity TEXT NOT NULL,
        event TEXT NOT NULL,
        state TEXT NOT NULL,
        since bigint NOT NULL,
        due_at bigint,
        PRIMARY KEY (tenant, id)
    );
    CREATE INDEX timers_due ON timers (due_at) WHERE due_at IS NOT NULL;

    CREATE TABLE sealed (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        entity TEXT NOT NULL,
        name TEXT NOT NULL,
        salt bytea NOT NULL,
        value bytea,
        PRIMARY KEY (tenant, id)
    );
    CREATE INDEX sealed_by_entity ON sealed (tenant, entity);

    CREATE TABLE sealed_keys (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        public bytea NOT NULL CHECK (length(public) = 32),
        sealed bytea NOT NULL,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE hooks (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL CHECK (id = 'webhooks'),
        endpoints bytea NOT NULL,
        PRIMARY KEY (tenant, id)
    );

    CREATE TABLE deliveries (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        entity TEXT NOT NULL,
        seq bigint NOT NULL CHECK (seq >= 0),
        status TEXT NOT NULL CHECK (status IN ('due', 'dead')),
        attempts bigint NOT NULL CHECK (attempts >= 0),
        due_at bigint NOT NULL,
        last TEXT NOT NULL,
        version bigint NOT NULL CHECK (version > 0),
        PRIMARY KEY (tenant, id)
    );
    CREATE INDEX deliveries_due ON deliveries (tenant, endpoint, due_at, seq);
    CREATE INDEX deliveries_in_line ON deliveries (tenant, endpoint, entity, seq) WHERE status = 'due';
    """,
        (
            "heads",
            "records",
            "receipts",
            "tiles",
            "checkpoints",
            "commands",
            "active_domains",
            "domain_versions",
            "entities",
            "runways",
            "last_approvals",
            "approvals",
            "clearances",
            "blobs",
            "tenants",
            "members",
            "credentials",
            "notes",
            "active_policies",
            "policy_versions",
            "usages",
            "timers",
            "sealed",
            "sealed_keys",
            "hooks",
            "deliveries",
        ),
        oldest=1,
    ),
)

APPEND_ONLY = ("records", "receipts", "checkpoints", "blobs", "domain_versions", "policy_versions")
"""What the app's role may add to, and never change."""
TAKEN_OUT = ("deliveries",)
"""What the app's role may also take rows out of."""
