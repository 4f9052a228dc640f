"""What must be true whatever happens, said of rows and of what callers and executors saw (DESIGN section 9).

Truth is not taken from digests or flags that the kernel wrote, but from what was sent (`truth_of`), and from the plain
model's own tables of who people are and what actions ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
from plain_facts import ACTIONS, HOURLY_CAP, PEOPLE, PLACES

from kiff.errors import IdempotencyConflict, KiffError
from kiff.gate.quorum import votes_of
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.limit import Usage
from kiff.protocol.state import EntityState
from kiff.runtime.answers import Decided, Ingested, Reviewed
from kiff.runtime.commands import Command, Ingest, Propose, Review
from kiff.runtime.ports import Key
from kiff.runtime.rows import CommandRow, Runway
from kiff.runtime.world import Change

TENANT = "default"


class Truth(NamedTuple):
    """A call as its caller meant it."""

    who: str
    action: str
    entity: str
    amount: int


Truths = Mapping[str, Truth]
"""Suffix of a proposal's ids -> the call."""


def truth_of(commands: Iterable[Command]) -> dict[str, Truth]:
    """What each proposal is about, read off what was sent. A grant that decides again is about what it grants."""
    known: dict[str, Truth] = {}
    for command in commands:
        if isinstance(command, Propose):
            call = command.proposal
            known[command.suffix] = Truth(call.principal.id, call.action, call.entity, call.parameters["amount"])
        elif isinstance(command, Review):
            known[command.suffix] = known[command.approval_id.removeprefix("appr_")]
    return known


class Happened(NamedTuple):
    """What the outside saw.

    Args:
        working: operations that an executor has.
        handed: every operation that ever was handed to one, in order.
        emitted: operations whose effect was told to their entity, and as what.
        spent: operations that succeeded, or whose end nobody reported, whatever was said of them later.
        answers: (id of a command, its first final answer as its caller saw it).
    """

    working: tuple[str, ...] = ()
    handed: tuple[str, ...] = ()
    emitted: tuple[str, ...] = ()
    answers: frozenset[tuple[str, Any]] = frozenset()
    spent: frozenset[str] = frozenset()

    def key(self) -> Any:
        return (
            tuple(sorted(self.working)),
            tuple(sorted(self.handed)),
            tuple(sorted(self.emitted)),
            self.answers,
            self.spent,
        )

    def reported(self, operation: str) -> Happened:
        left = list(self.working)
        left.remove(operation)
        return self._replace(working=tuple(left))

    def written(self, change: Change) -> Happened:
        """A commit, of which nobody was told yet."""
        emitted = tuple(
            f"{r.causation_id} {r.data['event']['type']}"
            for r in change.records
            if r.kind == "event_ingested" and r.causation_id[:4] == "clr_"
        )
        spent = {
            r.id for r in change.rows.values() if isinstance(r, Clearance) and r.status in ("succeeded", "expired")
        }
        return self._replace(emitted=self.emitted + emitted, spent=self.spent | spent)

    def told(self, change: Change, command: Command) -> Happened:
        """What a replica says when it knows that it was written: callers have their answer, executors their work."""
        now = self
        if change.run is not None:
            id = change.run[0].id
            now = now._replace(working=(*now.working, id), handed=(*now.handed, id))
        final = _final(change, command)
        if final is not None and all(id != final[0] for id, _ in now.answers):
            now = now._replace(answers=now.answers | {final})
        return now


def _final(change: Change, command: Command) -> tuple[str, Any] | None:
    """The id and content of a command, and its answer, when that stands from now on."""
    shown = _shown(change.answer)
    if shown is None or not isinstance(command, Propose | Review | Ingest):
        return None
    row = change.get(CommandRow, command.id)
    stands = row is not None and row.status == "final" and row.digest == command.digest
    return (f"{command.id} {command.digest}", shown) if stands else None


def _shown(answer: Any) -> Any:
    """What may not change in an answer. How an operation ended may: what was unknown is settled later."""
    if isinstance(answer, Decided):
        codes = tuple(reason.code for reason in answer.reasons)
        return answer.outcome, codes, answer.approval_id, answer.clearance_id
    if isinstance(answer, Reviewed):
        return answer.status, answer.operation_id
    return (answer.state, answer.version, answer.settled) if isinstance(answer, Ingested) else None


