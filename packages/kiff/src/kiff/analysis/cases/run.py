"""Playing cases: each in a world of its own, step by step, until one does not come out as expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct, json

from kiff.analysis.cases.because import because
from kiff.analysis.cases.document import Call, Case, Happening, Report, Review, Step, Thing
from kiff.analysis.cases.expectation import Difference, Seen, differences
from kiff.analysis.cases.source import Subject
from kiff.analysis.cases.structure import terms_of
from kiff.analysis.cases.world import World
from kiff.domain.expr import EvaluationError
from kiff.errors import InvalidInput, KiffError, NotFound
from kiff.gate.quorum import asked_for, demands_of
from kiff.protocol.actor import Caller
from kiff.protocol.decision import Objection
from kiff.protocol.proposal import Proposal
from kiff.protocol.record import Record
from kiff.protocol.state import EntityState
from kiff.runtime.answers import Decided, Executed, Ingested, Reviewed, Settled
from kiff.runtime.step.fold import attributes_of


class Failure(Struct, frozen=True):
    """A step that came out otherwise.

    Args:
        line: of the step.
        seen: what came of it.
        because: of a call: what its conditions came to, a line each.
    """

    line: int
    differences: tuple[Difference, ...]
    seen: Seen
    because: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The difference as people read it."""
        width = max(len(each.what) for each in self.differences)
        lines = [f"{each.what:<{width}}  expected {_shown(each.expected)}" for each in self.differences]
        found = [f"{'':<{width}}  found    {_shown(each.found)}" for each in self.differences]
        told = [line for pair in zip(lines, found, strict=True) for line in pair]
        said = [
            f"{'said':<{width}}  {text}"
            for text in self.seen.messages[:1]
            if self.seen.outcome not in (None, "allowed")
        ]
        return (*told, *said, *(f"{'from' if not n else '':<{width}}  {line}" for n, line in enumerate(self.because)))


class Played(Struct, frozen=True):
    """A case that was played.

    Args:
        failure: None when everything was as expected.
        records: what the log would say.
        before: the entities as the case found them.
    """

    case: Case
    failure: Failure | None
    records: Sequence[Record]
    before: Sequence[EntityState]


def play(subject: Subject, now: int, case: Case) -> Played:
    """Plays one case.

    Args:
        now: the instant (ms) at which its world begins.
    """
    playing = _Playing(subject, now, case)
    failure = playing.failure()
    return Played(case, failure, playing.world.records, playing.before)


def observe(subject: Subject, now: int, case: Case) -> Seen:
    """What comes of the last step of a case, whatever is expected of the others."""
    playing = _Playing(subject, now, case)
    return [playing.seen(number) for number in range(len(case.steps))][-1]


