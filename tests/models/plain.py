"""What KIFF must do, said again in plain Python: dictionaries, ifs and sums, and nothing of KIFF's is imported.

Written from the design's sections 2 to 5 and 9, for one domain (`plain_facts.py`). One call after the other. An id
ends in the tag of the call that drew it: `appr_<tag>`, `clr_<tag>`.

INVARIANT: values are immutable, so `copy` is cheap and two models compare by `key`.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from plain_facts import (
    ACTIONS,
    EMITTED,
    EXECUTOR_TIME,
    GRACE,
    HOUR,
    HOURLY_CAP,
    LOOK_COST,
    LOOKS_BURST,
    MAY_BE_TRIED_AGAIN,
    MOVES,
    PEOPLE,
    PLACES,
    SEVERITY,
    USE_WITHIN,
    Action,
    Answer,
    Approval,
    Call,
    Command,
    Error,
    Ingested,
    Op,
    Reviewed,
    Runway,
    Settled,
    Vote,
)


class Plain:
    """The whole tower, for one tenant."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.steady = 0
        self.last_at = 0
        self.entities: dict[str, tuple[str | None, int]] = {}
        self.runways: dict[str, Runway] = {}
        self.approvals: dict[str, Approval] = {}
        self.last_approval: dict[tuple[Any, ...], str] = {}
        self.ops: dict[str, Op] = {}
        self.commands: dict[str, Command] = {}
        self.charges: dict[str, tuple[str, int, int]] = {}
        """Holder -> (who, hour, amount): what counts towards an hourly budget."""
        self.paid_until: dict[str, Fraction] = {}
        self.places: dict[str, frozenset[str]] = {name: frozenset() for name in PLACES}
        self.freed: dict[str, tuple[str, int, int] | None] = {}
        """What an operation that failed let go of, should its failure be contradicted."""
        self.told: dict[str, Answer] = {}
        self.spent_by: dict[str, bool] = {}
        """Operations whose use is settled for good: they succeeded, or nobody said how they ended."""
        self.handed: dict[str, int | None] = {}
        """Operations that an executor of this process has, and when (steady) it is late; None once that was told."""

    def copy(self) -> Plain:
        other = Plain.__new__(Plain)
        other.__dict__.update({k: v.copy() if isinstance(v, dict) else v for k, v in self.__dict__.items()})
        return other

    def key(self) -> Any:
        return tuple(frozenset(v.items()) if isinstance(v, dict) else v for v in self.__dict__.values())

    @property
    def at(self) -> int:
        """The time of a log never goes back."""
        return max(self.now, self.last_at)

    def _recorded(self) -> None:
        self.last_at = self.at

    # proposals

    def propose(self, call: Call, command: str, tag: str, approval: str | None = None) -> Answer | Error:
        known = self.commands.get(command)
        if known is not None and known.compared != call.compared:
            return Error("idempotency_conflict")
        if known is not None and known.status in ("final", "running"):
            answer: Answer = known.answer
            return answer
        return self._attempt(call, command, tag, approval)

    def _attempt(self, call: Call, command: str, tag: str, named: str | None) -> Answer:
        action = ACTIONS.get(call.action)
        state, version = self.entities.get(call.entity, (None, 0))
        approval, standing = self._standing(call, named, version)
        own = approval if standing not in (None, "mismatch") else None
        runway = call.entity if action is None or action.lock == "entity" else action.lock
        self._end_silent_holder(runway)
        reasons, over = self._objections(call, action, state, runway, own, standing)
        self._recorded()
        outcome = reasons[0][1] if reasons else "allowed"
        codes = tuple(code for code, _ in reasons)
        about = own.id if own is not None else named
        if outcome == "allowed":
            assert action is not None
            return self._clear(call, action, command, tag, own, standing, runway)
        if outcome == "approval_required":
            assert action is not None
            return self._hold(call, action, command, tag, own, standing, version, codes, over)
        answer = Answer(outcome, codes, about)
        status = "open" if codes[0] in MAY_BE_TRIED_AGAIN else "final"
        self.commands[command] = Command(call.compared, status, answer)
        return answer

    def _standing(self, call: Call, named: str | None, version: int) -> tuple[Approval | None, str | None]:
        """How the approval that is named, or the last one for the same call, stands towards this call now."""
        if named is not None:
            approval = self.approvals.get(named)
            if approval is None or approval.call.same != call.same or self._is_void(approval, version):
                return approval, "mismatch"
            if approval.due_at is not None:
                good = self.at < approval.due_at
                return approval, approval.status if good else "expired"
            return approval, {"consumed": "used", "denied": "denied"}.get(approval.status, "expired")
        approval = self.approvals.get(self.last_approval.get(call.same, ""))
        if approval is None or self._is_void(approval, version):
            return approval, None
        if approval.status == "denied":
            return approval, "denied" if approval.version == version else None
        good = approval.due_at is not None and self.at < approval.due_at
        return approval, "pending" if good else None  # a grant is used by name only

    def _is_void(self, approval: Approval, version: int) -> bool:
        moved = ACTIONS[approval.call.action].binds and approval.version != version
        return moved and approval.status in ("pending", "granted")

    def _end_silent_holder(self, runway: str) -> None:
        """A clearance whose time is up, and whose app never promised a report, holds nothing any more."""
        holder = self.runways.get(runway, Runway()).holder if runway else None
        if holder is not None:
            self._expire_op(holder)

    def _objections(
        self,
        call: Call,
        action: Action | None,
        state: str | None,
        runway: str,
        own: Approval | None,
        standing: str | None,
    ) -> tuple[list[tuple[str, str]], bool]:
        """(code, outcome) of every objection, the most severe first, in the gate's order; whether a cap is passed that
        a person may let it over."""
        if action is None:
            return [("unknown_action", "invalid")], False
        found: list[tuple[str, str]] = []
        over = False
        granted = {rule for rule, _ in own.demands} if own is not None and standing == "granted" else set()
        if call.amount is None:
            found.append(("missing_parameter", "invalid"))
        if state != "OPEN":
            found.append(("state_not_allowed", "blocked"))
        if "pay" not in PEOPLE[call.who].may:
            found.append(("permission_denied", "blocked"))
        if call.amount is not None and state is not None:
            if action.budget and self.spent(call.who, without=own) + call.amount > HOURLY_CAP:
                found.append(("budget_exceeded", "limit_exceeded"))
            if action.rate:
                asked = 0 if own is not None and own.keeps_token else 1
                if self.looks(call.who) + asked > LOOKS_BURST:
                    over = True
                    if "looks" not in granted:
                        found.append(("looks", "approval_required"))
            if action.places and len(self.places[action.places]) + 1 > PLACES[action.places]:
                if action.places == "looking":
                    found.append(("concurrency_exceeded", "limit_exceeded"))
                else:
                    over = True
                    if "sending" not in granted:
                        found.append(("sending", "approval_required"))
        if runway and self.runways.get(runway, Runway()).holder is not None:
            found.append(("entity_busy", "blocked"))
        if standing == "denied":
            found += [("state_not_allowed", "blocked")] if state == "OPEN" else []
            found.append(("approval_denied", "blocked"))
        elif standing in ("used", "expired", "mismatch"):
            found.append((f"approval_{standing}", "blocked"))
        elif action.asks and "approval_required" not in granted:
            found.append(("approval_required", "approval_required"))
        if standing == "pending" and not any(outcome == "approval_required" for _, outcome in found):
            found.append(("approval_required", "approval_required"))
        return sorted(found, key=lambda each: -SEVERITY[each[1]]), over

    def spent(self, who: str, *, without: Approval | None = None) -> int:
        """What counts in this hour, but for what an approval keeps itself."""
        hour = self.at // HOUR
        own = without.id if without is not None and without.keeps_amount else None
        return sum(n for key, (whose, when, n) in self.charges.items() if (whose, when) == (who, hour) and key != own)

    def looks(self, who: str) -> int:
        """Calls that are not paid for yet: each costs its part of the window."""
        ahead = max(self.paid_until.get(who, Fraction(0)), Fraction(self.at)) - self.at
        return -(-ahead // LOOK_COST)

    def _take_token(self, who: str) -> None:
        self.paid_until[who] = max(self.paid_until.get(who, Fraction(0)), Fraction(self.at)) + LOOK_COST

    def _clear(
        self,
        call: Call,
        action: Action,
        command: str,
        tag: str,
        own: Approval | None,
        standing: str | None,
        runway: str,
    ) -> Answer:
        op = f"clr_{tag}"
        executes = call.mode == "execute"
        fencing = self.runways.get(runway, Runway()).fencing + 1 if runway else 0
        if runway:
            self.runways[runway] = Runway(op, fencing)
        if action.rate and not (own is not None and own.keeps_token):
            self._take_token(call.who)
        if action.places:
            self.places[action.places] |= {op}
        used = None
        if own is not None:
            used = own.id
            self.charges.pop(own.id, None)
            if standing == "granted":
                self.approvals[own.id] = own._replace(
                    status="consumed", used_by=op, keeps_token=False, keeps_amount=False
                )
        if action.budget:
            assert call.amount is not None
            self.charges[op] = (call.who, self.at // HOUR, call.amount)
        deadline = self.at + (EXECUTOR_TIME if executes else action.app_time)
        self.ops[op] = Op(op, call, command, used, runway, fencing, deadline)
        answer = Answer("allowed", (), used, op, waits=executes)
        self.commands[command] = Command(call.compared, "running" if executes else "final", answer)
        if executes:
            self.handed[op] = self.steady + EXECUTOR_TIME
        return answer

    def _hold(
        self,
        call: Call,
        action: Action,
        command: str,
        tag: str,
        own: Approval | None,
        standing: str | None,
        version: int,
        codes: tuple[str, ...],
        over: bool,
    ) -> Answer:
        demands = (("approval_required", action.quorum),) if action.asks else ()
        if over:
            demands += (("looks" if action.rate else "sending", action.quorum),)
        opened = own if own is not None and standing == "pending" and set(demands) <= set(own.demands) else None
        if opened is None:
            id = f"appr_{tag}"
            keeps_token = own is not None and own.keeps_token
            if action.rate and not keeps_token and not over:
                self._take_token(call.who)
                keeps_token = True
            if own is not None:
                self.charges.pop(own.id, None)
                self.approvals[own.id] = own._replace(keeps_token=False, keeps_amount=False)
            if action.budget:
                assert call.amount is not None
                self.charges[id] = (call.who, self.at // HOUR, call.amount)
            opened = Approval(
                id,
                call,
                command,
                version,
                demands,
                self.at + action.answer_within,
                keeps_token=keeps_token,
                keeps_amount=action.budget,
            )
            self.approvals[id] = opened
        self.last_approval[call.same] = opened.id
        answer = Answer("approval_required", codes, opened.id)
        self.commands[command] = Command(call.compared, "open", answer)
        return answer

    # reviews

    def review(
        self, who: str, verdict: str, approval_id: str, command: str, tag: str, use_by: int | None = None
    ) -> Reviewed | Error:
        compared = (verdict, approval_id, who)
        known = self.commands.get(command)
        if known is not None:
            return known.answer if known.compared == compared else Error("idempotency_conflict")
        approval = self.approvals.get(approval_id)
        if approval is None:
            return Error("not_found")
        refusal = self._may_not_review(who, verdict, approval)
        if refusal is not None:
            self._recorded()
            return Error(refusal)
        if approval.status == "pending" and self.at >= approval.expires_at:
            self._expire_approval(approval)
            approval = self.approvals[approval_id]
        if approval.status != "pending":
            return Error("approval_decided")
        if verdict == "grant":
            answer = self._grant(who, approval, tag, use_by)
        else:
            answer = self._end(approval, "denied" if verdict == "deny" else "cancelled")
        if isinstance(answer, Reviewed):
            self._recorded()
            self.commands[command] = Command(compared, "final", answer)
        return answer

    def _may_not_review(self, who: str, verdict: str, approval: Approval) -> str | None:
        proposer = approval.call.who
        if verdict == "cancel":
            return None if who == proposer else "permission_denied"
        names = {proposer} if PEOPLE[proposer].kind == "agent" else {proposer, PEOPLE[proposer].person}
        if {who, PEOPLE[who].person} & names:
            return "proposer_is_reviewer"
        if PEOPLE[who].kind != "human" or "approve" not in PEOPLE[who].may:
            return "permission_denied"
        return None

    def _grant(self, who: str, approval: Approval, tag: str, use_by: int | None) -> Reviewed | Error:
        votes = tuple(vote for vote in approval.votes if vote.use_by is None or self.at < vote.use_by)
        if any(vote.person == PEOPLE[who].person for vote in votes):
            return Error("already_reviewed")
        votes += (Vote(who, PEOPLE[who].person, use_by),)
        still = tuple((rule, quorum - len(votes)) for rule, quorum in approval.demands if quorum > len(votes))
        if still:
            self.approvals[approval.id] = approval._replace(votes=votes)
            return Reviewed("pending", None, None, still)
        ends = [self.at + USE_WITHIN, *(vote.use_by for vote in votes if vote.use_by is not None)]
        self.approvals[approval.id] = approval._replace(votes=votes, status="granted", use_by=min(ends))
        decision = None
        if ACTIONS[approval.call.action].runs and self.commands[approval.command].status == "open":
            decision = self._attempt(approval.call, approval.command, tag, approval.id)
        runs = decision is not None and decision.waits
        operation = decision.operation if decision is not None and runs else None
        return Reviewed("granted", operation, None if runs else decision, ())

    def _end(self, approval: Approval, status: str) -> Reviewed:
        """The end of a hold that led to nothing: it keeps nothing, and the call that waits for it has its answer."""
        self.approvals[approval.id] = approval._replace(status=status, keeps_token=False, keeps_amount=False)
        self.charges.pop(approval.id, None)
        code = ("state_not_allowed", "approval_denied") if status == "denied" else ("approval_expired",)
        waiting = self.commands[approval.command]
        if waiting.status == "open" and waiting.answer.approval == approval.id:
            answer = Answer("blocked", code, approval.id)
            self.commands[approval.command] = Command(waiting.compared, "final", answer)
        return Reviewed(status, None, None, ())

    def _expire_approval(self, approval: Approval) -> None:
        self._recorded()
        self._end(approval, "expired")

    # outcomes

    def report(self, op_id: str, status: str) -> None:
        """An executor's word, or nobody's (`unknown`)."""
        self.handed.pop(op_id, None)
        if op_id in self.ops:
            self._settle(op_id, status, "executor")

    def settle(self, who: str, op_id: str, status: str) -> Settled | Error:
        op = self.ops.get(op_id)
        if op is None:
            return Error("not_found")
        told = op.settled_by in ("app", "event") and not op.disputed
        if who == op.call.who and op.call.mode == "decide" and (op.status in ("open", "expired") or told):
            return self._settle(op_id, status, "app")
        proposer = op.call.who
        names = {proposer} if PEOPLE[proposer].kind == "agent" else {proposer, PEOPLE[proposer].person}
        if PEOPLE[who].kind != "human" or {who, PEOPLE[who].person} & names or "approve" not in PEOPLE[who].may:
            return Error("permission_denied")
        return self._settle(op_id, status, "person")

    def _settle(self, op_id: str, status: str, by: str) -> Settled | Error:
        op = self.ops[op_id]
        if op.status == "open" or (op.status in ("unknown", "expired") and status != "unknown"):
            self._finish(op, status, by, emits=True)
            return Settled(status, self.entities[op.call.entity][0], op.status != "open", False)
        if status in (op.status, "unknown"):
            if status == op.status and by != op.settled_by:
                self._recorded()
            return Settled(op.status, self.entities[op.call.entity][0], False, True)
        self._contradicted(op)
        return Error("operation_settled")

    def _finish(self, op: Op, status: str, by: str, *, emits: bool) -> None:
        self._recorded()
        if status != "unknown" and op.id not in self.spent_by:  # while nobody knows, it stays used
            self._leave(op)
            if status == "succeeded":
                self.spent_by[op.id] = True
            else:
                self.freed[op.id] = self.charges.pop(op.id, None)
        if emits and status in EMITTED and status not in op.told:  # contradicted and confirmed, it is told once
            self._move(op.call.entity, EMITTED[status])
        op = op._replace(told=(*op.told, *({status} - {"unknown"})))
        if status != "unknown":
            self._free(op)
        self.ops[op.id] = op._replace(status=status, settled_by=by)
        self._complete(op, status)

    def _leave(self, op: Op) -> None:
        name = ACTIONS[op.call.action].places
        if name:
            self.places[name] -= {op.id}

    def _free(self, op: Op) -> None:
        runway = self.runways.get(op.runway) if op.runway else None
        if runway is None:
            return
        waiting = [other for other in runway.in_doubt if other != op.id]
        holder = runway.holder
        if holder == op.id:
            holder = waiting.pop(0) if waiting else None
        self.runways[op.runway] = Runway(holder, runway.fencing, tuple(waiting))

    def _contradicted(self, op: Op) -> None:
        """Two sources disagree about one effect: nobody knows, so it counts and holds again until a person looks."""
        self._recorded()
        if op.id in self.freed and op.id not in self.spent_by:
            charge = self.freed.pop(op.id)
            if charge is not None:
                self.charges[op.id] = charge
            name = ACTIONS[op.call.action].places
            if name:
                self.places[name] |= {op.id}
        runway = self.runways.get(op.runway) if op.runway else None
        if runway is not None and runway.holder is None:
            self.runways[op.runway] = runway._replace(holder=op.id)
        elif runway is not None and runway.holder != op.id:
            self.runways[op.runway] = runway._replace(in_doubt=(*runway.in_doubt, op.id))
        self.ops[op.id] = op._replace(status="unknown", disputed=True)
        self._complete(op, "unknown")

    def _complete(self, op: Op, status: str) -> None:
        if op.call.mode == "execute":
            answer = Answer("allowed", (), op.approval, op.id, status)
            self.commands[op.command] = Command(op.call.compared, "final", answer)
            self.told.setdefault(op.id, answer)

    def _expire_op(self, op_id: str) -> None:
        """Nobody promised a report, so its end is unreported, and what it may have used stays used."""
        op = self.ops[op_id]
        if op.status == "open" and op.call.mode == "decide" and not op.call.settles and self.at >= op.deadline:
            self._recorded()
            self._leave(op)
            self.spent_by[op_id] = True
            self._free(op)
            self.ops[op_id] = op._replace(status="expired", settled_by="deadline")

    # events

    def ingest(self, who: str, event: str, entity: str, command: str) -> Ingested | Error:
        known = self.commands.get(command)
        if known is not None:
            return known.answer if known.compared == (event, entity) else Error("idempotency_conflict")
        holder = self.runways.get(entity, Runway()).holder
        op = self.ops[holder] if holder is not None else None
        if op is not None and op.status not in ("open", "unknown"):
            op = None
        own = op is not None and op.call.who == who and op.call.mode == "decide" and op.status == "open"
        if "ingest" not in PEOPLE[who].may and not (own and event in EMITTED.values()):
            return Error("permission_denied")
        self._recorded()
        applied = self._move(entity, event)
        settled = None
        if op is not None and applied and event in EMITTED.values():
            status = next(status for status, emitted in EMITTED.items() if emitted == event)
            self._finish(op, status, "event", emits=False)
            settled = op.id
        state, version = self.entities.get(entity, (None, 0))
        answer = Ingested(state, version, applied, settled)
        self.commands[command] = Command((event, entity), "final", answer)
        return answer

    def _move(self, entity: str, event: str) -> bool:
        state, version = self.entities.get(entity, (None, 0))
        after = MOVES.get((state, event))
        if after is None:
            return False
        self.entities[entity] = (after, version + 1)
        return True

    # what anybody may read

    def state(self, entity: str) -> tuple[str | None, int]:
        return self.entities.get(entity, (None, 0))

    def ended(self, op_id: str, status: str) -> bool:
        """Whether an operation ended like this for those who waited: as it first did, or as it stands by now."""
        return op_id in self.told and status in (self.told[op_id].status, self.ops[op_id].status)

    def statuses(self) -> tuple[tuple[str, str], ...]:
        """Of every approval."""
        return tuple(sorted((each.id, each.status) for each in self.approvals.values()))

    # time

    def pass_time(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.steady += max(0, milliseconds)

    def sweep(self) -> None:
        for op_id, late_at in list(self.handed.items()):
            if late_at is not None and late_at <= self.steady:
                self.handed[op_id] = None
                self._settle(op_id, "unknown", "deadline")
        for each in self._due():
            if isinstance(each, Approval):
                self._expire_approval(each)
            elif each.call.mode == "decide" and not each.call.settles:
                self._expire_op(each.id)
            else:
                self._settle(each.id, "unknown", "deadline")

    def _due(self) -> list[Approval | Op]:
        due: list[Approval | Op] = [
            each for each in self.approvals.values() if each.due_at is not None and each.due_at <= self.now
        ]
        grace = {"execute": GRACE, "decide": 0}
        return due + [
            each
            for each in self.ops.values()
            if each.status == "open" and each.deadline + grace[each.call.mode] <= self.now
        ]

    def restart(self) -> None:
        """The process that ran it is gone: what it had in hand is unknown, and is not sent again."""
        self.handed.clear()
        for op in list(self.ops.values()):
            if op.status == "open" and op.call.mode == "execute":
                self._settle(op.id, "unknown", "recovery")

    def waiting_for(self, ids: Iterable[str]) -> dict[str, Answer]:
        """Operations of which those who waited have their answer by now: how it first ended."""
        return {id: self.told[id] for id in ids if id in self.told}
