"""Publishing a policy version and letting it hold for every domain, or letting none hold: atomic, recorded.

Pending approvals stay. Each is decided again under what holds when it is used, and a grant satisfies only the demands
that it was asked for, so a stricter policy asks again.
"""

from __future__ import annotations

from typing import Any

from msgspec import json

from kiff.domain.policy import Policy
from kiff.errors import Conflict, Forbidden, IdempotencyConflict, KiffError
from kiff.protocol.authority import AUTHOR
from kiff.runtime.answers import PolicyActivated
from kiff.runtime.commands import ActivatePolicy
from kiff.runtime.rows import POLICY, ActivePolicy, CommandRow, PolicyVersion
from kiff.runtime.world import Change


def activate_policy(change: Change, command: ActivatePolicy) -> None:
    """Moves the pointer. A version name, once published, never means other content."""
    if AUTHOR not in command.caller.roles:
        message = f"`{command.caller.principal.id}` may not change the policy: that needs the role `{AUTHOR}`"
        change.answer = Forbidden(message, reason="permission_denied")
        return
    done = change.get(CommandRow, command.id) if command.key is not None else None
    if done is not None:
        change.answer = _again(done, command)
        return
    policy = command.policy
    if policy is not None:
        refusal = _published(change, policy)
        if refusal is not None:
            change.answer = refusal
            return
    active = change.active_policy()
    replaces = None if active is None else active.version
    changed = replaces != (None if policy is None else policy.version)
    change.answer = _answer(policy, command, changed=changed)
    if command.key is not None:
        answer = json.encode(change.answer)
        change.put(CommandRow(change.tenant, command.id, command.asked, "final", answer))
    if changed or command.key is not None:
        _point(change, command, replaces)


def _again(done: CommandRow, command: ActivatePolicy) -> PolicyActivated | KiffError:
    """What the same request was answered before."""
    if done.digest != command.asked:
        return IdempotencyConflict("this idempotency key was used before for another request")
    return json.decode(done.answer, type=PolicyActivated)


def _published(change: Change, policy: Policy) -> KiffError | None:
    """Publishes a version that is not published yet; why it cannot be."""
    published = change.get(PolicyVersion, policy.version)
    if published is None:
        change.put(PolicyVersion(change.tenant, policy.version, policy.name, policy.digest, policy.content))
    elif published.digest != policy.digest:
        message = f"`{policy.version}` was published with other content; give this one a new version"
        return Conflict(message, version=policy.version, digest=published.digest)
    return None


def _answer(policy: Policy | None, command: ActivatePolicy, *, changed: bool) -> PolicyActivated:
    pending = command.pending or 0
    if policy is None:
        return PolicyActivated(None, None, None, changed, pending)
    return PolicyActivated(policy.name, policy.version, policy.digest, changed, pending)


def _point(change: Change, command: ActivatePolicy, replaces: str | None) -> None:
    policy, tenant = command.policy, change.tenant
    data: dict[str, Any] = {"replaces": replaces}
    if policy is None:
        change.put(ActivePolicy(tenant, POLICY, "", "", ""))
    else:
        change.put(ActivePolicy(tenant, POLICY, policy.name, policy.version, policy.digest))
        data |= {"digest": policy.digest, "policy": policy.name, "version": policy.version}
    if command.pending is not None:
        data["pending_approvals"] = command.pending
    if command.key is not None:
        data |= {"asked": command.asked, "command_id": command.id}
    change.record(
        "policy_deactivated" if policy is None else "policy_activated",
        command.caller.principal,
        entity=None,
        trace=f"trace_{command.suffix}",
        cause=f"pol_{command.suffix}",
        version=None,
        policy=None if policy is None else policy.version,
        data=data,
    )