class _Playing:
    """One case while it is played."""

    def __init__(self, subject: Subject, now: int, case: Case) -> None:
        first = case.steps[0].what if case.steps else None
        begins = first.at if isinstance(first, Call) and first.at is not None else now
        self.world = World(subject, begins)
        self.case = case
        self.call: Call | None = None
        self.proposal: Proposal | None = None
        self.callers: dict[str, Caller] = {}
        self.thing: Thing | None = None
        for thing in case.things:
            self.world.place(thing)
        rows = (self.world.entity(thing) for thing in case.things)
        self.before = [row for row in rows if row is not None]

    def failure(self) -> Failure | None:
        """Why the case fails; the steps after that one are not taken."""
        for number, step in enumerate(self.case.steps):
            start = len(self.world.records)
            seen = self.seen(number)
            found = differences(step.expect, seen)
            if found:
                records = self.world.records[start:]
                told = because(self.world.subject, self.proposal, records, step.expect, seen)
                return Failure(step.line, tuple(found), seen, told)
        return None

    def seen(self, number: int) -> Seen:
        """Takes a step; what came of it."""
        step, start = self.case.steps[number], len(self.world.records)
        try:
            if number == 0:
                self._given()
            answer = self._taken(step, self._next_report(number))
        except KiffError as error:
            return self._with_entity({"error": error.code, "messages": (error.message,)})
        return self._with_entity(self._of(answer, self.world.records[start:]))

    def _next_report(self, number: int) -> Report | None:
        """What the executor of a call says: the step after the call tells."""
        later = self.case.steps[number + 1 : number + 2]
        told = later[0].what if later else None
        return told if isinstance(told, Report) and told.by is None else None

    def _given(self) -> None:
        """What is so before the first call."""
        call = self.case.steps[0].what
        if not isinstance(call, Call) or not (self.case.used or self.case.busy):
            return
        subject, proposal = self.world.subject, self.world.proposed(call).proposal
        if self.case.busy:
            self.world.occupy(proposal)
        for bound in terms_of(subject.domain, subject.policy, call.action).limits if self.case.used else ():
            if bound.code in self.case.used:
                try:
                    self.world.use(bound, proposal, self.case.used[bound.code])
                except (EvaluationError, ValueError) as error:
                    message = f"`given.used.{bound.code}` cannot be: {error.args[0]}"
                    raise InvalidInput(message, field="given.used") from error

    def _taken(self, step: Step, report: Report | None) -> Any:
        world, what = self.world, step.what
        match step.verb, what:
            case "propose", Call():
                return self._propose(what, report)
            case "again", _:
                return self._again(report)
            case "grant" | "deny" | "cancel" as verdict, Review():
                command = world.edge.review(what.by, world.asked().id, verdict, what.reason)
                return world.take(command, report)
            case "expire", _:
                approval = world.asked()
                return world.pass_to(approval.use_by or approval.expires_at)
            case "wait", int():
                return world.pass_to(world.now + what)
            case "execute", Report():
                return self._reported(what)
            case "event", Happening():
                self.thing = what.thing or self.thing
                assert self.thing is not None, "the loader saw to it that an event has an entity"
                return world.happen(self.thing, what)
        return None

    def _propose(self, call: Call, report: Report | None) -> Any:
        if call.at is not None:
            if call.at < self.world.now:
                raise InvalidInput("`at` is before what happened already; time only goes on", field="at")
            self.world.pass_to(call.at)
        self.call, self.thing = call, call.thing
        command = self.world.proposed(call, approval_id=self.world.asked().id if call.with_approval else None)
        self.proposal = command.proposal
        self.callers[self.proposal.id] = call.caller
        return self.world.take(command, report)

    def _again(self, report: Report | None) -> Any:
        """The same call under its id, with the approval that was opened for it, if one was."""
        if self.call is None or self.proposal is None:
            raise NotFound("there is no call to repeat in this case")
        approval = None if self.world.approval is None else self.world.asked()
        fits = approval is not None and approval.action_digest == self.proposal.action_digest
        named = approval.id if approval is not None and fits else None
        return self.world.take(self.world.proposed(self.call, id=self.proposal.id, approval_id=named), report)

    def _reported(self, report: Report) -> Any:
        """How an operation ended. Of what KIFF ran the stand-in has said it already, and it is only looked at."""
        clearance = self.world.cleared()
        if report.by is None and clearance.mode == "execute":
            if self.proposal is None or clearance.proposal_id != self.proposal.id:
                raise NotFound("the last call was not cleared, so nothing ran that could have ended")
            return clearance
        by = report.by or self.callers[clearance.proposal_id]
        command = self.world.edge.settle(by, clearance.id, report.status, message=report.message, events=report.events)
        return self.world.take(command)

    def _with_entity(self, told: dict[str, Any]) -> Seen:
        row = None if self.thing is None else self.world.entity(self.thing)
        if row is not None:
            attributes = attributes_of(self.world.subject.domain, row)
            told |= {"state": row.state, "attributes": attributes}
        return Seen(**told)

    def _of(self, answer: Any, records: Sequence[Record]) -> dict[str, Any]:
        """What an answer says, in the words of an expectation."""
        match answer:
            case Executed() | Decided():
                return self._decided(answer, records) | {"status": getattr(answer, "status", None)}
            case Reviewed():
                ran = {"outcome": "allowed"} if answer.operation_id else {}
                decided = ran if answer.decision is None else self._decided(answer.decision, records)
                return decided | {"status": answer.status}
            case Settled():
                return {"status": answer.status}
            case Ingested(applied=False):
                return {"error": answer.code, "messages": (answer.message,)}
        return {"status": answer.status} if answer is not None and hasattr(answer, "mode") else {}

    def _decided(self, answer: Decided, records: Sequence[Record]) -> dict[str, Any]:
        own = [each.code for each in answer.reasons if each.outcome == answer.outcome]
        told = next((each.data for each in reversed(records) if each.kind == "decision_recorded"), {})
        found: dict[str, Any] = {
            "outcome": answer.outcome,
            "reasons": tuple(own),
            "milder": tuple(each.code for each in answer.reasons if each.outcome != answer.outcome),
            "matched": tuple(told.get("matched", ())),
            "shadow": tuple(told.get("shadow", ())),
            "messages": (answer.message, *_messages(answer.reasons)),
        }
        if answer.outcome == "approval_required":
            demands = demands_of(self.world.asked())
            found["quorum"] = asked_for(demands)
            found["roles"] = tuple(sorted({role for each in demands for role in each.roles}))
        return found


def _messages(reasons: Iterable[Objection]) -> Iterator[str]:
    return (str(each.detail["message"]) for each in reasons if "message" in each.detail)


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.encode(value).decode()
