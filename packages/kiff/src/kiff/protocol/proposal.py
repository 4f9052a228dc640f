"""Who wants which action on which entity with which parameters, and why."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from kiff.canonical import digest, encode, fragment
from kiff.protocol.actor import Caller, Principal

Mode = Literal["execute", "decide"]


class Proposal(Struct, frozen=True, gc=False):
    """A proposal as the edge admitted it: well formed, canonical, with both digests.

    Args:
        mode: `execute` (KIFF runs the executor) or `decide` (the app runs the tool).
        domain: slug of the domain that governs the entity's type; empty when none does.
        entity_type: the part of `entity` before the colon.
        parameters: the normalised values, for the gate.
        roles: the caller's roles when it proposed.
        settles: in `decide`, the caller will report the outcome.
        body: canonical JSON of the whole proposal, reasoning included; the log embeds it as it is.
        action_digest: what approvals, permits and "the same call" mean.
        proposal_digest: digest of `body`; what the receipt shows.
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
) -> Proposal:
    """Puts a proposal together and computes its two digests.

    Args:
        parameters_json: canonical bytes of `parameters`.
        about: reasoning_summary, confidence, evidence, run_context: values or fragments; absent ones left out.
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
    )
