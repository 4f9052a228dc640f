"""Routes as data, and what a handler is given and gives back.

A handler is `async def handler(call) -> Answer`. The table of routes is what serves, what the OpenAPI document is
made of, and what the reference page lists: there is no other list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from msgspec import Struct
from starlette.requests import Request

from kiff.errors import AuthorityChanged, DomainChanged, Forbidden, InvalidInput
from kiff.protocol.actor import Caller
from kiff.protocol.authority import AUTHOR, Credential
from kiff.protocol.ids import require_id
from kiff.runtime.pending import Pending
from kiff.server.sight import Sight
from kiff.server.stream import Stream
from kiff.server.tower import Tower

T = TypeVar("T")

READ = "records.read"
"""The permission that reading records, receipts and approvals of others takes (PROTOCOL "Events, state, evidence")."""
AUDITOR = "auditor"
"""A tenant's own role, in every domain, that may read all of its records and change nothing."""


class Answer(Struct):
    """What a handler answers.

    Args:
        value: anything msgspec encodes; bytes are sent as they are.
        stream: an answer without an end, instead of a value.
    """

    value: Any = None
    status: int = 200
    headers: dict[str, str] = {}
    media: str = "application/json"
    stream: Stream | None = None


class Route(Struct, frozen=True):
    """One method of one path.

    Args:
        path: with `{names}`; `{name:path}` takes slashes.
        handler: see the module.
        summary: a line for the reference.
        body: the Struct that a JSON body is read into; None for no body.
        query: the Struct that the query string is read into; unknown names are refused.
        answers: status -> the Struct of the body, or the media type of one that is not JSON; None: no body. With
            another media type, or several: a dict from media type to Struct, or to None.
        media: of the request body when it is not JSON (`application/x-yaml`, `*/*`): the handler reads `call.raw`.
            With `body` too, either will do.
        access: `public` needs no key; `key` any key of the tenant; `read` a key that may read records;
            `owner` one with the role tenant_owner.
        decides: its errors carry `outcome` and `reasons` too, whatever went wrong.
        refuses: for callers that take every status but a 2xx for a yes: makes of an error's body the answer, sent with
            status 200, that is a no to them. The header Kiff-Status says what the status would have been.
        writes: it changes something: an Idempotency-Key is read.
        rehearses: a dry run, which reads the rows of authority as a write would.
        tag: the group in the reference.
    """

    method: Literal["GET", "POST", "PUT", "DELETE", "PATCH"]
    path: str
    handler: Callable[[Call], Awaitable[Answer]]
    summary: str
    tag: str
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    answers: dict[int, Any] = {}
    media: str | None = None
    access: Literal["public", "key", "read", "owner"] = "key"
    decides: bool = False
    refuses: Callable[[dict[str, Any]], Any] | None = None
    writes: bool = False
    rehearses: bool = False


