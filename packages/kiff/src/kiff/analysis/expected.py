"""What the rows must say, read out of an entity's records alone.

The log is the truth and every row a convenience: this file tells, record by record, what the rows of one
entity have become. What the log does not tell is listed in UNBOUND, and is not expected of anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from msgspec import convert, json

from kiff.analysis.fields import Expected, Fields
from kiff.analysis.history import Versions, beside, refolded
from kiff.analysis.runways import Held
from kiff.canonical import digest
from kiff.domain import Domain
from kiff.errors import InvalidInput
from kiff.gate.quorum import demands_from, lasting, vote_from
from kiff.protocol.approval import ApprovalRequest, Vote
from kiff.protocol.clearance import Clearance
from kiff.protocol.instant import parse_rfc3339, rfc3339
from kiff.protocol.limit import Hold
from kiff.protocol.sealed import Sealed, commitments
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Store
from kiff.runtime.rows import CommandRow, LastApproval, Runway, TimerRow
from kiff.runtime.step.fold import timers_of
from kiff.runtime.step.limits import NO_HOLDS
from kiff.runtime.step.payload import payloads_of
from kiff.runtime.step.propose import NOT_FINAL
from kiff.runtime.step.settle import told_with

UNBOUND: dict[str, dict[str, str]] = {
    "approvals": {
        "due_at": "when a sweep looks; expiry is judged by expires_at and use_by, which are bound",
    },
    "clearances": {
        "due_at": "when a sweep looks; lateness is judged by the deadline, which is bound",
        "owner": "which process ran it is not in the log",
    },
    "commands": {
        "answer": "its `message` and `next_step` are sentences made from members that are bound",
    },
}
"""Columns that a change may go unnoticed in, and why. All others are compared with the log."""

UNREADABLE = (KeyError, IndexError, TypeError, AttributeError, ValueError, InvalidInput)
"""What reading a record raises when it is not what its kind says."""


class EntityRows:
    """One entity's rows as its records lead to them."""

    def __init__(self, store: Store, tenant: str, entity: str, versions: Versions) -> None:
        self._store = store
        self._tenant = tenant
        self._entity = entity
        self._versions = versions
        self._state = EntityState(tenant, entity, "", None, 0)
        self._runway = Held()
        self._rows: Expected = {}
        self._decided: Fields = {}
        self._ingested: Fields = {}
        self._review: Fields = {}
        self._granted_to_run: str | None = None

    def rows(self) -> Expected:
        """After the last record: every row that must be there."""
        expected = dict(self._rows)
        state = self._state
        if state.version:
            expected[EntityState, self._entity] = {
                name: getattr(state, name) for name in ("domain", "state", "version", "data", "timers")
            }
        if self._runway.row is not None:
            expected[Runway, self._entity] = self._runway.row
        return expected

    def take(self, record: dict[str, Any]) -> None:
        """The next record.

        Raises:
            UNREADABLE: the record lacks what its kind needs.
        """
        read = _READ.get(record["kind"])
        if read is not None:
            read(self, record, record["data"])

    def _event(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        event = data["event"]
        domain = self._versions.get(record["versions"]["domain"])
        applied = domain is not None and self._fold(domain, record)
        if record["causation_id"] != event["id"]:
            return  # an operation emitted it: no caller waits for it by its id
        self._ingested = {
            "event_id": event["id"],
            "entity": self._entity,
            "state": self._state.state,
            "version": self._state.version,
            "trace_id": record["trace_id"],
            "applied": applied,
            "code": None if applied else "invalid_transition",
            "settled": None,
        }
        payload = beside(self._store, self._tenant, event, "payload")
        row = self._row(CommandRow, f"event:{event['id']}")
        row |= {"status": "final", "operation_id": None, "answer": self._ingested}
        if payload is not None:
            row["digest"] = event_digest(event, self._entity, payload)

    def _fold(self, domain: Domain, record: dict[str, Any]) -> bool:
        """The entity and its timers after an event; whether the event was taken."""
        before, folded = self._state, refolded(self._store, self._tenant, domain, self._state, record)
        self._state = folded.entity
        cause = record["causation_id"]
        if cause != record["data"]["event"]["id"] and (TimerRow, cause) in self._rows:
            self._rows[TimerRow, cause]["due_at"] = None  # it brought this event
        if folded.entity.state != before.state:
            for number in range(before.timers):
                self._row(TimerRow, f"{self._entity}/{number}")["due_at"] = None
            at = parse_rfc3339(record["at"], field="at")
            for timer in timers_of(domain, folded.entity, at):
                self._row(TimerRow, timer.id).update({name: getattr(timer, name) for name in _TIMER})
        return folded.refusal is None

    def _decision(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        facts = data["facts"]
        body = beside(self._store, self._tenant, data, "proposal")
        proposal = {} if body is None else orjson.loads(body)
        answer = {
            "proposal_id": record["causation_id"],
            "outcome": data["outcome"],
            "action": data["action"],
            "entity": self._entity,
            "receipt_id": data["receipt"]["id"],
            "trace_id": record["trace_id"],
            "reasons": data["reasons"],
            "approval_id": data.get("approval_id"),
        }
        self._decided = {"record": record, "proposal": proposal, "body": body, "answer": answer}
        for name, id in commitments(proposal.get("parameters", {})).items():
            if name not in facts.get("erased", ()):
                self._row(Sealed, id).update(entity=self._entity, name=name, erased=False)
        # With `on_grant: run` the grant's own commit decides again: the next decision on the entity is that one.
        runs, self._granted_to_run = self._granted_to_run, None
        row = self._row(CommandRow, f"propose:{record['causation_id']}")
        row |= {"digest": f"{proposal.get('mode')}:{data['action_digest']}", "operation_id": None, "answer": answer}
        if data["outcome"] == "allowed":
            self._cleared(record, data, proposal, facts, row, runs)
        elif data["outcome"] == "approval_required" or data["reasons"][0]["code"] in NOT_FINAL:
            row["status"] = "open"
        else:
            row["status"] = "final"

    def _erased(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        for id in data["commitments"]:
            self._row(Sealed, id)["erased"] = True

    def _cleared(
        self,
        record: dict[str, Any],
        data: dict[str, Any],
        proposal: Fields,
        facts: dict[str, Any],
        command: Fields,
        runs: str | None,
    ) -> None:
        clearance_id = data["clearance_id"]
        deadline = self._deadline(data["receipt"]["id"])
        version, at = record["versions"]["domain"], parse_rfc3339(record["at"], field="at")
        domain = self._versions.get(version)
        contract = self._versions.contract(version, data["action"])
        locks = contract is not None and contract.lock != "none"
        executes = proposal.get("mode") == "execute"
        self._row(Clearance, clearance_id).update(
            status="open",
            mode=proposal.get("mode"),
            proposal_id=record["causation_id"],
            command_id=f"propose:{record['causation_id']}",
            domain_version=version,
            domain_digest=None if domain is None else domain.digest,
            entity=self._entity,
            action=data["action"],
            action_digest=data["action_digest"],
            principal=record["actor"]["id"],
            principal_type=record["actor"]["type"],
            principal_person=proposal.get("principal_person"),
            holds_runway=locks,
            runway=self._entity if locks else "",
            holds=NO_HOLDS,
            settles=proposal.get("settles"),
            cleared_at=at,
            receipt_id=data["receipt"]["id"],
            trace_id=record["trace_id"],
            approval_id=facts.get("approval_id"),
            settled_by=None,
            settled_at=None,
            disputed=False,
            told="",
        )
        if deadline is not None:
            self._row(Clearance, clearance_id)["deadline"] = deadline
        if domain is not None and contract is not None and proposal:
            payloads = payloads_of(domain, contract, proposal["parameters"])
            self._row(Clearance, clearance_id)["payloads"] = payloads
        if contract is not None and contract.lock == "entity":
            self._runway.take(clearance_id)
        if facts.get("approval") == "granted":
            approval = self._row(ApprovalRequest, facts["approval_id"])
            approval.update(status="consumed", consumed_by=clearance_id, holds=NO_HOLDS)
            if executes and runs == facts["approval_id"]:
                self._review["operation_id"] = clearance_id
        if executes:
            command |= {"status": "running", "operation_id": clearance_id, "answer": None}
        else:
            command |= {"status": "final"}
            command["answer"]["clearance_id"] = clearance_id
            if deadline is not None:
                command["answer"]["expires_at"] = rfc3339(deadline)

    def _validated(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        clearance = self._row(Clearance, data["operation_id"])
        clearance["fencing"] = data["fencing"]
        if "runway" in data:
            clearance["runway"] = data["runway"]
        clearance["holds"] = _holds(data)

    def _held(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        approval_id = data["approval_id"]
        self._row(LastApproval, data["action_digest"])["approval_id"] = approval_id
        expires_at = parse_rfc3339(data["expires_at"], field="expires_at")
        approval = self._rows.get((ApprovalRequest, approval_id)) or self._opened(record, data, expires_at)
        answer = self._decided["answer"]
        granted = approval.get("status") == "granted" and approval.get("use_by")
        answer["expires_at"] = rfc3339(approval["use_by"] if granted else expires_at)

    def _opened(self, record: dict[str, Any], data: dict[str, Any], expires_at: int) -> Fields:
        decided, proposal = self._decided["record"], self._decided["proposal"]
        contract = self._versions.contract(record["versions"]["domain"], data["action"])
        before = decided["data"]["facts"].get("approval_id")
        if before is not None and (ApprovalRequest, before) in self._rows:
            self._rows[ApprovalRequest, before]["holds"] = NO_HOLDS  # the new one takes over what it kept
        approval = self._row(ApprovalRequest, data["approval_id"])
        approval |= {
            "status": "pending",
            "action_digest": data["action_digest"],
            "domain": proposal.get("domain"),
            "entity": self._entity,
            "entity_version": decided["data"]["facts"]["version"],
            "action": data["action"],
            "proposal_id": record["causation_id"],
            "proposer": record["actor"]["id"],
            "proposer_type": record["actor"]["type"],
            "proposer_person": proposal.get("principal_person"),
            "roles": ",".join(decided["data"]["facts"].get("roles", ())),
            "command_id": f"propose:{record['causation_id']}",
            "trace_id": record["trace_id"],
            "receipt_id": decided["data"]["receipt"]["id"],
            "reviewers": ",".join(data["reviewers"]),
            "opened_at": parse_rfc3339(record["at"], field="at"),
            "expires_at": expires_at,
            "use_by": None,
            "reviewed_by": None,
            "reviewed_at": None,
            "reason": None,
            "consumed_by": None,
            "demands": json.encode(demands_from(data.get("demands", ()))),
            "votes": json.encode(()),
            "human_only": data.get("human_only", True),
            "evidence": data.get("evidence", "key"),
            "binds_version": data.get("binds_version", False),
            "holds": _holds(data),
        }
        if self._decided["body"] is not None:
            approval["proposal"] = self._decided["body"]
        if contract is not None:
            policy = contract.approval_policy
            approval |= {"on_grant": policy.on_grant, "use_within_ms": 1000 * policy.use_within_seconds}
        return approval

    def _voted(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        """A yes that was not the last one needed. Votes that had lapsed by then are gone."""
        approval = self._row(ApprovalRequest, data["approval_id"])
        before = json.decode(approval["votes"], type=tuple[Vote, ...])
        votes = (*lasting(before, parse_rfc3339(record["at"], field="at")), vote_from(data["vote"]))
        approval["votes"] = json.encode(votes)
        said = {"status": "pending", "reviewed_by": record["actor"]["id"], "reason": data["reason"]}
        self._answered("grant", record, data, said | {"still_needed": data["still_needed"]})

    def _reviewed(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        granted = record["kind"] == "approval_granted"
        approval = self._row(ApprovalRequest, data["approval_id"])
        reviewer, reason = record["actor"]["id"], data["reason"]
        approval |= {
            "status": "granted" if granted else "denied",
            "reviewed_by": reviewer,
            "reviewed_at": parse_rfc3339(record["at"], field="at"),
            "reason": reason,
        }
        if granted:
            approval["use_by"] = parse_rfc3339(data["use_by"], field="use_by")
            self._granted_to_run = data["approval_id"] if approval.get("on_grant") == "run" else None
            if "votes" in data:  # a grant from before votes were counted says none
                approval["votes"] = json.encode(tuple(vote_from(each) for each in data["votes"]))
        said = {"status": approval["status"], "reviewed_by": reviewer, "reason": reason}
        self._answered("grant" if granted else "deny", record, data, said)

    def _cancelled(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        actor, reason = record["actor"]["id"], data["reason"]
        self._answered("cancel", record, data, {"status": "cancelled", "reviewed_by": actor, "reason": reason})
        self._hold_ended(record, data)

    def _answered(self, verdict: str, record: dict[str, Any], data: dict[str, Any], said: Fields) -> None:
        """The answer to whoever reviewed or cancelled."""
        self._review = {
            "id": data["approval_id"],
            "action_name": data["action"],
            "entity_id": self._entity.split(":", 1)[1],
            "reviewed_at": record["at"],
            "use_by": data.get("use_by"),
            "operation_id": None,
            "still_needed": [],
            **said,
        }
        compared = "\0".join((verdict, data["approval_id"], said["reviewed_by"], said["reason"]))
        row = self._row(CommandRow, data["command_id"])
        row |= {"digest": digest(compared.encode()), "status": "final", "operation_id": None, "answer": self._review}

    def _hold_ended(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        """A hold that led to no clearance: it expired, was cancelled, or (`action_blocked`) was denied."""
        if "receipt" not in data:
            return
        approval = self._row(ApprovalRequest, data["approval_id"])
        approval["holds"] = NO_HOLDS
        ended = _ENDED.get(record["kind"])
        if ended is not None:
            approval["status"] = ended
        if ended != "expired":
            self._review["receipt_id"] = data["receipt"]["id"]
        first = {"code": "state_not_allowed", "detail": {"entity": self._entity}, "outcome": "blocked"}
        row = self._row(CommandRow, approval["command_id"])
        if row["status"] != "open" or row["answer"]["approval_id"] != data["approval_id"]:
            return  # a final answer stands, and a call that was asked again may wait for another approval
        row |= {"status": "final", "operation_id": None}
        row["answer"] = {
            "proposal_id": approval["proposal_id"],
            "outcome": data["outcome"],
            "action": data["action"],
            "entity": self._entity,
            "receipt_id": data["receipt"]["id"],
            "trace_id": record["trace_id"],
            "reasons": data["reasons"] if ended else [first, *data["reasons"]],
            "approval_id": data["approval_id"],
        }

    def _settled(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        clearance = self._row(Clearance, data["operation_id"])
        at = parse_rfc3339(record["at"], field="at")
        clearance.update(status=data["status"], settled_by=data["by"], settled_at=at)
        clearance["told"] = told_with(clearance.get("told", ""), data["status"])
        if data["status"] == "succeeded":
            clearance["holds"] = NO_HOLDS
        if data["status"] != "unknown":
            self._runway.free(data["operation_id"])
        if data["by"] == "event":
            self._ingested["settled"] = data["operation_id"]
        self._completed(clearance, data["operation_id"], data["status"], data, message=data["message"])

    def _expired(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        at = parse_rfc3339(record["at"], field="at")
        ended = {"status": "expired", "settled_by": "deadline", "settled_at": at, "holds": NO_HOLDS}
        self._row(Clearance, data["operation_id"]).update(ended)
        self._runway.free(data["operation_id"])

    def _confirmed(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        if data["status"] == "succeeded" and data["by"] == "executor":
            clearance = self._row(Clearance, data["operation_id"])
            self._completed(clearance, data["operation_id"], "succeeded", data, message=data["message"])

    def _contradicted(self, record: dict[str, Any], data: dict[str, Any]) -> None:
        clearance = self._row(Clearance, data["operation_id"])
        clearance.update(status="unknown", disputed=True)
        if clearance["runway"] == self._entity:
            self._runway.doubt(data["operation_id"])
        self._completed(clearance, data["operation_id"], "unknown", {}, message=None)

    def _completed(
        self, clearance: Fields, operation_id: str, status: str, data: dict[str, Any], *, message: str | None
    ) -> None:
        """The answer that everybody who sent the command gets from now on."""
        if clearance["mode"] != "execute":
            return
        answer = {
            "proposal_id": clearance["proposal_id"],
            "outcome": "allowed",
            "action": clearance["action"],
            "entity": self._entity,
            "receipt_id": clearance["receipt_id"],
            "trace_id": clearance["trace_id"],
            "approval_id": clearance["approval_id"],
            "clearance_id": operation_id,
            "status": status,
            "executed": status == "succeeded",
            "reasons": [],
        }
        if message is not None:
            output = beside(self._store, self._tenant, data, "output")
            answer |= {"message": message, "output": orjson.loads(output) if output is not None else None}
        row = self._row(CommandRow, clearance["command_id"])
        row |= {"status": "final", "operation_id": operation_id, "answer": answer}
        row["digest"] = f"{clearance['mode']}:{clearance['action_digest']}"

    def _deadline(self, receipt_id: str) -> int | None:
        """Until when the clearance is good: its receipt says so, and the record binds the receipt."""
        receipt = self._store.receipt(self._tenant, receipt_id)
        if receipt is None:
            return None
        expires_at = orjson.loads(receipt.core).get("expires_at")
        return parse_rfc3339(expires_at, field="expires_at") if isinstance(expires_at, str) else None

    def _row(self, kind: type, key: str) -> Fields:
        if not isinstance(key, str):
            raise InvalidInput("expected the id of a row")
        return self._rows.setdefault((kind, key), {})


def _holds(data: dict[str, Any]) -> bytes:
    """What limits keep for it, as the row has it."""
    return json.encode(convert(data["holds"], tuple[Hold, ...])) if "holds" in data else NO_HOLDS


def event_digest(event: dict[str, Any], entity: str, payload: bytes) -> str:
    """The compared content of an ingested event, as its command row holds it."""
    return digest(b"\0".join((event["type"].encode(), entity.encode(), event["source"].encode(), payload)))


_TIMER = ("entity", "event", "state", "since", "due_at")
_ENDED = {"approval_cancelled": "cancelled", "approval_expired": "expired"}

_READ: dict[str, Callable[[EntityRows, dict[str, Any], dict[str, Any]], None]] = {
    "action_blocked": EntityRows._hold_ended,
    "action_executed": EntityRows._settled,
    "action_failed": EntityRows._settled,
    "action_unknown": EntityRows._settled,
    "action_validated": EntityRows._validated,
    "approval_cancelled": EntityRows._cancelled,
    "approval_denied": EntityRows._reviewed,
    "approval_expired": EntityRows._hold_ended,
    "approval_granted": EntityRows._reviewed,
    "approval_required": EntityRows._held,
    "approval_vote": EntityRows._voted,
    "clearance_expired": EntityRows._expired,
    "decision_recorded": EntityRows._decision,
    "event_ingested": EntityRows._event,
    "outcome_confirmed": EntityRows._confirmed,
    "outcome_contradicted": EntityRows._contradicted,
    "sensitive_erased": EntityRows._erased,
}
"""How each kind of record changes rows; the others change none."""
