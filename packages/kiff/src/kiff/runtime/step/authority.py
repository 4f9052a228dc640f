"""Who may: read from the rows of this very batch, and changed by them. Every change is recorded.

A revocation therefore acts on the next command, whichever process serves it (DESIGN invariants 4 and 15).
"""

from __future__ import annotations

from typing import Any

from msgspec import json, structs, to_builtins

from kiff.errors import AuthorityChanged, Conflict, Forbidden, IdempotencyConflict, KiffError, NotFound
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import AUTHOR, OPERATOR, Credential, Member, Tenant, authority, holder
from kiff.protocol.clearance import Clearance
from kiff.protocol.instant import rfc3339
from kiff.runtime.answers import Established, Noted
from kiff.runtime.commands import (
    SYSTEM,
    Activate,
    ActivatePolicy,
    Authority,
    ChangeHook,
    Command,
    Erase,
    Establish,
    Ingest,
    Note,
    Propose,
    Resend,
    Review,
    Revoke,
    Settle,
    Shadow,
)
from kiff.runtime.rows import ActiveDomain, CommandRow, NoteRow
from kiff.runtime.world import Change

_KIND: dict[type, tuple[str, str]] = {
    Tenant: ("tenant_changed", "tenant"),
    Member: ("member_changed", "member"),
    Credential: ("credential_issued", "credential"),
}
"""Row -> (record kind, the member of its data that holds the row)."""


def authorised(change: Change, command: Command, caller: Caller) -> Command:
    """The command with the authority its credential has now.

    Raises:
        Unauthorized, Forbidden: it has none for this.
        AuthorityChanged: it was drawn up for somebody who is known differently by now.
    """
    assert caller.credential is not None, "embedded callers are not asked"
    # A credential is one tenant's: in another one it is unknown, whatever id a row has there.
    credential = change.get(Credential, caller.credential) if caller.tenant == change.tenant else None
    acting = holder(credential, caller.principal.id, change.at)
    assert credential is not None, "somebody holds it"
    now = authority(credential, change.get(Member, acting), acting)
    if now.principal != caller.principal:
        raise AuthorityChanged("who calls is known differently by now; ask again")
    if credential.domain is not None and not _within(change, command, credential.domain):
        raise Forbidden(f"this key is good for `{credential.domain}` only", reason="permission_denied")
    if now.roles == caller.roles:
        return command
    if isinstance(command, Propose):
        return structs.replace(command, caller=now, proposal=structs.replace(command.proposal, roles=now.roles))
    return structs.replace(command, caller=now)


def roles_now(change: Change, credential_id: str, who: Principal) -> tuple[str, ...]:
    """The roles that a credential gives somebody by now; none at all when it is not good for them any more."""
    credential = change.get(Credential, credential_id)
    try:
        acting = holder(credential, who.id, change.at)
        assert credential is not None, "somebody holds it"
        now = authority(credential, change.get(Member, acting), acting)
    except KiffError:
        return ()
    return now.roles if (now.principal.type, now.principal.person) == (who.type, who.person) else ()


def _within(change: Change, command: Command, domain: str) -> bool:
    """Whether a command stays in one domain: it is about it, or about nothing that is there, or decides nothing."""
    if isinstance(command, Establish | Erase | ActivatePolicy | ChangeHook | Resend):
        return False  # who may do what, who is told, what is forgotten and the policy are the whole tenant's matters
    if isinstance(command, Revoke):
        return command.credential_id == command.caller.credential
    return _domain(change, command) in (None, domain)


def _domain(change: Change, command: Command) -> str | None:
    """The domain a command is about; None when it is about none, or about nothing that is there."""
    if isinstance(command, Propose):
        return command.proposal.domain or None
    if isinstance(command, Activate):
        return command.domain.name
    if isinstance(command, Shadow):
        return command.slug
    if isinstance(command, Review):
        approval = change.get(ApprovalRequest, command.approval_id)
        return None if approval is None else approval.domain
    if isinstance(command, Ingest):
        entity: str | None = command.event.entity
    else:
        clearance = change.get(Clearance, command.operation_id) if isinstance(command, Settle) else None
        entity = None if clearance is None else clearance.entity
    active = None if entity is None else change.get(ActiveDomain, entity.split(":", 1)[0])
    return None if active is None else active.domain


def establish(change: Change, command: Establish) -> None:
    """A tenant, a member or a credential becomes what the row says. Only an owner asks for it, or asks again."""
    if command.caller.tenant != change.tenant or AUTHOR not in command.caller.roles:
        change.answer = _needs(AUTHOR)
        return
    done = change.get(CommandRow, command.id) if command.key is not None else None
    if done is not None:
        if done.digest == command.asked:
            change.answer = structs.replace(json.decode(done.answer, type=Established), repeated=True)
        else:
            change.answer = IdempotencyConflict("this idempotency key was used before for another request")
        return
    row = command.row
    before = change.get(type(row), row.id)
    try:
        _may_establish(change, command.caller, row, before)
    except KiffError as refusal:
        change.answer = refusal
        return
    row = _born(change, command.caller, row, before)
    answer = Established(row.id, rfc3339(change.at))
    change.answer = answer
    if row == before and command.key is None:
        return
    kind, name = _KIND[type(row)]
    data: dict[str, Any] = {name: told(row)}
    if command.key is not None:
        data |= {"asked": command.asked, "command_id": command.id}
        change.put(CommandRow(change.tenant, command.id, command.asked, "final", json.encode(answer)))
    change.put(row)
    _record(change, command, kind, row.id, data)


