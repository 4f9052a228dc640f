"""What the rows of authority must say, read out of the records that changed them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import fields

from kiff.analysis.fields import Expected, Fields
from kiff.analysis.hooks import REMOVED
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.instant import parse_rfc3339
from kiff.runtime.rows import CommandRow

AUTHORITY = (Tenant, Member, Credential)
_NOUN: dict[str, tuple[str, type]] = {
    "tenant_changed": ("tenant", Tenant),
    "member_changed": ("member", Member),
    "credential_issued": ("credential", Credential),
}


_IN_FORCE: dict[str, tuple[str, ...]] = {
    "domain_activated": ("domain", "version", "digest"),
    "domain_shadowed": ("domain", "version", "digest", "beside"),
    "policy_activated": ("policy", "version", "digest"),
    "policy_deactivated": ("policy", "version", "digest"),
}
"""What a change of what is in force is answered with, as its record says it too."""


class AuthorityRows:
    """A tenant's members and credentials as its records lead to them. Memory follows how many there are."""

    def __init__(self) -> None:
        self.rows: Expected = {}
        self.hooks: dict[str, dict[str, Any]] = {}

    def take(self, kind: str, at: str, data: dict[str, Any]) -> None:
        """The next record.

        Raises:
            UNREADABLE: the record lacks what its kind needs.
        """
        if kind == "credential_revoked":
            self.rows[Credential, data["credential_id"]]["revoked_at"] = parse_rfc3339(at, field="at")
        elif kind in _NOUN:
            noun, row = _NOUN[kind]
            said = data[noun]
            self.rows[row, said["id"]] = _columns(row, said)
            self._answered(data, {"id": said["id"], "at": at, "repeated": False})
        elif kind == "webhook_changed":
            webhook = data["webhook"]
            self.hooks[webhook["id"]] = webhook
            if data["change"] == REMOVED:
                del self.hooks[webhook["id"]]
            self._answered(data, {"id": webhook["id"], "at": at, "repeated": False})
        elif kind in _IN_FORCE:
            said = {name: data.get(name) for name in _IN_FORCE[kind]}
            said["changed"] = data["replaces"] != data.get("version")
            if kind != "domain_shadowed":
                said["pending_approvals"] = data.get("pending_approvals", 0)
            self._answered(data, said)
        elif kind == "log_rolled_back":
            seen, found = data["seen"], data["found"]["size"]
            named = {"command_id": f"rollback:{seen['root']}", "asked": f"{seen['log']}/{seen['size']}"}
            self._answered(named, {"seen": seen["size"], "found": found})

    def _answered(self, data: dict[str, Any], answer: Fields) -> None:
        """The command that a record with an idempotency key answers."""
        if "command_id" in data:
            fields = {"digest": data["asked"], "status": "final", "operation_id": None, "answer": answer}
            self.rows[CommandRow, data["command_id"]] = fields


def _columns(row: type, said: dict[str, Any]) -> Fields:
    """Every column but the tenant's; what a record leaves out is None."""
    columns = {field.name: said.get(field.name) for field in fields(row) if field.name != "tenant"}
    if row is Credential:
        columns["digest"] = bytes.fromhex(said["digest"])
    return columns
