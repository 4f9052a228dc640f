"""What is remembered of the logs outside of their store, so that an older copy of it cannot pass for the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kiff.runtime.commands import AcceptRollback
from kiff.runtime.rows import LogHead


class SeenLogs(Protocol):
    """How far each log was seen, kept where the database is not."""

    @property
    def rollbacks(self) -> Sequence[AcceptRollback]:
        """Logs that go on from an older copy, accepted by name: recorded before anything else is."""

    def committed(self, heads: list[LogHead]) -> None:
        """These heads are durable. Called in a lane: it returns at once, and never raises."""

    def require(self, tenant: str) -> None:
        """
        Raises:
            StoreRolledBack: the tenant's log lost something since it was opened; nothing more is decided on it.
        """

    def close(self) -> None:
        """Keeps what is not kept yet. The store is still open."""
