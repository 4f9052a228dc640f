"""The client: what a program holds to have its actions governed by a server.

The verbs and the answers are those of `kiff.Runtime`, without a `Pending` around them. Entities are written
`type:id`. Whose authority a call has is in the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal

import httpx
from msgspec import Raw, Struct

from kiff.canonical import admit
from kiff.client import answers, paths
from kiff.client.connection import Connection
from kiff.client.domains import Domains
from kiff.client.login import Login
from kiff.client.nouns import Actions, Approval, Me, Operation, Rehearsed, State
from kiff.client.people import Keys, Members
from kiff.client.policies import Policies
from kiff.client.stream import Stream
from kiff.client.webhooks import Webhooks
from kiff.domain import Domain
from kiff.errors import NotFound
from kiff.protocol.approval import ApprovalStatus
from kiff.protocol.clearance import ClearanceStatus
from kiff.protocol.ids import require_id, split_ref
from kiff.protocol.proposal import Mode
from kiff.protocol.sealed import is_name
from kiff.runtime.answers import Activated, Decided, Erased, Executed, Ingested, Reviewed, Settled
from kiff.runtime.clock import Ulids
from kiff.runtime.reading import Rebuilt

JOSE = "application/jose"
PAGE = 200
"""What a server gives at most at once."""


class _Approval(Struct):
    approval: Approval


class _Approvals(Struct):
    approvals: list[Approval]
    next: str | None = None


class _Timeline(Struct):
    records: list[dict[str, Any]]
    next: int | None = None


class _Entities(Struct):
    entities: list[State]
    next: str | None = None


class _Operation(Struct):
    operation: Operation


class _Operations(Struct):
    operations: list[Operation]
    next: str | None = None


class _Settled(Struct):
    operation: Operation
    state: str | None
    late: bool
    confirmed: bool


class _Erased(Struct):
    erased: tuple[str, ...]
    at: str
    more: bool


class _Records(Struct):
    records: list[dict[str, Any]]
    next: int | None = None


class Client:
    """A server's verbs, with one key. Threads may share it.

    Every write has an id, drawn when none is given, and is sent again under it when the connection gave out; so
    nothing is done twice.

    Args:
        url: `https://…`; plain HTTP to this machine only.
        key: a secret that the server printed; None for what needs none.
        timeout: seconds until an answer must be there.
        transport: an httpx transport instead of the network.
        unsafe_http: accept plain HTTP to other machines, where everybody on the way reads the key.
        attempts: how often a request that may be repeated is sent at most.

    Raises:
        InvalidInput: the URL or the key cannot be used.

    Every verb raises the errors of the runtime under their codes, Unauthorized when the key is not valid, RateLimited
    and Overloaded when the server will not decide now, and Unanswered when no answer came that can be trusted.

    Attributes:
        login: how to get a session.
        domains: drafts, versions, and which govern.
        policies: the organisation's policy: versions, and which one holds.
        keys, members: who may do what in the tenant.
        webhooks: who is told of its records.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        unsafe_http: bool = False,
        attempts: int = 4,
    ) -> None:
        self._connection = Connection(
            url, key, timeout=timeout, transport=transport, unsafe_http=unsafe_http, attempts=attempts
        )
        self._ids = Ulids()
        self.login = Login(self._connection)
        self.domains = Domains(self._connection, self._ids)
        self.policies = Policies(self._connection, self._ids)
        self.keys = Keys(self._connection, self._ids)
        self.members = Members(self._connection, self._ids)
        self.webhooks = Webhooks(self._connection, self._ids)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url}>"

    @property
    def url(self) -> str:
        return self._connection.url

    def close(self) -> None:
        """Closes its connections."""
        self._connection.close()

    def propose(
        self,
        *,
        entity: str,
        action: str,
        parameters: Mapping[str, Any] | None = None,
        id: str | None = None,
        approval_id: str | None = None,
        settles: bool = False,
        reasoning_summary: str | None = None,
        confidence: float | None = None,
        evidence: Any = None,
        run_context: Mapping[str, Any] | None = None,
        acting: str | None = None,
        domain: str | None = None,
        trace: str | None = None,
    ) -> Decided:
        """Asks whether the caller's own code may run an action now; see `Runtime.propose`.

        Args:
            acting: who acts, for a key that is bound to nobody.
            domain: the domain that is meant, when another one must not answer.
        """
        entity_type, entity_id = split_ref(entity)
        id = self._id(id, "prop")
        body = {
            "entity_type": entity_type,
            "entity_id": entity_id,
            "action_name": require_id(action, "action"),
            "parameters": _given(parameters, "parameters"),
            "settles": settles,
            "actor_id": acting,
            "approval_id": approval_id,
            "domain": domain,
        }
        body |= _why(reasoning_summary, confidence, evidence, run_context)
        reply = self._connection.ask("POST", "/v1/proposals/decide", body=_said(body), id=id, trace=trace)
        return answers.decided(self._connection, reply, entity, action, id)

    def execute(
        self,
        *,
        entity: str,
        action: str,
        parameters: Mapping[str, Any] | None = None,
        id: str | None = None,
        approval_id: str | None = None,
        reasoning_summary: str | None = None,
        confidence: float | None = None,
        evidence: Any = None,
        run_context: Mapping[str, Any] | None = None,
        acting: str | None = None,
        trace: str | None = None,
    ) -> Executed:
        """Asks KIFF to run an action through its executor, if it is allowed now; see `Runtime.execute`."""
        path = paths.action(entity, action)
        id = self._id(id, "prop")
        body = {"parameters": _given(parameters, "parameters"), "approval_id": approval_id, "actor": _actor(acting)}
        body |= {"entity_type": split_ref(entity)[0]}
        body |= _why(reasoning_summary, confidence, evidence, run_context)
        reply = self._connection.ask("POST", f"{path}/execute", body=_said(body), id=id, trace=trace)
        return answers.executed(self._connection, reply, entity, action, id)

    def validate(
        self,
        *,
        entity: str,
        action: str,
        parameters: Mapping[str, Any] | None = None,
        approval_id: str | None = None,
        mode: Mode = "execute",
        run_context: Mapping[str, Any] | None = None,
        acting: str | None = None,
    ) -> Rehearsed:
        """What the gate would say. Nothing is written, reserved or opened.

        Args:
            mode: as `execute`, or as `propose` (`decide`).
        """
        path = paths.action(entity, action)
        body = {"parameters": _given(parameters, "parameters"), "approval_id": approval_id, "actor": _actor(acting)}
        body |= {"entity_type": split_ref(entity)[0]}
        body |= {"mode": mode} | _why(None, None, None, run_context)
        reply = self._connection.ask("POST", f"{path}/validate", body=_said(body), safe=True)
        return answers.rehearsed(self._connection, reply, entity, action)

    def ask(
        self,
        *,
        entity: str,
        action: str,
        parameters: Mapping[str, Any] | None = None,
        id: str | None = None,
        reasoning_summary: str | None = None,
        acting: str | None = None,
        trace: str | None = None,
    ) -> Executed:
        """Opens the approval that an `execute` takes, and runs nothing; see `Runtime.ask`."""
        path = paths.action(entity, action)
        id = self._id(id, "prop")
        body = {
            "parameters": _given(parameters, "parameters"),
            "reason": reasoning_summary,
            "actor": _actor(acting),
            "entity_type": split_ref(entity)[0],
        }
        reply = self._connection.ask("POST", f"{path}/approvals", body=_said(body), id=id, trace=trace)
        return answers.asked(self._connection, reply, entity, action, id)

    def ingest(
        self,
        *,
        type: str,
        entity: str,
        payload: Mapping[str, Any] | None = None,
        source: str = "api",
        id: str | None = None,
        actor_id: str | None = None,
        occurred_at: str | None = None,
        trace: str | None = None,
    ) -> Ingested:
        """Records what happened to an entity and moves its state; see `Runtime.ingest`."""
        entity_type, entity_id = split_ref(entity)
        id = self._id(id, "evt")
        body = {
            "type": require_id(type, "type"),
            "entity_type": entity_type,
            "entity_id": entity_id,
            "source": source,
            "payload": _given(payload, "payload"),
            "actor_id": actor_id,
            "occurred_at": occurred_at,
        }
        reply = self._connection.ask("POST", "/v1/events", body=_said(body), id=id, trace=trace)
        return answers.ingested(self._connection, reply, id)

    def grant(
        self,
        approval_id: str,
        reason: str,
        *,
        key: str | None = None,
        expires_at: str | None = None,
        terms: Mapping[str, Any] | None = None,
    ) -> Reviewed:
        """Says yes to a held call; see `Runtime.grant`.

        Args:
            terms: `conditions` and `evidence`, recorded with the grant.
        """
        return self._review(approval_id, "grant", reason, key, {"expires_at": expires_at, **(terms or {})})

    def deny(self, approval_id: str, reason: str, *, key: str | None = None) -> Reviewed:
        """Says no to a held call, for good."""
        return self._review(approval_id, "deny", reason, key, {})

    def cancel(self, approval_id: str, reason: str, *, key: str | None = None) -> Reviewed:
        """Takes a question back."""
        return self._review(approval_id, "cancel", reason, key, {})

    def settle(
        self,
        operation_id: str,
        status: Literal["succeeded", "failed", "cancelled", "unknown"],
        *,
        message: str = "",
        output: Any = None,
        events: Iterable[str | Mapping[str, Any]] | None = None,
    ) -> Settled:
        """Says how an operation ended: the app that ran it, or a person who looked; see `Runtime.settle`."""
        id = self._id(None, "settle")
        body = {
            "status": status,
            "message": message,
            "output": None if output is None else Raw(admit(output, field="output").data),
            "events": None if events is None else [each if isinstance(each, str) else dict(each) for each in events],
        }
        path = f"/v1/operations/{paths.one(operation_id, 'operation_id')}/settle"
        told = self._connection.value(_Settled, "POST", path, body=_said(body), id=id)
        how, operation = (told.late, told.confirmed), told.operation
        return Settled(operation.id, operation.status, operation.entity, told.state, operation.trace_id, *how)

    def erase(self, what: str, *, id: str | None = None) -> Erased:
        """Erases sensitive values for good; the log keeps their commitments. Takes an owner's key.

        Args:
            what: a commitment, or an entity, `type:id`: at most 1,000 values of its calls, `more` says whether there
                are others.
        """
        body = {"commitment": what} if is_name(what) else {"entity": ":".join(split_ref(what))}
        id = self._id(id, "erase")
        told = self._connection.value(_Erased, "POST", "/v1/me/vault/erase", body=body, id=id)
        return Erased(told.erased, told.at, told.more)

    def report(
        self,
        proposal_id: str,
        status: Literal["succeeded", "failed", "cancelled", "unknown"],
        *,
        result_hash: str | None = None,
        error: str | None = None,
    ) -> Settled:
        """Says how the caller's own attempt ended, by the id of the proposal that was allowed.

        Args:
            result_hash: names the result, which stays with the caller.
        """
        body = {"status": status, "result_hash": result_hash, "error": error}
        path = f"/v1/proposals/{paths.one(proposal_id, 'proposal_id')}/outcome"
        return self._connection.value(Settled, "POST", path, body=_said(body), id=self._id(None, "report"))

    def activate(self, domain: Domain | str | bytes) -> Activated:
        """Publishes a domain version and makes it govern its entity type; see `Runtime.activate`.

        Args:
            domain: or the text of a kiff.yaml.
        """
        return self.domains.activate(domain.content if isinstance(domain, Domain) else domain)

    def state(self, entity: str, *, at: int | None = None) -> State | None:
        """Where an entity is, or was when the record `at` of the log was written; None when nothing had happened."""
        try:
            return self._connection.value(State, "GET", f"{paths.entity(entity)}/state", query={"at": at})
        except NotFound:
            return None

    def entities(self, *, type: str | None = None, after: str = "") -> Iterator[State]:
        """Entities in order of their reference, page by page."""
        while True:
            query = {"type": type, "after": after or None, "limit": PAGE}
            page = self._connection.value(_Entities, "GET", "/v1/entities", query=query)
            yield from page.entities
            if page.next is None:
                return
            after = page.next

    def timeline(self, entity: str, *, after: int = -1, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """An entity's records, oldest first, page by page: all of them, or the ones the key may see."""
        path = f"{paths.entity(entity)}/timeline"
        while True:
            query = {"after": after, "kind": kind, "limit": PAGE}
            page = self._connection.value(_Timeline, "GET", path, query=query)
            yield from page.records
            if page.next is None:
                return
            after = page.next

    def allowed_actions(self, entity: str) -> Actions:
        """What may be done with an entity, and by whom it is held."""
        return self._connection.value(Actions, "GET", f"{paths.entity(entity)}/allowed-actions")

    def rebuild(self, entity: str) -> Rebuilt:
        """Folds an entity's events again and compares."""
        path = f"{paths.entity(entity)}/rebuild"
        return self._connection.value(Rebuilt, "POST", path, safe=True)

    def approvals(
        self, *, status: ApprovalStatus | None = None, entity: str | None = None, limit: int = PAGE
    ) -> list[Approval]:
        """Approvals, oldest first, up to `limit` of them: the ones the key may see."""
        path = "/v1/approvals" if entity is None else f"{paths.entity(entity)}/approvals"
        found: list[Approval] = []
        after = None
        while len(found) < limit:
            query = {"status": status, "after": after, "limit": min(limit - len(found), PAGE)}
            page = self._connection.value(_Approvals, "GET", path, query=query)
            found += page.approvals
            if page.next is None:
                break
            after = page.next
        return found

    def approval(self, approval_id: str) -> Approval:
        """One approval.

        Raises:
            NotFound: there is none that the key may see.
        """
        path = f"/v1/approvals/{paths.one(approval_id, 'approval_id')}"
        return self._connection.value(_Approval, "GET", path).approval

    def operations(self, *, status: ClearanceStatus | None = None) -> Iterator[Operation]:
        """Operations, oldest first, page by page: the ones the key may see. `unknown` ones wait for a person."""
        after = None
        while True:
            query = {"status": status, "after": after, "limit": PAGE}
            page = self._connection.value(_Operations, "GET", "/v1/operations", query=query)
            yield from page.operations
            if page.next is None:
                return
            after = page.next

    def operation(self, operation_id: str) -> Operation:
        """One operation.

        Raises:
            NotFound: there is none that the key may see.
        """
        path = f"/v1/operations/{paths.one(operation_id, 'operation_id')}"
        return self._connection.value(_Operation, "GET", path).operation

    def receipt(self, receipt_id: str, *, proof: bool = False) -> dict[str, Any]:
        """A receipt as the flat JSON that was signed.

        Args:
            proof: add the decision's record, its inclusion proof and the newest signed head that covers it.
        """
        path = _receipt(receipt_id)
        receipt = self._connection.value(dict[str, Any], "GET", path)
        if proof:
            receipt["proofs"] = self._connection.value(dict[str, Any], "GET", f"{path}/proof")
        return receipt

    def explain(self, id: str) -> dict[str, Any]:
        """Why a decision came out as it did, and what would have to change for another outcome.

        Args:
            id: of a receipt, or of a proposal: then the last decision about it.

        Returns:
            See `kiff.analysis.explain.Explanation`; with as much in it as the key may see.
        """
        if id.startswith("rcpt_"):
            return self._connection.value(dict[str, Any], "GET", f"{_receipt(id)}/explanation")
        path = f"/v1/proposals/{paths.one(id, 'proposal_id')}/explanation"
        return self._connection.value(dict[str, Any], "GET", path)

    def bundle(self, receipt_id: str) -> dict[str, Any]:
        """A receipt with every record of its trace, each with its proof: what an auditor takes away."""
        return self._connection.value(dict[str, Any], "GET", f"{_receipt(receipt_id)}/bundle")

    def jws(self, receipt_id: str) -> str:
        """A receipt as a compact JWS, for any JOSE library."""
        return self._connection.value(bytes, "GET", f"{_receipt(receipt_id)}.jws", accept=JOSE).decode("ascii")

    def records(
        self, *, entity: str | None = None, kind: str | None = None, after: int = -1
    ) -> Iterator[dict[str, Any]]:
        """The log, page by page: the records the key may see."""
        ref = None if entity is None else ":".join(split_ref(entity))
        while True:
            query = {"entity": ref, "kind": kind, "after": after, "limit": PAGE}
            page = self._connection.value(_Records, "GET", "/v1/records", query=query)
            yield from page.records
            if page.next is None:
                return
            after = page.next

    def stream(self, *, entity: str | None = None, kind: str | None = None, after: str | None = None) -> Stream:
        """The log as it grows, for ever; a lost connection is taken up again where it was.

        Args:
            after: the `id` of the last event that was seen, -1 for the whole log; None for what comes next.
        """
        ref = None if entity is None else ":".join(split_ref(entity))
        return Stream(self._connection, {"entity": ref, "kind": kind}, after=after)

    def public_keys(self) -> dict[str, Any]:
        """The key set that receipts and signed heads are verified with."""
        reply = self._connection.ask("GET", "/.well-known/jwks.json")
        return self._connection.shaped(reply, dict[str, Any])

    def usage(self) -> dict[str, Any]:
        """What the tenant used."""
        return self._connection.value(dict[str, Any], "GET", "/v1/me/usage")

    def me(self) -> Me:
        """Who the key makes the caller."""
        return self._connection.value(Me, "GET", "/v1/me")

    def healthz(self) -> bool:
        """Whether the server lives."""
        return self._connection.value(dict[str, Any], "GET", "/healthz").get("status") == "ok"

    def _review(
        self, approval_id: str, verdict: str, reason: str, key: str | None, more: Mapping[str, Any]
    ) -> Reviewed:
        key = self._id(key, "review")
        path = f"/v1/approvals/{paths.one(approval_id, 'approval_id')}/{verdict}"
        reply = self._connection.ask("POST", path, body=_said({"reason": reason, **more}), id=key)
        return answers.reviewed(self._connection, reply, key)

    def _id(self, given: str | None, prefix: str) -> str:
        return f"{prefix}_{self._ids.draw()}" if given is None else require_id(given, "id")


def _receipt(receipt_id: str) -> str:
    return f"/v1/receipts/{paths.one(receipt_id, 'receipt_id')}"


def _given(value: Mapping[str, Any] | None, field: str) -> Raw:
    """A caller's object as JSON, under the rules that the server has too."""
    return Raw(admit(dict(value or {}), field=field).data)


def _why(
    reasoning_summary: str | None, confidence: float | None, evidence: Any, run_context: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "reasoning_summary": reasoning_summary,
        "confidence": confidence,
        "evidence": None if evidence is None else Raw(admit(evidence, field="evidence").data),
        "run_context": None if run_context is None else _given(run_context, "run_context"),
    }


def _actor(acting: str | None) -> dict[str, str] | None:
    return None if acting is None else {"id": acting}


def _said(body: Mapping[str, Any]) -> dict[str, Any]:
    """What was said; what was not is left out."""
    return {name: value for name, value in body.items() if value is not None}
