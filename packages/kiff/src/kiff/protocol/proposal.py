"""Who wants which action on which entity with which parameters, and why."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from kiff.canonical import digest, encode, fragment
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.sealed import Sealed

Mode = Literal["execute", "decide"]


class Proposal(Struct, frozen=True, gc=False):
    """A proposal as the edge admitted it: well formed, canonical, with both digests.

    Args:
        mode: `execute` (KIFF runs the executor) or `decide` (the app runs the tool).
        domain: slug of the domain that governs the entity's type; empty when none does.
        entity_type: the part of `entity` before the colon.
        parameters: the normalised values, for the gate and the executor. Those that are sealed stand in `body` as
            their commitments, and are for no record, message or log.
        roles: the caller's roles when it proposed.
        settles: in `decide`, the caller will report the outcome.
        body: canonical JSON of the whole proposal, reasoning included; the log embeds it as it is.
        action_digest: what approvals, permits and "the same call" mean.
        proposal_digest: digest of `body`; what the receipt shows.
        sealed: the values that are for the vault.
    """

    id: str
    tenant: str
    mode: Mode
    domain: str
    entity: str
    entity_type: str
    action: str
    principal: Principal
    roles: tuple[str, ...]
    parameters: dict[str, Any]
    settles: bool
    body: bytes
    action_digest: str
    proposal_digest: str
    sealed: tuple[Sealed, ...] = ()

    def __repr__(self) -> str:
        return f"Proposal(id={self.id!r}, entity={self.entity!r}, action={self.action!r}, …)"


def draw_up(
    caller: Caller,
    *,
    id: str,
    mode: Mode,
    domain: str,
    entity: str,
    action: str,
    parameters: dict[str, Any],
    parameters_json: bytes,
    about: dict[str, Any],
    settles: bool,
    sealed: tuple[Sealed, ...] = (),
) -> Proposal:
    """Puts a proposal together and computes its two digests.

    Args:
        parameters_json: canonical bytes of `parameters`, with commitments in place of what is sealed.
        about: reasoning_summary, confidence, evidence, run_context: values or fragments; absent ones left out.
        sealed: what is sealed.
    """
    principal = caller.principal
    call = {
        "action": action,
        "domain": domain,
        "entity": entity,
        "parameters": fragment(parameters_json),
        "principal": principal.id,
        "tenant": caller.tenant,
    }
    action_digest = digest(encode(call))
    call |= about
    if caller.credential is not None:
        call["credential"] = caller.credential
    call |= {
        "id": id,
        "mode": mode,
        "principal_person": principal.person,
        "principal_type": principal.type,
        "settles": settles,
    }
    body = encode(call)
    return Proposal(
        id,
        caller.tenant,
        mode,
        domain,
        entity,
        entity.split(":", 1)[0],
        action,
        principal,
        caller.roles,
        parameters,
        settles,
        body,
        action_digest,
        digest(body),
        sealed,
    )
