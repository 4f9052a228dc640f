"""How a decision is shown: its fields on stdout; a no on stderr as well, with its rule and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from msgspec import to_builtins

from kiff.cli.exits import Exit
from kiff.cli.output import print_fields
from kiff.cli.safe_text import visible
from kiff.client.nouns import Rehearsed
from kiff.gate import MESSAGES
from kiff.runtime import Decided, Executed

_RULES = {
    "approval_denied": "approval_policy",
    "approval_expired": "approval_policy",
    "approval_mismatch": "approval_policy",
    "approval_required": "approval",
    "approval_used": "approval_policy",
    "budget_exceeded": "limits",
    "concurrency_exceeded": "limits",
    "condition_not_met": "when",
    "entity_busy": "lock",
    "executor_missing": "executor",
    "invalid_parameter": "parameters",
    "missing_parameter": "required_parameters",
    "permission_denied": "required_permissions",
    "policy_error": "rules",
    "rate_limited": "limits",
    "state_not_allowed": "allowed_states",
}
"""Which part of the contract a reason comes from; any other is the id of a rule or a limit."""

_HINTS = {
    "approval_denied": "kiff approvals show {approval}",
    "approval_expired": "kiff approvals show {approval}",
    "approval_mismatch": "kiff approvals show {approval} shows the call it was given for",
    "approval_required": "kiff approvals grant {approval} --as NAME, or wait with kiff approvals watch {approval}",
    "approval_used": "kiff approvals show {approval}",
    "entity_busy": "kiff operations list",
    "executor_missing": "EXECUTORS of the executors file lacks it; kiff check says which are missing",
    "missing_parameter": "give it with -p NAME=VALUE",
    "permission_denied": "the principals file gives a principal its roles, kiff.yaml gives a role its permissions",
    "state_not_allowed": "kiff timeline {entity}",
    "unknown_entity_type": "kiff domains list",
}

_WORDS = {"approval_required": "held"}


def show_decision(answer: Decided, output: str, *, domain_version: str | None, hints: Mapping[str, str] = {}) -> Exit:
    """Shows what the gate said, and how the operation ended when there was one.

    Args:
        domain_version: which version decided, with that of the policy, if one held.
        hints: by reason code, where they are others than on a database.

    Returns:
        What the command ends with.
    """
    print_fields(output, _fields(answer, output))
    if answer.outcome != "allowed":
        _say(answer, domain_version, hints)
    elif isinstance(answer, Executed) and answer.status not in (None, "succeeded"):
        click.echo(f"{answer.status}: {answer.action} on {answer.entity}: {visible(answer.message)}", err=True)
        if answer.status == "unknown":
            click.echo(f"  hint   look where it went, then kiff operations settle {answer.operation_id}", err=True)
    return exit_of(answer)


def show_rehearsed(answer: Rehearsed, output: str) -> Exit:
    """Shows what the gate would say. There are no ids to show."""
    fields = {
        "dry_run": True,
        "outcome": answer.outcome,
        "reasons": _reasons(answer, output),
        "message": answer.message,
        "records": list(answer.records),
    }
    print_fields(output, fields)
    if answer.outcome != "allowed":
        _say(answer, None)
    return exit_of(answer)


def exit_of(answer: Decided) -> Exit:
    """Held, denied, expired and refused are different endings; so are failed and unknown."""
    codes = {reason.code for reason in answer.reasons}
    if answer.outcome == "approval_required":
        return Exit.HELD
    if "approval_denied" in codes:
        return Exit.DENIED
    if "approval_expired" in codes:
        return Exit.EXPIRED
    if answer.outcome != "allowed":
        return Exit.BLOCKED
    status = answer.status if isinstance(answer, Executed) else None
    if status == "unknown":
        return Exit.UNKNOWN
    return Exit.DONE if status in (None, "succeeded") else Exit.FAILED


def _fields(answer: Decided, output: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "outcome": answer.outcome,
        "reasons": _reasons(answer, output),
        "message": answer.message,
        "action": answer.action,
        "entity": answer.entity,
    }
    if isinstance(answer, Executed):
        told |= {"status": answer.status, "executed": answer.executed, "output": answer.output}
    return told | {
        "proposal_id": answer.proposal_id,
        "receipt_id": answer.receipt_id,
        "approval_id": answer.approval_id,
        "operation_id": answer.clearance_id,
        "expires_at": answer.expires_at,
        "next_step": answer.next_step,
        "trace_id": answer.trace_id,
    }


def _reasons(answer: Decided, output: str) -> Any:
    """Codes for people and pipes; for programs with what would have to change."""
    if output in ("json", "jsonl"):
        return to_builtins(answer.reasons)
    return [reason.code for reason in answer.reasons]


def _say(answer: Decided, domain_version: str | None, hints: Mapping[str, str] | None = None) -> None:
    """The rule, the receipt and what to do next; neither of the last two for a dry run, which has no `hints`."""
    code = answer.reason
    word = _WORDS.get(answer.outcome, answer.outcome)
    click.echo(f"{word}: {answer.action} on {answer.entity}: {visible(answer.message)}   [{code}]", err=True)
    where = _where(answer, code)
    place = "  ".join(filter(None, (domain_version, *where)))
    told = [f"rule   {place}"] if place else []
    told += [] if hints is None else [f"receipt {answer.receipt_id}"]
    if told:
        click.echo(f"  {'   '.join(told)}", err=True)
    held = "approval_required" if answer.outcome == "approval_required" else code
    hint = None if hints is None else hints.get(held, _HINTS.get(held))
    if hint and (answer.approval_id or "{approval}" not in hint):
        click.echo(f"  hint   {hint.format(approval=answer.approval_id, entity=answer.entity)}", err=True)


def _where(answer: Decided, code: str) -> list[str]:
    if code in _RULES:
        return [f"actions/{answer.action}/{_RULES[code]}"]
    return [] if code in MESSAGES else [f"actions/{answer.action}/{code}"]