def _born(change: Change, caller: Caller, row: Authority, before: Authority | None) -> Authority:
    """The row with what its author does not say: when it began, and who minted it."""
    if isinstance(row, Tenant):
        return structs.replace(row, created_at=before.created_at if isinstance(before, Tenant) else change.at)
    if not isinstance(row, Credential):
        return row
    if caller.credential is None:
        return structs.replace(row, created_at=change.at)
    names = (caller.principal.id, caller.principal.person, *sorted(minters(change, caller)))
    minted_by = ",".join(dict.fromkeys(name for name in names if name is not None))
    return structs.replace(row, created_at=change.at, created_by=minted_by)


def minters(change: Change, caller: Caller) -> set[str]:
    """Who had a part in there being the caller's credential: under every name, and through every key it came by."""
    key = None if caller.credential is None else change.get(Credential, caller.credential)
    return set() if key is None else minted(key)


def minted(key: Credential) -> set[str]:
    """Who minted a key, without regard to case; nobody, when the process itself did."""
    return {name.casefold() for name in key.created_by.split(",")} - {SYSTEM.id}


def told(row: Authority) -> dict[str, Any]:
    """A row as its record carries it: every column but the tenant's, which the record has itself."""
    fields = to_builtins(row)
    del fields["tenant"]
    if isinstance(row, Credential):
        fields["digest"] = row.digest.hex()
    return {name: value for name, value in fields.items() if value is not None}


def revoke(change: Change, command: Revoke) -> None:
    """By an owner of the tenant, or by whoever holds it."""
    caller = command.caller
    credential = change.get(Credential, command.credential_id)
    own = caller.credential == command.credential_id
    if AUTHOR not in caller.roles and not own:
        change.answer = _needs(AUTHOR)
        return
    if credential is None:
        change.answer = NotFound(f"there is no key `{command.credential_id}`", key_id=command.credential_id)
        return
    change.answer = Established(
        credential.id, rfc3339(credential.revoked_at or change.at), credential.revoked_at is not None
    )
    if credential.revoked_at is None:
        change.put(structs.replace(credential, revoked_at=change.at))
        _record(change, command, "credential_revoked", credential.id, {"credential_id": credential.id})


def note(change: Change, command: Note) -> None:
    """Kept as it is; nothing in the log speaks of it."""
    before = change.get(NoteRow, command.id)
    first, times = (change.at, 0) if before is None else (before.first_at, before.times)
    written = before is not None and before.body == command.body  # by this very command, when its reply was lost
    if command.times not in (None, times) and not written:
        change.answer = Conflict("this was written by somebody else meanwhile; read it again")
        return
    if command.body is None:
        change.answer = Noted(command.id, first, change.at, times)
        if before is not None:
            change.put(structs.replace(before, body=b"", last_at=change.at))
        return
    change.put(NoteRow(change.tenant, command.id, command.body, first, change.at, times + 1))
    change.answer = Noted(command.id, first, change.at, times + 1)


def _may_establish(change: Change, caller: Caller, row: Authority, before: Authority | None) -> None:
    """Nobody gives away what they do not hold, no key is minted twice, and nobody is called what KIFF is called."""
    for each in (row, before):  # nor takes from an operator what they hold, or who they are
        roles = each.roles.split(",") if isinstance(each, Member | Credential) else ()
        if OPERATOR in roles and OPERATOR not in caller.roles and row != before:
            raise _needs(OPERATOR)
    if isinstance(row, Member) and SYSTEM.id in (row.id.casefold(), (row.person or "").casefold()):
        raise Conflict(f"`{SYSTEM.id}` is KIFF itself; choose another id", principal=row.id)
    if not isinstance(row, Credential):
        return
    if before is not None:
        raise Conflict("this key exists already; ask again for another one", key_id=row.id)
    if row.principal is None:
        return
    member = change.get(Member, row.principal)
    if member is None:
        raise NotFound(f"there is no member `{row.principal}`", principal=row.principal)
    _may_speak_for(change, caller, member)


def _may_speak_for(change: Change, caller: Caller, member: Member) -> None:
    """A key of a member speaks in that member's name.

    Raises:
        Forbidden: for an operator only by one; for a person only by one; with separation of duties on, for a person
            only by themselves.
    """
    if OPERATOR in member.roles.split(",") and OPERATOR not in caller.roles:
        raise _needs(OPERATOR)
    tenant = change.get(Tenant, "tenant")
    me = caller.principal
    # A service of theirs is not themselves: whoever holds its key would hold the person's too.
    themselves = me.type == "human" and me.someone == (member.person or member.id).casefold()
    if member.type == "human" and caller.credential and me.type != "human":
        message = f"only a person mints a key for a person, and `{me.id}` is none"
        raise Forbidden(message, reason="permission_denied", principal=member.id)
    if member.type == "human" and tenant is not None and tenant.separate and caller.credential and not themselves:
        message = f"with separation of duties on, only `{member.id}` mints a key of their own"
        raise Forbidden(message, reason="permission_denied", principal=member.id)


def _needs(role: str) -> KiffError:
    return Forbidden(f"that needs the role `{role}`", reason="permission_denied", missing_roles=[role])


def _record(change: Change, command: Establish | Revoke, kind: str, id: str, data: dict[str, Any]) -> None:
    trace = f"trace_{command.suffix}"
    change.record(kind, command.caller.principal, entity=None, trace=trace, cause=id, version=None, data=data)