Rows = Mapping[Key, Any]


def broken_promise(
    truths: Truths, before: Rows, after: Rows, change: Change, command: Command, happened: Happened, *, delivered: bool
) -> str:
    """The first promise that a commit breaks; empty when it breaks none."""
    found = [*_answered(change, command, happened), *_receipts(change), *_moved(before, after, change)]
    found += [*_who_tells(truths, before, change, command), *_outside(after, happened)]
    found += _started(after, change) if delivered else ()
    if change.rows:
        found += held_by(truths, after, happened)
    return found[0] if found else ""


def broken_by_telling(rows: Rows, change: Change, command: Command, happened: Happened) -> str:
    """As `broken_promise`, of a replica that only now learns that it wrote; others may have written since."""
    found = [*_outside(rows, happened), *_started(rows, change)]
    final = _final(change, command)
    if final is not None and dict(happened.answers)[final[0]] != final[1]:
        found.append(f"12: `{final[0]}` was answered {dict(happened.answers)[final[0]]}, and now {final[1]}")
    return found[0] if found else ""


def held_by(truths: Truths, rows: Rows, happened: Happened) -> Iterator[str]:
    """What must be true of any rows, however they came about."""
    approvals = [row for row in rows.values() if isinstance(row, ApprovalRequest)]
    clearances = [row for row in rows.values() if isinstance(row, Clearance)]
    for approval in approvals:
        yield from _voted(truths, approval)
    for clearance in clearances:
        yield from _cleared(truths, rows, clearance)
    yield from _once(clearances)
    yield from _alone(truths, rows, clearances)
    yield from _counted(truths, rows, approvals, clearances, happened)


def _answered(change: Change, command: Command, happened: Happened) -> Iterator[str]:
    """Invariant 12: the first final answer is the answer; other content under the same id is refused."""
    if not isinstance(command, Propose | Review | Ingest):
        return
    first, own = dict(happened.answers), f"{command.id} {command.digest}"
    if own in first and _shown(change.answer) != first[own]:
        yield f"12: `{command.id}` was answered {first[own]}, and now {change.answer!r}"
    if isinstance(command, Propose) and not isinstance(change.answer, IdempotencyConflict):
        other = [id for id in first if id.startswith(f"{command.id} ") and id != own]
        if other:
            yield f"12: `{command.id}` was taken for another call before"


def _receipts(change: Change) -> Iterator[str]:
    """Invariant 2: one attempt, one receipt."""
    ids = [record.receipt.id for record in change.records if record.receipt is not None]
    decided = [record for record in change.records if record.kind == "decision_recorded"]
    if len(ids) != len(set(ids)) or any(record.receipt is None for record in decided) or len(decided) > 1:
        yield f"2: a step with {len(decided)} decisions has the receipts {ids}"


_WAYS = {
    Clearance: {
        "open": {"succeeded", "failed", "cancelled", "unknown", "expired"},
        "unknown": {"succeeded", "failed", "cancelled"},
        "expired": {"succeeded", "failed", "cancelled"},
        "succeeded": {"unknown"},
        "failed": {"unknown"},
        "cancelled": {"unknown"},
    },
    ApprovalRequest: {
        "pending": {"granted", "denied", "expired", "cancelled", "consumed"},
        "granted": {"consumed", "expired"},
    },
}
"""status -> what it may become. With `on_grant: run`, granted and consumed are one step."""


def _moved(before: Rows, after: Rows, change: Change) -> Iterator[str]:
    """Statuses go their ways, and time is what ends things, not somebody's sweep."""
    for row in change.rows.values():
        ways = _WAYS.get(type(row))
        old = before[type(row), TENANT, row.id] if ways is not None else None
        if ways is None or old is None or old.status == row.status:
            continue
        if row.status not in ways.get(old.status, ()):
            yield f"9, 16: `{row.id}` became {row.status} after {old.status}"
        if row.status == "unknown" and old.status != "open" and not row.disputed:
            yield f"16: `{row.id}` is unknown after it was {old.status}, and nobody disputes it"
        if isinstance(row, Clearance) and row.status == "expired" and change.at < row.deadline:
            yield f"10: `{row.id}` expired before its time"
        if isinstance(row, ApprovalRequest):
            yield from _ended_in_time(after, change, old, row)


