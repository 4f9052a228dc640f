"""The edge: what a program says becomes a command. Shapes, limits, canonical values, ids, digests; no decisions.

What leaves here is well formed, so nothing behind it checks a shape again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import structs
from msgspec.json import encode

from kiff.canonical import admit, digest, fragment
from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.errors import InvalidInput
from kiff.protocol.actor import Caller
from kiff.protocol.authority import Credential
from kiff.protocol.event import Event
from kiff.protocol.ids import require_id, split_ref
from kiff.protocol.instant import parse_rfc3339
from kiff.protocol.proposal import Mode, draw_up
from kiff.protocol.sealed import Sealed, Sealing, written
from kiff.runtime.commands import (
    Activate,
    ActivatePolicy,
    Authority,
    Erase,
    Establish,
    Ingest,
    Propose,
    Review,
    Revoke,
    Settle,
    Shadow,
    propose,
)
from kiff.runtime.executors import read_events
from kiff.runtime.governed import Governed
from kiff.runtime.in_use import InUse
from kiff.runtime.ports import Ids
from kiff.runtime.vault import Vault, refuse_commitments

RESERVED = frozenset({"roles", "approved", "state"})
"""Parameter names that would claim authority; refused, with everything that begins with `kiff_`."""
REASON_CHARACTERS = 2_000


class Edge:
    """Draws up commands. Every one of them raises InvalidInput, which names the field, and then nothing happened.

    Args:
        governs: the domains that govern, for the digests, and for what is sealed.
        vault: seals it; one for this process, when not given.
    """

    def __init__(self, ids: Ids, governs: Governed, vault: Vault | None = None) -> None:
        self._ids = ids
        self.governs = governs
        self._vault = vault or Vault()

    def propose(
        self,
        mode: Mode,
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
        asks: bool = False,
        trace: str | None = None,
    ) -> Propose:
        """See `Runtime.propose`.

        Args:
            asks: only open the approval that the call takes.
            trace: the trace that the caller is in, `trace_…`.
        """
        suffix = self._ids.draw()
        about = _about(reasoning_summary, confidence, evidence, run_context)
        entity_type, entity_id = split_ref(entity)
        given = admit(_object(parameters, "parameters"), field="parameters")
        if not isinstance(settles, bool):
            raise InvalidInput("`settles` must be true or false", field="settles")
        _refuse_authority(given.value)
        refuse_commitments(given.value)
        require_id(action, "action")
        domain = self.governs.domain(caller.tenant, entity_type)
        slug, ref = "" if domain is None else domain.name, f"{entity_type}:{entity_id}"
        call = Sealing(caller.tenant, slug, ref, action, caller.principal.id)
        sealed = self._seal(call, domain, given.value)
        proposal = draw_up(
            caller,
            id=f"prop_{suffix}" if id is None else require_id(id, "id"),
            mode=mode,
            domain=slug,
            entity=ref,
            action=action,
            parameters=given.value,
            parameters_json=admit(written(given.value, sealed), field="parameters").data if sealed else given.data,
            sealed=sealed,
            about=about,
            settles=settles,
        )
        if approval_id is not None:
            require_id(approval_id, "approval_id")
        if trace is not None:
            require_id(trace, "trace")
        return propose(caller, proposal, suffix, approval_id, asks=asks, trace=trace)

    def _seal(self, call: Sealing, domain: Domain | None, parameters: dict[str, Any]) -> tuple[Sealed, ...]:
        if domain is None:
            names = self.governs.unplaced(call.tenant, parameters)
        else:
            names = domain.sensitive.among(call.action, parameters)
        return self._vault.seal(call, parameters, names) if names else ()

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
    ) -> Ingest:
        """See `Runtime.ingest`."""
        suffix = self._ids.draw()
        entity_type, entity_id = split_ref(entity)
        if occurred_at is not None:
            parse_rfc3339(occurred_at, field="occurred_at")
        if actor_id is not None:
            require_id(actor_id, "actor_id")
        event = Event(
            id=f"evt_{suffix}" if id is None else require_id(id, "id"),
            type=require_id(type, "type"),
            entity=f"{entity_type}:{entity_id}",
            source=require_id(source, "source"),
            payload=admit(_object(payload, "payload"), field="payload").data,
            actor=actor_id,
            occurred_at=occurred_at,
        )
        if trace is not None:
            require_id(trace, "trace")
        return Ingest(caller, event, suffix, trace)

    def review(
        self,
        caller: Caller,
        approval_id: str,
        verdict: Literal["grant", "deny", "cancel"],
        reason: str,
        key: str | None = None,
        *,
        expires_at: str | None = None,
        terms: Mapping[str, Any] | None = None,
    ) -> Review:
        """See `Runtime.grant`, `Runtime.deny` and `Runtime.cancel`."""
        if key is not None:
            require_id(key, "key")
        require_id(approval_id, "approval_id")
        if not reason:
            raise InvalidInput("a review gives its reason", field="reason")
        use_by = None if expires_at is None else parse_rfc3339(expires_at, field="expires_at")
        told = admit(_object(terms, "terms"), field="terms").data
        return Review(caller, approval_id, verdict, _text(reason, "reason"), self._ids.draw(), key, use_by, told)

    def activate(
        self,
        caller: Caller,
        domain: Domain,
        seen: InUse,
        *,
        key: str | None = None,
        asked: str | None = None,
        pending: int | None = None,
    ) -> Activate:
        """See `Runtime.activate`."""
        if key is not None:
            require_id(key, "key")
        compared = digest((asked or f"activate {domain.version} {domain.digest}").encode())
        return Activate(caller, domain, self._ids.draw(), seen, key, compared, pending)

    def activate_policy(
        self, caller: Caller, policy: Policy | None, *, key: str | None = None, pending: int | None = None
    ) -> ActivatePolicy:
        """See `Runtime.activate_policy`."""
        if key is not None:
            require_id(key, "key")
        asked = "deactivate" if policy is None else f"activate {policy.version} {policy.digest}"
        return ActivatePolicy(caller, policy, self._ids.draw(), key, digest(f"policy {asked}".encode()), pending)

    def shadow(
        self, caller: Caller, domain: Domain | None, slug: str, entity_type: str, *, key: str | None = None
    ) -> Shadow:
        """See `Runtime.shadow`."""
        if key is not None:
            require_id(key, "key")
        asked = f"off {slug}" if domain is None else f"{domain.version} {domain.digest}"
        return Shadow(caller, slug, entity_type, domain, self._ids.draw(), key, digest(f"shadow {asked}".encode()))

    def establish(self, caller: Caller, row: Authority, *, key: str | None = None) -> Establish:
        """See `Runtime.establish`."""
        asked = row
        if key is not None:
            require_id(key, "key")
        for name in ("name", "label"):
            _no_nul(getattr(row, name, None) or "", name)
        if isinstance(row, Credential):
            asked = structs.replace(row, id="", digest=b"", created_at=0)
        return Establish(caller, row, self._ids.draw(), key, digest(encode(asked)))

    def revoke(self, caller: Caller, credential_id: str) -> Revoke:
        """See `Runtime.revoke`."""
        return Revoke(caller, require_id(credential_id, "key_id"), self._ids.draw())

    def erase(self, caller: Caller, commitments: tuple[str, ...], *, more: bool = False) -> Erase:
        """See `Runtime.erase`."""
        return Erase(caller, commitments, self._ids.draw(), more)

    def settle(
        self,
        caller: Caller,
        operation_id: str,
        status: Literal["succeeded", "failed", "cancelled", "unknown"],
        *,
        message: str = "",
        output: Any = None,
        events: Iterable[str | Mapping[str, Any]] | None = None,
    ) -> Settle:
        """See `Runtime.settle`."""
        if status not in ("succeeded", "failed", "cancelled", "unknown"):
            raise InvalidInput("`status` must be succeeded, failed, cancelled or unknown", field="status")
        told = None if events is None else read_events(list(events) if isinstance(events, Iterable) else events)
        return Settle(
            tenant=caller.tenant,
            operation_id=require_id(operation_id, "operation_id"),
            status=status,
            by="caller",
            suffix=self._ids.draw(),
            caller=caller,
            message=_text(message, "message"),
            output=admit(output, field="output").data,
            events=told,
        )


def _about(
    reasoning_summary: str | None,
    confidence: float | None,
    evidence: Any,
    run_context: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Why something is proposed, as canonical fragments; what was not said is left out."""
    said = {
        "reasoning_summary": reasoning_summary,
        "confidence": confidence,
        "evidence": evidence,
        "run_context": None if run_context is None else _object(run_context, "run_context"),
    }
    return {name: fragment(admit(value, field=name).data) for name, value in said.items() if value is not None}


def _object(value: Mapping[str, Any] | None, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"`{field}` must be an object", field=field)
    return dict(value)


def _refuse_authority(parameters: dict[str, Any]) -> None:
    """Authority comes from the caller's key, never from the body (DESIGN invariant 4)."""
    for name in parameters:
        if name in RESERVED or name.startswith("kiff_"):
            message = f"`parameters.{name}` claims authority; roles, approvals and state come from KIFF itself"
            raise InvalidInput(message, field=f"parameters.{name}")


def _text(text: str, field: str) -> str:
    if not isinstance(text, str) or len(text) > REASON_CHARACTERS:
        raise InvalidInput(f"`{field}` must be text of at most {REASON_CHARACTERS} characters", field=field)
    value: str = admit(text, field=field).value
    return _no_nul(value, field)


def _no_nul(text: str, field: str) -> str:
    """Text that stands in a column of its own, which not every database lets hold U+0000."""
    if "\0" in text:
        raise InvalidInput(f"`{field}` holds the character U+0000; leave it out", field=field)
    return text
