"""Webhooks as a program asks for them: the endpoints of a tenant, and what becomes of their deliveries."""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom
from typing import Literal

from msgspec import json, structs

from kiff.canonical import digest
from kiff.errors import InvalidInput, NotFound
from kiff.protocol.actor import Caller
from kiff.protocol.ids import require_id
from kiff.protocol.instant import parse_rfc3339
from kiff.protocol.webhook import Endpoint, endpoints_of, require_events
from kiff.runtime.answers import Established, Resent
from kiff.runtime.commands import Attempted, ChangeHook, Command, Resend
from kiff.runtime.outbox import read, wants
from kiff.runtime.pending import Pending
from kiff.runtime.ports import Ids, Store
from kiff.runtime.rows import HOOKS, Delivery, Hooks, NoteRow
from kiff.runtime.step.webhooks import Health, missing, note_id

AT_ONCE = 1_000
"""How many records one request looks at, to tell an endpoint again."""
_CHANCE = SystemRandom()
Verb = Literal["add", "remove", "rotate", "enable"]


class Webhooks:
    """The endpoints of every tenant. What is due to them is sent by a server (`kiff.server.outbox`), not from here.

    Args:
        submit: hands a command to its lane.
    """

    def __init__(self, store: Store, submit: Callable[..., Pending[object]], ids: Ids) -> None:
        self._store = store
        self._submit = submit
        self._ids = ids

    def all(self, tenant: str) -> tuple[Endpoint, ...]:
        """The endpoints of a tenant, in the order they were added."""
        hooks = self._store.row(Hooks, tenant, HOOKS)
        return () if hooks is None else endpoints_of(hooks.endpoints)

    def one(self, tenant: str, endpoint_id: str) -> Endpoint:
        """One endpoint.

        Raises:
            NotFound: the tenant has none of that id.
        """
        for each in self.all(tenant):
            if each.id == endpoint_id:
                return each
        raise missing(endpoint_id)

    def health(self, tenant: str, endpoint_id: str) -> Health | None:
        """How an endpoint fails; None while it does not."""
        note = self._store.row(NoteRow, tenant, note_id(endpoint_id))
        return None if note is None or not note.body else json.decode(note.body, type=Health)

    def draw_id(self) -> str:
        """The id of an endpoint to come."""
        return f"whk_{self._ids.draw()}"

    def add(self, caller: Caller, endpoint: Endpoint, secret: str, *, key: str | None = None) -> Pending[Established]:
        """Tells an endpoint of what is recorded from now on.

        Args:
            secret: as it is kept.
            key: an idempotency key; the same request again is answered, not carried out.

        Raises:
            InvalidInput: it asks for events that there are not.

        Raises (in the answer):
            Forbidden: the caller lacks the role `tenant_owner`. Conflict: there are as many as there may be.
        """
        require_events(endpoint.events)
        return self._change(caller, "add", endpoint.id, key, endpoint=endpoint, secret=secret)

    def remove(self, caller: Caller, endpoint_id: str, *, key: str | None = None) -> Pending[Established]:
        """Tells an endpoint no more, not even of what is due to it.

        Raises (in the answer):
            Forbidden: as `add`. NotFound: there is none.
        """
        return self._change(caller, "remove", endpoint_id, key)

    def rotate(
        self, caller: Caller, endpoint_id: str, secret: str, overlap_ms: int, *, key: str | None = None
    ) -> Pending[Established]:
        """Signs with another secret from now on, and for a while with the one before it too.

        Raises (in the answer):
            Forbidden, NotFound: as `remove`.
        """
        return self._change(caller, "rotate", endpoint_id, key, secret=secret, overlap_ms=overlap_ms)

    def enable(self, caller: Caller, endpoint_id: str, *, key: str | None = None) -> Pending[Established]:
        """Puts an endpoint on again that was switched off. What is due to it goes on; what came since is not.

        Raises (in the answer):
            Forbidden, NotFound: as `remove`.
        """
        return self._change(caller, "enable", endpoint_id, key)

    def resend(
        self, caller: Caller, endpoint_id: str, *, since: int | str | None = None, delivery: str | None = None
    ) -> Pending[Resent]:
        """Tells an endpoint again: of one delivery, or of everything it asks for since a place in the log.

        Args:
            since: the seq of a record, or an RFC 3339 time. At most 1,000 records at once; the answer says where to
                go on.
            delivery: its id, which is the `webhook-id` of its message.

        Raises:
            InvalidInput: not one of the two. NotFound: there is no such endpoint, or no such delivery of it.

        Raises (in the answer):
            Forbidden: the caller lacks the role `tenant_owner`. Conflict: the endpoint is off.
        """
        endpoint = self.one(caller.tenant, endpoint_id)
        if (since is None) == (delivery is None):
            raise InvalidInput("say either `since` or `id`", field="since")
        if delivery is not None:
            return self._submit(Resend(caller, endpoint_id, (self._named(caller.tenant, endpoint, delivery),)))  # type: ignore[return-value]  # what a lane answers it
        first = self._first(caller.tenant, since or 0)
        rows = self._store.records(caller.tenant, after=first - 1, limit=AT_ONCE)
        told = [told for row in rows if (told := wants(endpoint, row.body)) is not None]
        more = rows[-1].seq + 1 if len(rows) == AT_ONCE else None
        return self._submit(Resend(caller, endpoint_id, tuple((each.seq, each.entity) for each in told), more))  # type: ignore[return-value]  # as above

    def attempted(
        self,
        leased: Delivery,
        ended: Literal["delivered", "failed", "refused", "dropped"],
        said: str = "",
        *,
        asked_ms: int | None = None,
    ) -> Pending[object]:
        """Says how an attempt to deliver ended.

        Args:
            leased: as the store lent it.
            said: why it was not delivered, in a few words.
            asked_ms: how long the endpoint asked to be left alone.
        """
        draw, suffix = _CHANCE.random(), self._ids.draw()
        tenant, endpoint = leased.tenant, leased.endpoint
        command = Attempted(tenant, endpoint, leased.id, leased.version, ended, said, draw, suffix, asked_ms)
        return self._submit(command, bounded=False)

    def _change(
        self,
        caller: Caller,
        verb: Verb,
        endpoint_id: str,
        key: str | None,
        *,
        endpoint: Endpoint | None = None,
        secret: str = "",
        overlap_ms: int = 0,
    ) -> Pending[Established]:
        if key is not None:
            require_id(key, "key")
        what = endpoint_id if endpoint is None else structs.replace(endpoint, id="")
        asked = digest(json.encode(["webhook", verb, what, overlap_ms]))
        command: Command = ChangeHook(
            caller, verb, endpoint_id, self._ids.draw(), endpoint, secret, overlap_ms, key, asked
        )
        return self._submit(command)  # type: ignore[return-value]  # what a lane answers it

    def _named(self, tenant: str, endpoint: Endpoint, delivery: str) -> tuple[int, str]:
        """The record of a delivery."""
        seq = delivery.removeprefix(f"{endpoint.id}-")
        rows = (
            self._store.records(tenant, after=int(seq) - 1, limit=1)
            if seq != delivery and seq.isascii() and seq.isdigit() and len(seq) == 12
            else []
        )
        told = read(rows[0].body) if rows and rows[0].seq == int(seq) else None
        if told is None:
            raise NotFound(f"`{endpoint.id}` has no delivery `{delivery:.60}`", delivery=delivery[:60])
        return told.seq, told.entity

    def _first(self, tenant: str, since: int | str) -> int:
        """The seq of the first record since then: the log's time never goes back."""
        if isinstance(since, int):
            return since
        at = parse_rfc3339(since, field="since")
        head = self._store.peek([tenant], []).heads[tenant]
        low, high = 0, 0 if head is None else head.size
        while low < high:
            middle = (low + high) // 2
            [row] = self._store.records(tenant, after=middle - 1, limit=1)
            if parse_rfc3339(json.decode(row.body)["at"], field="at") < at:
                low = middle + 1
            else:
                high = middle
        return low