def _ended_in_time(after: Rows, change: Change, old: ApprovalRequest, row: ApprovalRequest) -> Iterator[str]:
    if row.status in ("granted", "denied", "consumed") and old.status == "pending" and change.at >= old.expires_at:
        yield f"9: `{row.id}` was answered after its time"
    if row.status == "consumed":
        if change.at >= (row.use_by or 0):
            yield f"9: `{row.id}` was used after its time"
        entity = after[EntityState, TENANT, row.entity]
        if ACTIONS[row.action].binds and entity.version != row.entity_version:
            yield f"9: `{row.id}` was used on another version of the entity"


def _who_tells(truths: Truths, before: Rows, change: Change, command: Command) -> Iterator[str]:
    """Invariant 21: who may not ingest tells only of their own open operation."""
    if not isinstance(command, Ingest) or isinstance(change.answer, KiffError):
        return
    if "ingest" in PEOPLE[command.caller.principal.id].may or not change.records:
        return
    runway = before[Runway, TENANT, command.event.entity]
    operation = None if runway is None or runway.holder is None else before[Clearance, TENANT, runway.holder]
    if operation is None or operation.status != "open" or _truth(truths, operation).who != command.caller.principal.id:
        yield f"21: `{command.caller.principal.id}` said that {command.event.type} happened"


def _started(rows: Rows, change: Change) -> Iterator[str]:
    """Invariant 1: only what is cleared and durable runs, and nothing that was given up."""
    if change.run is None:
        return
    clearance = rows[Clearance, TENANT, change.run[0].id]
    if clearance is None or (clearance.status != "open" and clearance.settled_by in ("deadline", "recovery")):
        yield f"1: `{change.run[0].id}` runs, and its clearance is {clearance and clearance.status}"


def _outside(after: Rows, happened: Happened) -> Iterator[str]:
    """Invariant 16: what is cleared runs once, and its effect is told to its entity once."""
    for what, ids in (("was handed to an executor", happened.handed), ("changed its entity", happened.emitted)):
        twice = {id for id in ids if ids.count(id) > 1}
        yield from (f"16: `{id}` {what} twice" for id in sorted(twice))


def _voted(truths: Truths, approval: ApprovalRequest) -> Iterator[str]:
    """Invariants 3 and 9: enough different people, none of whom proposed, and whose yes stood when it was needed."""
    votes, truth = votes_of(approval), truths[approval.id.removeprefix("appr_")]
    proposer = PEOPLE[truth.who]
    names = {truth.who} if proposer.kind == "agent" else {truth.who, proposer.person}
    for vote in votes:
        voter = PEOPLE[vote.by]
        if {vote.by, voter.person} & names:
            yield f"3: `{vote.by}` said yes to what `{truth.who}` proposed"
        if voter.kind != "human" or "approve" not in voter.may:
            yield f"3: `{vote.by}` said yes, and may not"
    if approval.status not in ("granted", "consumed"):
        return
    at = approval.reviewed_at or 0
    standing = {PEOPLE[vote.by].person for vote in votes if vote.use_by is None or at < vote.use_by or vote.at == at}
    if len(standing) < ACTIONS[truth.action].quorum:
        yield f"9: `{approval.id}` was granted by {sorted(standing)}"
    if any(vote.use_by is not None and (approval.use_by or 0) > vote.use_by for vote in votes):
        yield f"9: `{approval.id}` is good for longer than one of its votes"


def _truth(truths: Truths, clearance: Clearance) -> Truth:
    """The call that an operation came of: of the command that cleared it, or of the hold that a grant ended."""
    direct = truths.get(clearance.id.removeprefix("clr_"))
    return direct or truths[(clearance.approval_id or "").removeprefix("appr_")]


