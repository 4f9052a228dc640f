"""The SQLite schema, forward only: each entry of MIGRATIONS brings a database one version up.

Every key starts with the tenant. Ids are made by the app; no sequences, foreign keys or triggers.
The unique indexes and CHECKs are the second wall behind the head's compare-and-set.
"""

from __future__ import annotations

APPLICATION_ID = 0x4B494646
"""`KIFF`, in the file's header: a database of something else is not touched."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE heads (
        tenant TEXT NOT NULL PRIMARY KEY,
        log_id TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL CHECK (size > 0),
        root BLOB NOT NULL CHECK (length(root) = 32),
        frontier BLOB NOT NULL CHECK (length(frontier) % 32 = 0),
        last_at INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE records (
        tenant TEXT NOT NULL,
        seq INTEGER NOT NULL CHECK (seq >= 0),
        entity TEXT,
        leaf BLOB NOT NULL CHECK (length(leaf) = 32),
        body BLOB NOT NULL,
        PRIMARY KEY (tenant, seq)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX records_by_entity ON records (tenant, entity, seq) WHERE entity IS NOT NULL;

    CREATE TABLE receipts (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        core BLOB NOT NULL,
        signature TEXT NOT NULL CHECK (length(signature) > 128),
        batch BLOB,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;
    CREATE UNIQUE INDEX receipts_by_seq ON receipts (tenant, seq);

    CREATE TABLE tiles (
        tenant TEXT NOT NULL,
        level INTEGER NOT NULL,
        number INTEGER NOT NULL,
        hashes BLOB NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192),
        PRIMARY KEY (tenant, level, number)
    ) STRICT;

    CREATE TABLE checkpoints (
        tenant TEXT NOT NULL,
        size INTEGER NOT NULL,
        note BLOB NOT NULL,
        PRIMARY KEY (tenant, size)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE commands (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        digest TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('final', 'running', 'open')),
        answer BLOB NOT NULL,
        operation_id TEXT,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE active_domains (
        tenant TEXT NOT NULL,
        entity_type TEXT NOT NULL,
        domain TEXT NOT NULL,
        version TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (tenant, entity_type)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE domain_versions (
        tenant TEXT NOT NULL,
        version TEXT NOT NULL,
        domain TEXT NOT NULL,
        digest TEXT NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (tenant, version)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE entities (
        tenant TEXT NOT NULL,
        entity TEXT NOT NULL,
        domain TEXT NOT NULL,
        state TEXT,
        version INTEGER NOT NULL CHECK (version > 0),
        PRIMARY KEY (tenant, entity)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE runways (
        tenant TEXT NOT NULL,
        entity TEXT NOT NULL,
        holder TEXT,
        fencing INTEGER NOT NULL CHECK (fencing > 0),
        in_doubt TEXT NOT NULL,
        PRIMARY KEY (tenant, entity)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE last_approvals (
        tenant TEXT NOT NULL,
        action_digest TEXT NOT NULL,
        approval_id TEXT NOT NULL,
        PRIMARY KEY (tenant, action_digest)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE approvals (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        status TEXT NOT NULL
            CHECK (status IN ('pending', 'granted', 'denied', 'expired', 'cancelled', 'consumed')),
        action_digest TEXT NOT NULL,
        domain TEXT NOT NULL,
        entity TEXT NOT NULL,
        entity_version INTEGER NOT NULL,
        action TEXT NOT NULL,
        proposal_id TEXT NOT NULL,
        proposal BLOB NOT NULL,
        proposer TEXT NOT NULL,
        proposer_type TEXT NOT NULL,
        proposer_person TEXT,
        roles TEXT NOT NULL,
        command_id TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        receipt_id TEXT NOT NULL,
        reviewers TEXT NOT NULL,
        on_grant TEXT NOT NULL CHECK (on_grant IN ('wait', 'run')),
        opened_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL CHECK (expires_at > opened_at),
        use_within_ms INTEGER NOT NULL,
        use_by INTEGER,
        reviewed_by TEXT,
        reviewed_at INTEGER,
        reason TEXT,
        consumed_by TEXT,
        due_at INTEGER,
        PRIMARY KEY (tenant, id),
        CHECK ((status = 'consumed') = (consumed_by IS NOT NULL)),
        CHECK (status NOT IN ('granted', 'denied', 'consumed') OR reviewed_by IS NOT NULL),
        CHECK (reviewed_by IS NULL OR reviewed_by <> proposer)
    ) WITHOUT ROWID, STRICT;
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
        fencing INTEGER NOT NULL,
        holds_runway INTEGER NOT NULL CHECK (holds_runway IN (0, 1)),
        settles INTEGER NOT NULL CHECK (settles IN (0, 1)),
        cleared_at INTEGER NOT NULL,
        deadline INTEGER NOT NULL,
        receipt_id TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        approval_id TEXT,
        settled_by TEXT,
        settled_at INTEGER,
        disputed INTEGER NOT NULL CHECK (disputed IN (0, 1)),
        due_at INTEGER,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;
    CREATE UNIQUE INDEX clearances_one_in_flight ON clearances (tenant, entity)
        WHERE status = 'open' AND holds_runway = 1;
    CREATE UNIQUE INDEX clearances_one_per_approval ON clearances (tenant, approval_id)
        WHERE approval_id IS NOT NULL;
    CREATE INDEX clearances_due ON clearances (due_at) WHERE due_at IS NOT NULL;
    CREATE INDEX clearances_in_doubt ON clearances (tenant, status, cleared_at, id)
        WHERE status IN ('open', 'unknown');

    CREATE TABLE blobs (
        tenant TEXT NOT NULL,
        digest TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (tenant, digest)
    ) STRICT;
    """,
    """
    CREATE TABLE tenants (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL CHECK (id = 'tenant'),
        separate INTEGER NOT NULL CHECK (separate IN (0, 1)),
        created_at INTEGER NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE members (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL CHECK (type IN ('human', 'agent', 'service')),
        person TEXT,
        name TEXT,
        roles TEXT NOT NULL,
        active INTEGER NOT NULL CHECK (active IN (0, 1)),
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE credentials (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('key', 'session')),
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        label TEXT NOT NULL,
        principal TEXT,
        roles TEXT NOT NULL,
        domain TEXT,
        created_by TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE notes (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        body BLOB NOT NULL,
        first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        times INTEGER NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE INDEX records_of_none ON records (tenant, seq) WHERE entity IS NULL;
    """,
    """
    ALTER TABLE entities ADD COLUMN data BLOB NOT NULL DEFAULT x'7B7D';
    ALTER TABLE entities ADD COLUMN timers INTEGER NOT NULL DEFAULT 0;

    ALTER TABLE approvals ADD COLUMN demands BLOB NOT NULL DEFAULT x'5B5D';
    ALTER TABLE approvals ADD COLUMN votes BLOB NOT NULL DEFAULT x'5B5D';
    ALTER TABLE approvals ADD COLUMN human_only INTEGER NOT NULL DEFAULT 1 CHECK (human_only IN (0, 1));
    ALTER TABLE approvals ADD COLUMN evidence TEXT NOT NULL DEFAULT 'key';
    ALTER TABLE approvals ADD COLUMN binds_version INTEGER NOT NULL DEFAULT 0 CHECK (binds_version IN (0, 1));
    ALTER TABLE approvals ADD COLUMN holds BLOB NOT NULL DEFAULT x'5B5D';

    ALTER TABLE clearances ADD COLUMN runway TEXT NOT NULL DEFAULT '';
    ALTER TABLE clearances ADD COLUMN holds BLOB NOT NULL DEFAULT x'5B5D';
    ALTER TABLE clearances ADD COLUMN payloads BLOB NOT NULL DEFAULT x'7B7D';
    UPDATE clearances SET runway = entity WHERE holds_runway = 1;
    DROP INDEX clearances_one_in_flight;
    CREATE UNIQUE INDEX clearances_one_in_flight ON clearances (tenant, runway)
        WHERE status = 'open' AND holds_runway = 1;

    ALTER TABLE active_domains ADD COLUMN shadow_version TEXT;
    ALTER TABLE active_domains ADD COLUMN shadow_digest TEXT;

    CREATE TABLE active_policies (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL CHECK (id = 'policy'),
        policy TEXT NOT NULL,
        version TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE policy_versions (
        tenant TEXT NOT NULL,
        version TEXT NOT NULL,
        policy TEXT NOT NULL,
        digest TEXT NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (tenant, version)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE usages (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('rate', 'budget', 'concurrency')),
        state BLOB NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE timers (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        entity TEXT NOT NULL,
        event TEXT NOT NULL,
        state TEXT NOT NULL,
        since INTEGER NOT NULL,
        due_at INTEGER,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX timers_due ON timers (due_at) WHERE due_at IS NOT NULL;

    CREATE TABLE sealed (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        entity TEXT NOT NULL,
        name TEXT NOT NULL,
        salt BLOB NOT NULL,
        value BLOB,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;
    """,
    """
    ALTER TABLE clearances ADD COLUMN told TEXT NOT NULL DEFAULT '';
    UPDATE clearances SET told = status WHERE status IN ('succeeded', 'failed', 'cancelled');

    CREATE TABLE sealed_keys (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        public BLOB NOT NULL CHECK (length(public) = 32),
        sealed BLOB NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE hooks (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL CHECK (id = 'webhooks'),
        endpoints BLOB NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE deliveries (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        entity TEXT NOT NULL,
        seq INTEGER NOT NULL CHECK (seq >= 0),
        status TEXT NOT NULL CHECK (status IN ('due', 'dead')),
        attempts INTEGER NOT NULL CHECK (attempts >= 0),
        due_at INTEGER NOT NULL,
        last TEXT NOT NULL,
        version INTEGER NOT NULL CHECK (version > 0),
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX deliveries_due ON deliveries (tenant, endpoint, due_at, seq);
    CREATE INDEX deliveries_in_line ON deliveries (tenant, endpoint, entity, seq) WHERE status = 'due';
    """,
)