class Call:
    """One request, authenticated and read.

    Attributes:
        body: the route's Struct; query: likewise; raw: the bytes of a body that is not JSON.
        path: the values of the names in the route's path.
        trace: the trace id of the request; `inbound` when the client named it.
        outcome: of the decision that was made; None when none was.
    """

    __slots__ = (
        "_credential",
        "_secret",
        "body",
        "inbound",
        "outcome",
        "path",
        "query",
        "raw",
        "request",
        "route",
        "tower",
        "trace",
    )

    def __init__(self, tower: Tower, route: Route, request: Request, trace: str, inbound: bool) -> None:
        self.tower = tower
        self.route = route
        self.request = request
        self.trace = trace
        self.inbound = inbound
        self.outcome: str | None = None
        self.path: dict[str, str] = request.path_params
        self.body: Any = None
        self.query: Any = None
        self.raw = b""
        self._secret: str | None = None
        self._credential: Credential | None = None

    def authenticate(self, secret: str | None) -> Credential:
        """Finds the credential. A route that only reads has nothing behind it that would read the row again."""
        self._secret = secret
        self._credential = self.tower.authenticator.credential(secret, fresh=self._reads)
        self.tower.used(self._credential)
        return self._credential

    def authenticate_again(self) -> None:
        """For an answer that takes long: whoever holds a key that was revoked meanwhile gets no more of it.

        Raises:
            Unauthorized: the key is good no longer.
        """
        self._credential = self.tower.authenticator.credential(self._secret, fresh=True)

    @property
    def _reads(self) -> bool:
        """Nothing behind this route reads the rows of authority again, so they are read now."""
        return not (self.route.writes or self.route.rehearses)

    @property
    def credential(self) -> Credential:
        assert self._credential is not None, "the route needs a key"
        return self._credential

    @property
    def tenant(self) -> str:
        return self.credential.tenant

    @property
    def given_trace(self) -> str:
        """The trace for the kernel: log lines, spans, records and answers of one request have one trace."""
        return self.trace

    def caller(self, acting: str | None = None, *, fresh: bool | None = None) -> Caller:
        """Whose authority this call has.

        Args:
            acting: who the body says acts; compared with the key, and never believed.
        """
        if acting is not None:
            require_id(acting, "actor_id")
        fresh = self._reads if fresh is None else fresh
        return self.tower.authenticator.caller(self.credential, acting, fresh=fresh)

    def afresh(self) -> Caller:
        """Who calls, by the rows as they are now: for a write whose batch does not read them again."""
        self.authenticate_again()
        return self.caller(fresh=True)

    async def answer(self, pending: Pending[T]) -> T:
        """What comes of a command, once it is durable."""
        return await self.tower.waiting.answer(pending)

    async def write(self, submit: Callable[[Caller], Pending[T]], acting: str | None = None) -> T:
        """Submits a command for the caller; once more when the caller, or the domain, is known differently by then."""
        try:
            return await self.answer(submit(self.caller(acting)))
        except (AuthorityChanged, DomainChanged):
            self.authenticate_again()
            return await self.answer(submit(self.caller(acting, fresh=True)))

    def decided(self, outcome: str) -> None:
        """Counts a decision of the gate."""
        self.outcome = outcome
        self.tower.counts.outcomes[outcome] += 1
        self.tower.counts.outcomes_of[self.tenant, outcome] += 1

    def id_of_write(self, id: str | None) -> str | None:
        """The id of a write, out of the body or the Idempotency-Key header; given twice, they must agree."""
        key = self.request.headers.get("idempotency-key")
        if key is None:
            return id
        require_id(key, "Idempotency-Key")
        if id is not None and id != key:
            raise InvalidInput("`id` and the header Idempotency-Key must be the same", field="id")
        return key

    def sees_all(self, caller: Caller) -> bool:
        """Whether the caller may read records that are not their own."""
        if AUTHOR in caller.roles or AUDITOR in caller.roles:
            return True
        domains = self.tower.runtime.read.domains(caller.tenant).values()
        return bool(domains) and all(domain.permits(caller.roles, READ) for domain in domains)

    def sight(self) -> Sight:
        """What the caller may see of the tenant's log now."""
        caller = self.caller()
        whose = None if self.sees_all(caller) else caller.principal.id
        return Sight(self.tower.store, self.tenant, whose, self.covers)

    def covers(self, entity: str | None) -> bool:
        """Whether the key is good for an entity's domain. One that is limited to a domain sees nothing else."""
        bound = self.credential.domain
        if bound is None:
            return True
        return entity is not None and self.tower.runtime.governs(self.tenant, entity.split(":", 1)[0]) == bound

    def admit(self) -> None:
        """Refuses a caller that the route is not for.

        Raises:
            Forbidden: a role or a permission is missing.
        """
        if self.route.access in ("public", "key"):
            return
        caller, bound = self.caller(), self.credential.domain
        # Where a document names the domain, the batch compares it; elsewhere the path must.
        named = self.path.get("slug", bound if self.route.path.startswith("/v1/me/domain") else None)
        if bound is not None and named != bound:
            message = f"that is about the whole tenant, and this key is good for `{bound}` only"
            raise Forbidden(message, reason="permission_denied")
        if self.route.access == "owner" and AUTHOR not in caller.roles:
            raise Forbidden(f"that needs the role `{AUTHOR}`", reason="permission_denied", missing_roles=[AUTHOR])
        if self.route.access == "read" and not self.sees_all(caller):
            message = f"that takes the permission `{READ}`"
            raise Forbidden(message, reason="permission_denied", missing_permissions=[READ])
