"""The runtime: what a program holds. It hands commands to lanes, and gives back what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.errors import Closed, InvalidInput, KiffError
from kiff.ledger.keys import Signer
from kiff.protocol.actor import Caller
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import AUTHOR
from kiff.protocol.ids import require_id
from kiff.protocol.sealed import is_name
from kiff.runtime.answers import (
    Activated,
    Decided,
    Erased,
    Established,
    Executed,
    Ingested,
    Noted,
    PolicyActivated,
    Reviewed,
    Settled,
    Shadowed,
)
from kiff.runtime.clock import SystemClock, Ulids
from kiff.runtime.commands import SYSTEM, Authority, Command, Note
from kiff.runtime.edge import Edge
from kiff.runtime.executors import Running, Slots
from kiff.runtime.governed import Governed
from kiff.runtime.in_use import InUse
from kiff.runtime.lane import Item, Lane
from kiff.runtime.lanes import Lanes
from kiff.runtime.pending import Pending
from kiff.runtime.ports import Clock, Executor, Ids, Remote, Store
from kiff.runtime.reading import PAGE, Reading, Rebuilt
from kiff.runtime.recovery import Sweeper, orphaned
from kiff.runtime.rehearsal import Rehearsal
from kiff.runtime.rounds import active_domains, active_policies, look_for_domains
from kiff.runtime.rows import ActiveDomain, LogHead
from kiff.runtime.seal import Sealer, sign_each, sign_together
from kiff.runtime.seen import SeenLogs
from kiff.runtime.vault import Vault
from kiff.runtime.webhooks import Webhooks
from kiff.runtime.world import Context

LOOKS_FOR_HEADS = 5
"""Every so many seconds heads are looked for that a process left unsigned when it was killed."""
AT_ONCE = 1_000
"""How many values one request erases."""


class Runtime:
    """Decides, records and runs, over one store.

    Writes return a `Pending`: `.result()` it, or `await` it. Reads return values; what has no caller is under
    `read` (see `Reading`).
    In embedded use the process that opens the runtime owns the store and the key, so it vouches for the
    `Caller` it passes: authority is the process owner's.

    Args:
        store: where the world is kept.
        signer: signs receipts and log heads; or a function that gives the signer of a tenant.
        domains: activated for tenant `tenant` at start, when they are not active yet.
        executors: name -> function; the only code a cleared action can run. Functions that a domain's
            Python contracts carry are added.
        remote: executors that are reached by an address, which the operator allows; none, when not given.
        tenant: whose domains `domains` are.
        issuer: the name in a receipt's `issued_by`, and the host part of the log's origin.
        receipts: `each` signs every receipt; `batch` signs once per commit and gives each receipt a path.
        slots: how many executors may run at once.
        tenant_slots: how many of them one tenant may hold; all, when not given.
        max_waiting: how many commands of one tenant may wait.
        on_commit: called in the lane with the heads that a commit moved; it must return at once.
        probe: called with the name of each point a crash could fall on; for tests.
        vault: the secret that `sensitive` parameters are sealed with, 32 bytes or more, or what brings it when it
            is first needed. Without one it is drawn for this process: a held call with sensitive values then fits
            no approval after a restart, and a retry of it is refused as another call.
        seen: remembers outside of the store how far each log came.

    Raises:
        StoreError: the store cannot serve.
        InvalidDomain, Conflict: a domain cannot be activated.
        InvalidInput: the vault's secret is too short.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer | Callable[[str], Signer],
        *,
        domains: Iterable[Domain] = (),
        executors: Mapping[str, Executor] | None = None,
        remote: Remote | None = None,
        tenant: str = "default",
        issuer: str = "kiff",
        receipts: Literal["each", "batch"] = "each",
        slots: int = 128,
        tenant_slots: int | None = None,
        max_waiting: int = 4096,
        clock: Clock | None = None,
        ids: Ids | None = None,
        on_commit: Callable[[list[LogHead]], None] | None = None,
        probe: Callable[[str], None] | None = None,
        vault: bytes | Callable[[], bytes] | None = None,
        seen: SeenLogs | None = None,
    ) -> None:
        domains = tuple(domains)
        registry: dict[str, Executor] = {}
        for domain in domains:
            registry |= domain.executors
        registry |= executors or {}
        clock = clock or SystemClock()
        self._ids = ids or Ulids()
        self._store = store
        self._seen = seen
        self._closed = False
        self._looks, self._left_unsigned = 0, set[str]()
        self._domains = active_domains(store)
        self._policies = active_policies(store)
        self._governs = Governed.by(store, self._domains)
        self._edge = Edge(self._ids, self._governs, Vault(vault))
        signers = signer if callable(signer) else _always(signer)
        self._remote = remote
        usable = _never if remote is None else remote.usable
        context = Context(f"run_{self._ids.draw()}", frozenset(registry), self._domains, self._policies, usable)
        share = tenant_slots or slots
        self._slots = Slots(registry, slots, self._report, clock, self._ids, probe, share=share, remote=remote)
        signing = sign_each if receipts == "each" else sign_together
        committed = _both(on_commit, seen)

        def lane(tenant: str | None, on_idle: Callable[[Lane], bool] | None) -> Lane:
            return Lane(
                store,
                Sealer(store, signers, issuer, self._ids, signing),
                context,
                self._domains,
                self._slots,
                max_waiting=max_waiting,
                monotonic=clock.monotonic,
                governs=self._governs,
                tenant=tenant,
                on_commit=committed,
                on_idle=on_idle,
                probe=probe,
            )

        self._lanes = Lanes(lane, one=store.exclusive)
        if on_commit is not None:
            store.follow(on_commit)
        self._sweeper = Sweeper(store, self._slots, self._report, clock, self._ids, context.owner, self._look)
        self.read = Reading(store, self._domains, self._policies)
        self.webhooks = Webhooks(store, self._submit, self._ids)
        self._rehearsal = Rehearsal(
            store, registry, edge=self._edge, domains=self._domains, policies=self._policies, remote=remote
        )
        self._start(context, domains, tenant)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(2.0 if kind is KeyboardInterrupt else 30.0)

    def propose(
        self,
        caller: Caller,
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
        trace: str | None = None,
    ) -> Pending[Decided]:
        """Asks whether the caller's own code may run an action now (`decide`).

        Allowed gives a clearance for 60 seconds; report its outcome with `settle`, or let the event of the
        effect end it.

        Args:
            entity: `type:id`.
            id: the proposal's id; the same id brings the first final answer again.
            approval_id: the granted approval of a call that was held.
            settles: you promise to report the outcome; if you do not, it is unknown.
            reasoning_summary, confidence, evidence, run_context: why; shown in the record, compared nowhere.
            trace: the trace that the caller is in, `trace_…`; None begins one.

        Raises:
            InvalidInput: something is not well formed; nothing was recorded.
            Overloaded, Closed, StoreError: KIFF cannot decide; nothing was recorded.
            KeyUnusable: a value is to be sealed, and the vault's key cannot be trusted; nothing was recorded.

        Raises (in the answer):
            DomainChanged: another version governs by now, and seals other parameters; nothing was recorded, ask again.
        """
        command = self._edge.propose(
            "decide",
            caller,
            entity=entity,
            action=action,
            parameters=parameters,
            id=id,
            approval_id=approval_id,
            settles=settles,
            reasoning_summary=reasoning_summary,
            confidence=confidence,
            evidence=evidence,
            run_context=run_context,
            trace=trace,
        )
        return self._submit(command)

    def execute(
        self,
        caller: Caller,
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
        trace: str | None = None,
    ) -> Pending[Executed]:
        """Asks KIFF to run an action through its registered executor, if it is allowed now.

        The answer comes when the operation has ended, or when the gate said no. Arguments and errors are
        those of `propose`; Overloaded also when every executor slot is taken.
        """
        command = self._edge.propose(
            "execute",
            caller,
            entity=entity,
            action=action,
            parameters=parameters,
            id=id,
            approval_id=approval_id,
            reasoning_summary=reasoning_summary,
            confidence=confidence,
            evidence=evidence,
            run_context=run_context,
            trace=trace,
        )
        proposal = command.proposal
        address = self._address(proposal.tenant, proposal.entity_type, proposal.action)
        return self._submit(command, slot=True, address=address)

    def ask(
        self,
        caller: Caller,
        *,
        entity: str,
        action: str,
        parameters: Mapping[str, Any] | None = None,
        id: str | None = None,
        reasoning_summary: str | None = None,
        trace: str | None = None,
    ) -> Pending[Executed]:
        """Opens the approval that an `execute` takes, and runs nothing. Asked again, it brings the open one.

        Raises (in the answer):
            Conflict: the call takes no approval.
        """
        command = self._edge.propose(
            "execute",
            caller,
            entity=entity,
            action=action,
            parameters=parameters,
            id=id,
            reasoning_summary=reasoning_summary,
            asks=True,
            trace=trace,
        )
        return self._submit(command)

    def ingest(
        self,
        caller: Caller,
        *,
        type: str,
        entity: str,
        payload: Mapping[str, Any] | None = None,
        source: str = "api",
        id: str | None = None,
        actor_id: str | None = None,
        occurred_at: str | None = None,
        trace: str | None = None,
    ) -> Pending[Ingested]:
        """Records what happened to an entity and moves its state.

        Args:
            type: an event the entity's domain declares; another one is recorded and refused.
            id: the event's id at its source; the same id is stored once.

        Raises:
            InvalidInput: not well formed. Forbidden (in the answer): the caller lacks `events.ingest`.
        """
        command = self._edge.ingest(
            caller,
            type=type,
            entity=entity,
            payload=payload,
            source=source,
            id=id,
            actor_id=actor_id,
            occurred_at=occurred_at,
            trace=trace,
        )
        return self._submit(command)

    def grant(
        self,
        caller: Caller,
        approval_id: str,
        reason: str,
        *,
        key: str | None = None,
        expires_at: str | None = None,
        terms: Mapping[str, Any] | None = None,
    ) -> Pending[Reviewed]:
        """Says yes to a held call. With `on_grant: run` the call is decided again and runs; the answer does not wait.

        Args:
            key: an idempotency key for this review.
            expires_at: RFC 3339; the grant is of no use after it, nor after what the contract says.
            terms: conditions and evidence, recorded with the grant and shown; KIFF judges neither.

        Raises (in the answer):
            Forbidden: the caller proposed it, is not a person, or lacks a reviewer's permission.
            ApprovalDecided: somebody was first, or it expired.
            AlreadyReviewed: it takes several people, and this one was counted.
            NotFound: there is no such approval.
        """
        return self._review(caller, approval_id, "grant", reason, key, expires_at=expires_at, terms=terms)

    def deny(self, caller: Caller, approval_id: str, reason: str, *, key: str | None = None) -> Pending[Reviewed]:
        """Says no to a held call, for good. Arguments and errors are those of `grant`."""
        return self._review(caller, approval_id, "deny", reason, key)

    def cancel(self, caller: Caller, approval_id: str, reason: str, *, key: str | None = None) -> Pending[Reviewed]:
        """Takes a pending approval back. Only whoever asked for it may, or an owner of the tenant."""
        return self._review(caller, approval_id, "cancel", reason, key)

    def establish(self, caller: Caller, row: Authority, *, key: str | None = None) -> Pending[Established]:
        """Makes a tenant, a member or a credential what the row says.

        Args:
            key: an idempotency key; the same request again is answered, not carried out.

        Raises (in the answer):
            Forbidden: the caller lacks the role `tenant_owner`, or gives away what it does not hold.
            NotFound: the credential is for a member that is not there. Conflict: it exists already.
        """
        return self._submit(self._edge.establish(caller, row, key=key))

    def revoke(self, caller: Caller, credential_id: str) -> Pending[Established]:
        """Makes a credential useless from the next command on.

        Raises (in the answer):
            NotFound: there is none. Forbidden: it is somebody else's, and the caller is no owner of the tenant.
        """
        return self._submit(self._edge.revoke(caller, credential_id))

    def note(self, caller: Caller, id: str, body: bytes | None, *, times: int | None = None) -> Pending[Noted]:
        """Keeps something that no decision reads, beside the log. None forgets it.

        Args:
            times: how often it was written before, as it was read; when that changed meanwhile, nothing is written.

        Raises (in the answer):
            Conflict: it was written meanwhile.
        """
        return self._submit(Note(caller, require_id(id, "id"), body, times))

    def erase(self, caller: Caller, what: str) -> Pending[Erased]:
        """Takes `sensitive` values out of the vault for good. The log keeps their commitments, and still verifies.

        Args:
            what: a commitment, `sha256:<hex>`, or an entity, `type:id`: at most 1,000 values of its calls, `more`
                says whether there are others.

        Raises:
            InvalidInput: it is neither.

        Raises (in the answer):
            Forbidden: the caller lacks the role `tenant_owner`. NotFound: there is no such commitment.
        """
        if is_name(what):
            return self._submit(self._edge.erase(caller, (what,)))
        found = self.read.sealed(what, tenant=caller.tenant, limit=AT_ONCE + 1)
        ids = tuple(row.id for row in found[:AT_ONCE])
        return self._submit(self._edge.erase(caller, ids, more=len(found) > AT_ONCE))

    def settle(
        self,
        caller: Caller,
        operation_id: str,
        status: Literal["succeeded", "failed", "cancelled", "unknown"],
        *,
        message: str = "",
        output: Any = None,
        events: Iterable[str | Mapping[str, Any]] | None = None,
    ) -> Pending[Settled]:
        """Says how an operation ended: the app that ran it, or a person who looked.

        Args:
            events: names, or {"type", "payload"}, among the contract's `emits`. None: the one it declares.

        Raises (in the answer):
            NotFound, Forbidden, InvalidInput; OperationSettled when it contradicts what was reported before.
        """
        command = self._edge.settle(caller, operation_id, status, message=message, output=output, events=events)
        return self._submit(command)

    def activate(
        self,
        caller: Caller,
        domain: Domain,
        *,
        seen: InUse | None = None,
        key: str | None = None,
        asked: str | None = None,
    ) -> Pending[Activated]:
        """Publishes a domain version and makes it govern its entity type.

        Pending approvals stay. Each is decided again under the version that governs when it is used, and its grant
        satisfies only the demands that it was asked for. A shadow of the version before ends.

        Args:
            seen: what `read.in_use` said; looked for here when not given, which takes as long as there are entities.
            key: an idempotency key.
            asked: what was asked for in other words than this version (`rollback …`); compared under `key`.

        Raises:
            InvalidInput: not well formed; nothing was recorded.

        Raises (in the answer):
            Forbidden: the caller lacks the role `tenant_owner`.
            InvalidDomain: it is a draft still; `issues` says what is missing.
            StateInUse: it drops a state that entities are in.
            Conflict: the version name, or the entity type, belongs to something else.
        """
        if seen is None:
            seen = self.read.in_use(domain, tenant=caller.tenant)
        waiting = self.read.pending(tenant=caller.tenant, domain=domain.name)
        command = self._edge.activate(caller, domain, seen, key=key, asked=asked, pending=waiting)
        self._domains.setdefault(domain.digest, domain)
        pending: Pending[Activated] = Pending()

        def tell(done: Future[Activated]) -> None:
            """The edge knows the domain before anybody is told that it is active."""
            if (failed := done.exception()) is not None:
                pending.set_exception(failed)
                return
            answer: Activated = done.result()
            if answer.version == domain.version:  # a request that was answered before may have led to another one
                self._governs.put(caller.tenant, domain)
            pending.set_result(answer)

        self._submit(command).add_done_callback(tell)
        return pending

    def activate_policy(
        self, caller: Caller, policy: Policy | None, *, key: str | None = None
    ) -> Pending[PolicyActivated]:
        """Publishes a policy version and lets it hold for every domain of the tenant; None lets none hold.

        What becomes of pending approvals is as with `activate`.

        Args:
            key: an idempotency key.

        Raises (in the answer):
            Forbidden: the caller lacks the role `tenant_owner`.
            Conflict: the version name belongs to other content.
        """
        waiting = self.read.pending(tenant=caller.tenant)
        command = self._edge.activate_policy(caller, policy, key=key, pending=waiting)
        if policy is not None:
            self._policies.setdefault(policy.digest, policy)
        return self._submit(command)

    def shadow(
        self, caller: Caller, domain: Domain | None, *, of: str = "", key: str | None = None
    ) -> Pending[Shadowed]:
        """Asks a domain version beside the one that governs, from now on: its answers are recorded, and decide nothing.

        Args:
            domain: published, not activated. None ends it.
            of: the slug of the domain whose shadow ends.
            key: an idempotency key.

        Raises:
            InvalidInput: neither a version nor a slug.

        Raises (in the answer):
            Forbidden: the caller lacks the role `tenant_owner`.
            NotFound: no version of the domain governs.
            InvalidDomain: it is a draft still. Conflict: it governs already, or its name belongs to other content.
        """
        if domain is None and not of:
            raise InvalidInput("name the domain whose shadow ends", field="of")
        slug, entity_type = (of, self._shadowed_type(caller.tenant, of)) if domain is None else _named(domain)
        if domain is not None:
            self._domains.setdefault(domain.digest, domain)
        return self._submit(self._edge.shadow(caller, domain, slug, entity_type, key=key))

    def _shadowed_type(self, tenant: str, slug: str) -> str:
        """The entity type that a domain governs: the one with a shadow, if it governs several."""
        rows = [row for row in self._store.rows(ActiveDomain, tenant) if row.domain == slug]
        rows.sort(key=lambda row: row.shadow_version is None)
        return rows[0].entity_type if rows else ""

    def checkpoint(self, tenant: str = "default") -> Pending[bytes]:
        """A signed note over the tenant's log as it stands: keep it outside, and a cut-off log will show.

        Raises (in the answer):
            NotFound: the tenant has no log yet.
        """
        require_id(tenant, "tenant")
        if self._closed:
            raise Closed("the runtime is closed")
        future: Pending[bytes] = Pending()
        self._lanes.put(Item(tenant, None, future), bounded=True)
        return future

    def timeline(self, caller: Caller, entity: str, *, after: int = -1, limit: int = PAGE) -> list[dict[str, Any]]:
        """An entity's records in the caller's tenant, oldest first; see `Reading.timeline`."""
        return self.read.timeline(entity, tenant=caller.tenant, after=after, limit=limit)

    def rebuild(self, caller: Caller, entity: str) -> Rebuilt:
        """Folds an entity's events again and compares; see `Reading.rebuild`."""
        return self.read.rebuild(entity, tenant=caller.tenant)

    @property
    def rehearsal(self) -> Rehearsal:
        """Dry runs over the store as it is written."""
        return self._rehearsal

    def governs(self, tenant: str, entity_type: str) -> str | None:
        """The slug of the domain that governs an entity type."""
        domain = self._governs.domain(tenant, entity_type)
        return None if domain is None else domain.name

    def entity_types(self, tenant: str) -> Collection[str]:
        """The entity types that a domain of the tenant governs, in lower case."""
        return self._governs.types(tenant)

    @property
    def failure(self) -> KiffError | None:
        """Why nothing is taken in any more; None while everything is."""
        return Closed("the runtime is closed") if self._closed else self._lanes.failure

    def waiting(self) -> int:
        """How many commands wait for their lanes now."""
        return self._lanes.waiting()

    def running(self) -> list[Running]:
        """Operations in an executor slot of this process now; one past its deadline is hung."""
        return self._slots.in_flight()

    def close(self, timeout: float = 30.0) -> None:
        """Waits for running executors (up to `timeout` seconds), serves what is queued, closes the store."""
        if self._closed:
            return
        self._closed = True
        self._sweeper.close()
        self._slots.close(timeout)
        if self._remote is not None:
            self._remote.close()
        self._lanes.close()
        if self._seen is not None:
            self._seen.close()
        self._store.close()

    def _start(self, context: Context, domains: Iterable[Domain], tenant: str) -> None:
        self._lanes.start()
        try:
            for rollback in () if self._seen is None else self._seen.rollbacks:
                self._submit(rollback, bounded=False).result()
            for command in orphaned(self._store, context.owner, self._ids):
                self._submit(command, bounded=False).result()
            owner = Caller(SYSTEM, (AUTHOR,), tenant)
            for domain in domains:
                self.activate(owner, domain).result()
        except BaseException:
            self._slots.close(0)
            self._lanes.close()
            if self._seen is not None:
                self._seen.close()
            self._store.close()
            raise
        self._sweeper.start()

    def _review(
        self,
        caller: Caller,
        approval_id: str,
        verdict: Literal["grant", "deny", "cancel"],
        reason: str,
        key: str | None,
        **more: Any,
    ) -> Pending[Reviewed]:
        command = self._edge.review(caller, approval_id, verdict, reason, key, **more)
        approval = self._store.row(ApprovalRequest, caller.tenant, approval_id) if verdict == "grant" else None
        if approval is None or approval.on_grant != "run":
            return self._submit(command)
        address = self._address(approval.tenant, approval.entity.partition(":")[0], approval.action)
        return self._submit(command, slot=True, address=address)

    def _address(self, tenant: str, entity_type: str, action: str) -> str:
        """Where the executor of an action is reached, as far as is known before deciding; empty when it is here."""
        domain = self._governs.domain(tenant, entity_type)
        contract = None if domain is None else domain.actions.get(action)
        return contract.executor_name if contract is not None and contract.runs_elsewhere else ""

    def _submit(self, command: Command, *, slot: bool = False, address: str = "", bounded: bool = True) -> Pending[Any]:
        """Queues a command. A slot for what it may start is reserved first, so a decision never waits for one.

        Args:
            address: where the executor is reached; room there is kept until the answer is told.
        """
        if self._closed:
            raise Closed("the runtime is closed")
        if self._seen is not None:
            self._seen.require(command.tenant)
        future: Pending[Any] = Pending()
        if (remote := self._remote) is not None and address:
            remote.reserve(command.tenant, address)
            future.add_done_callback(lambda _: remote.release(command.tenant, address))
        try:
            if slot:
                self._slots.reserve(command.tenant)
        except KiffError:
            future.cancel()
            raise
        try:
            self._lanes.put(Item(command.tenant, command, future, slot), bounded=bounded)
        except KiffError:
            if slot:
                self._slots.release(command.tenant)
            future.cancel()
            raise
        return future

    def _look(self) -> None:
        """What other processes did, or left undone when they were killed. It is looked at once a second."""
        look_for_domains(self._store, self._domains, self._governs)
        self._looks += 1
        if self._looks % LOOKS_FOR_HEADS == 0:
            unsigned = set(self._store.unsigned())
            for tenant in unsigned & self._left_unsigned:  # nobody is about to sign it
                self._lanes.put(Item(tenant, None, None), bounded=False)
            self._left_unsigned = unsigned

    def _report(self, command: Command) -> None:
        """Queues what belongs to work already accepted; if the lane has stopped, the next start finds it open."""
        with suppress(KiffError):  # nothing is lost: the clearance is durable and open, recovery makes it unknown
            self._lanes.put(Item(command.tenant, command, None), bounded=False)


def _both(
    on_commit: Callable[[list[LogHead]], None] | None, seen: SeenLogs | None
) -> Callable[[list[LogHead]], None] | None:
    """Both are told of a commit, and what remembers first."""
    if seen is None or on_commit is None:
        return on_commit if seen is None else seen.committed
    remember, tell = seen.committed, on_commit

    def both(heads: list[LogHead]) -> None:
        remember(heads)
        tell(heads)

    return both


def _never(tenant: str, address: str) -> bool:
    return False


def _named(domain: Domain) -> tuple[str, str]:
    return domain.name, domain.entity_type


def _always(signer: Signer) -> Callable[[str], Signer]:
    return lambda tenant: signer
