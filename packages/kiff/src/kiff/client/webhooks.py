"""Who is told of a tenant's records: its webhooks. They take an owner's key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from kiff.client.connection import Connection
from kiff.client.nouns import Delivery, SecretWebhook, Tested, Webhook
from kiff.client.paths import one
from kiff.runtime.ports import Ids

PAGE = 200


class _Webhooks(Struct):
    webhooks: list[Webhook]


class _Removed(Struct):
    removed_at: str


class _Deliveries(Struct):
    deliveries: list[Delivery]
    next: int | None = None


class _Replayed(Struct):
    count: int
    next: int | None = None


class Webhooks:
    """The endpoints of a tenant."""

    def __init__(self, connection: Connection, ids: Ids) -> None:
        self._connection = connection
        self._ids = ids

    def all(self) -> list[Webhook]:
        """Every endpoint, without its secrets."""
        return self._connection.value(_Webhooks, "GET", "/v1/webhooks").webhooks

    def add(
        self, url: str, events: Sequence[str], *, entity_types: Sequence[str] = (), id: str | None = None
    ) -> SecretWebhook:
        """Tells an endpoint of what is recorded from now on. Its secret is in the answer and nowhere else.

        Args:
            events: names, `approval.*` for all of a noun, `*` for all.
            entity_types: only of entities of these types.
            id: an idempotency key of this request.

        Raises:
            InvalidInput: nothing may be sent there, or there are no such events.
        """
        body = {"url": url, "events": list(events), "entity_types": list(entity_types)}
        return self._connection.value(SecretWebhook, "POST", "/v1/webhooks", body=body, id=self._id(id))

    def remove(self, webhook_id: str, *, id: str | None = None) -> str:
        """Tells an endpoint no more, not even of what is due to it. Returns when it was removed."""
        return self._connection.value(_Removed, "DELETE", _path(webhook_id), id=self._id(id)).removed_at

    def rotate(self, webhook_id: str, *, overlap_seconds: int = 86_400, id: str | None = None) -> SecretWebhook:
        """Signs with a new secret from now on, and with the old one too until the overlap is over."""
        body = {"overlap_seconds": overlap_seconds}
        path = f"{_path(webhook_id)}/rotate"
        return self._connection.value(SecretWebhook, "POST", path, body=body, id=self._id(id))

    def enable(self, webhook_id: str, *, id: str | None = None) -> Webhook:
        """Puts an endpoint on again that was switched off."""
        return self._connection.value(Webhook, "POST", f"{_path(webhook_id)}/enable", id=self._id(id))

    def test(self, webhook_id: str) -> Tested:
        """Has a test message sent, and says what came of it."""
        return self._connection.value(Tested, "POST", f"{_path(webhook_id)}/test")

    def deliveries(self, webhook_id: str, status: Literal["due", "dead"] | None = None) -> Iterator[Delivery]:
        """Messages that have not arrived, in the order of the log."""
        path, after = f"{_path(webhook_id)}/deliveries", -1
        while True:
            query = {"status": status, "after": after, "limit": PAGE}
            page = self._connection.value(_Deliveries, "GET", path, query=query)
            yield from page.deliveries
            if page.next is None:
                return
            after = page.next

    def replay(self, webhook_id: str, *, since: int | str | None = None, delivery: str | None = None) -> int:
        """Has messages sent again: one delivery, or all since a seq or an RFC 3339 time.

        Returns:
            How many are due by that.
        """
        count, path = 0, f"{_path(webhook_id)}/replay"
        body: dict[str, Any] = {"id": delivery} if since is None else {"since": since}
        while True:
            told = self._connection.value(_Replayed, "POST", path, body=body, id=self._id(None))
            count += told.count
            if told.next is None:
                return count
            body = {"since": told.next}

    def _id(self, id: str | None) -> str:
        return id or f"webhook_{self._ids.draw()}"


def _path(webhook_id: str) -> str:
    return f"/v1/webhooks/{one(webhook_id, 'webhook_id')}"
