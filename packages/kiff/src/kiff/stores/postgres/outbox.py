"""The SQL of deliveries: which endpoints wait, which deliveries come first, and lending them to one process only."""

from __future__ import annotations

from kiff.runtime.rows import Delivery
from kiff.stores.tables import COLUMNS, TABLES

_TABLE = TABLES[Delivery]
_COLUMNS = ", ".join(f"d.{name}" for name in COLUMNS[Delivery])

BACKLOGS = f"""
    WITH RECURSIVE found AS (
        (SELECT tenant, endpoint FROM {_TABLE} ORDER BY tenant, endpoint LIMIT 1)
        UNION ALL
        SELECT later.tenant, later.endpoint FROM found CROSS JOIN LATERAL (
            SELECT tenant, endpoint FROM {_TABLE} WHERE (tenant, endpoint) > (found.tenant, found.endpoint)
            ORDER BY tenant, endpoint LIMIT 1
        ) AS later
    )
    SELECT tenant, endpoint FROM found WHERE EXISTS (
        SELECT 1 FROM {_TABLE} AS d
        WHERE d.tenant = found.tenant AND d.endpoint = found.endpoint AND d.due_at <= $1
    )
"""
"""Endpoint by endpoint, each found from the one before; of no one's deliveries more than one is read."""

LEASE = f"""
    WITH found AS (
        SELECT tenant, id, version FROM {_TABLE} AS first
        WHERE tenant = $1 AND endpoint = $2 AND due_at <= $3 AND (status = 'dead' OR NOT EXISTS (
            SELECT 1 FROM {_TABLE} AS e WHERE e.tenant = first.tenant AND e.endpoint = first.endpoint
            AND e.entity = first.entity AND e.status = 'due' AND e.seq < first.seq
        ))
        ORDER BY due_at, seq LIMIT $5
    )
    UPDATE {_TABLE} AS d SET due_at = $4, version = d.version + 1 FROM found
    WHERE d.tenant = found.tenant AND d.id = found.id AND d.version = found.version
    RETURNING {_COLUMNS}
"""
"""A lease is a delivery that is due later. Of two who take the same one the second finds another version."""

TAKE_OUT = (
    f"DELETE FROM {_TABLE} AS d USING unnest({{}}::text[], {{}}::text[], {{}}::bigint[]) AS told(tenant, id, version)"
    " WHERE d.tenant = told.tenant AND d.id = told.id AND d.version <= told.version AND (SELECT open FROM gate)"
)
"""A part of an append: what was told is gone."""