def _cleared(truths: Truths, rows: Rows, clearance: Clearance) -> Iterator[str]:
    """Invariant 9: what asks for a person ran by a grant of its own, for this very call."""
    truth = _truth(truths, clearance)
    if not ACTIONS[truth.action].asks:
        return
    approval = rows[ApprovalRequest, TENANT, clearance.approval_id or ""]
    if approval is None or approval.status != "consumed" or approval.consumed_by != clearance.id:
        yield f"9: `{clearance.id}` has no approval of its own"
    elif truths[approval.id.removeprefix("appr_")] != truth:
        yield f"9: `{approval.id}` was given for another call than `{clearance.id}`"


def _once(clearances: list[Clearance]) -> Iterator[str]:
    """Invariant 12: one call runs once."""
    calls = [clearance.command_id for clearance in clearances]
    yield from (f"12: `{id}` was cleared {calls.count(id)} times" for id in set(calls) if calls.count(id) > 1)


def _alone(truths: Truths, rows: Rows, clearances: list[Clearance]) -> Iterator[str]:
    """Invariant 10: two actors never both hold one runway, and what nobody knows holds it still."""
    held: dict[str, list[Clearance]] = {}
    for clearance in clearances:
        lock = ACTIONS[_truth(truths, clearance).action].lock
        if lock and clearance.status in ("open", "unknown"):
            held.setdefault(clearance.entity if lock == "entity" else f"lock/tills/{lock}", []).append(clearance)
    for name, holders in held.items():
        sure = [each.id for each in holders if not each.disputed]
        runway = rows[Runway, TENANT, name]
        if len(sure) > 1:
            yield f"10: {sure} hold `{name}`"
        if runway is None or runway.holder not in [each.id for each in holders]:
            yield f"10: `{name}` is free, and {[each.id for each in holders]} are in flight"
        elif sure and runway.holder not in sure and not rows[Clearance, TENANT, runway.holder].disputed:
            yield f"10: `{name}` is held by `{runway.holder}`, and {sure} are in flight"


_COUNTS = ("open", "unknown")


def _counted(
    truths: Truths, rows: Rows, approvals: list[ApprovalRequest], clearances: list[Clearance], happened: Happened
) -> Iterator[str]:
    """Invariant 11: caps hold, and what counts is what happened, may have happened, or is held for an answer."""
    amounts: dict[str, int] = {}
    disputed: dict[str, int] = {}
    for approval in approvals:
        truth = truths[approval.id.removeprefix("appr_")]
        if ACTIONS[truth.action].budget and approval.status in ("pending", "granted"):
            amounts[truth.who] = amounts.get(truth.who, 0) + truth.amount
    flying: dict[str, set[str]] = {}
    for clearance in clearances:
        truth = _truth(truths, clearance)
        if ACTIONS[truth.action].budget and (clearance.status in _COUNTS or clearance.id in happened.spent):
            amounts[truth.who] = amounts.get(truth.who, 0) + truth.amount
            if clearance.disputed:  # it was said to have failed, so others had its place meanwhile
                disputed[truth.who] = disputed.get(truth.who, 0) + truth.amount
        if ACTIONS[truth.action].places and clearance.status in ("open", "unknown"):
            flying.setdefault(ACTIONS[truth.action].places, set()).add(clearance.id)
    for who, used in amounts.items():
        if used - disputed.get(who, 0) > HOURLY_CAP:
            yield f"11: `{who}` uses {used} of {HOURLY_CAP}"
    counts = [row for row in rows.values() if isinstance(row, Usage)]
    for row in counts:
        yield from _tallied(row, amounts, flying)
    if amounts and not any(row.kind == "budget" for row in counts):
        yield f"11: nothing counts, and {amounts} was used"
    if len(flying.get("looking", ())) > PLACES["looking"]:
        yield f"11: {sorted(flying['looking'])} are in flight at once"


def _tallied(row: Usage, amounts: dict[str, int], flying: dict[str, set[str]]) -> Iterator[str]:
    _, limit, _, key = row.id.split("/")
    count = orjson.loads(row.state)
    used = amounts.get(key, 0)
    if limit == "hourly" and count["spent"] + count["held"] != used:
        yield f"11: {count['spent']} spent and {count['held']} held count for `{key}`, and it used {used}"
    if limit in PLACES and set(count["holders"]) != flying.get(limit, set()):
        yield f"11: {count['holders']} count as in flight, and {sorted(flying.get(limit, ()))} are"
