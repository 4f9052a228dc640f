"""KIFF's runtime and the plain model side by side: every deed is done to both, and both must say and hold the same.

The runtime's lane has no thread (`DrivenLane`) or its own (`threads=True`), and executors answer when they are told to
(`Hands`), so one list of deeds is one history. Ids are drawn from a counter, which the model is told.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import orjson
import plain_facts
from driven import SAID, Counted, DrivenLane, Hands, SetClock
from plain import Plain
from plain_facts import HOUR, Answer, Call, Error, Ingested, Settled
from tills import CALLERS, DOMAIN, SIGNER, START, TRUSTED

import kiff.runtime.runtime
from kiff import KiffError, Runtime
from kiff.analysis import replay_store, verify_store
from kiff.gate.quorum import demands_of, votes_of
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.instant import rfc3339
from kiff.protocol.limit import Usage
from kiff.protocol.state import EntityState
from kiff.runtime.lane import Lane
from kiff.runtime.ports import Store
from kiff.runtime.rows import Runway
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

Deed = tuple[Any, ...]
PATIENCE_SECONDS = 20.0
SAFE = "lock/tills/safe"


class Tower:
    """One history, lived twice.

    Args:
        folder: where a SQLite database goes; in memory when not given.
        threads: the runtime's own lane, with its thread.
    """

    def __init__(self, folder: Path | None = None, *, threads: bool = False) -> None:
        self.clock, self.ids, self.threads = SetClock(), Counted(), threads
        self.folder = folder
        self.memory = MemoryStore(self.clock)
        self.store: Store = self.memory
        self.runtime = self._open()
        self.model = Plain(START)
        self.model.last_at = START
        self.calls: list[tuple[Call, str]] = []
        self.sent: list[tuple[Any, Future[Any], Any]] = []
        self.waiting: dict[str, list[Future[Any]]] = {}
        self.begun: set[str] = set()
        self.known: dict[str, Any] = {}
        """Approvals that somebody may have heard of: those of a batch are told when it is durable."""
        self.steps = 0

    # the two worlds

    def _open(self) -> Runtime:
        self.store = self.memory if self.folder is None else SqliteStore(self.folder / "kiff.db", clock=self.clock)
        module: Any = kiff.runtime.runtime
        real = (module.Lane, module.Slots)
        module.Lane, module.Slots = (Lane if self.threads else DrivenLane), Hands
        try:
            runtime = Runtime(
                self.store,
                SIGNER,
                domains=[DOMAIN],
                executors={"till.pay": SAID["succeed"][0]},
                clock=self.clock,
                ids=self.ids,
                vault=b"v" * 32,
            )
        finally:
            module.Lane, module.Slots = real
        runtime._sweeper.close()
        return runtime

    @property
    def hands(self) -> Hands:
        return self.runtime._slots  # type: ignore[return-value]

    def together(self, *deeds: Deed) -> None:
        """Deeds of one batch; of a single one the batch is a batch of one."""
        if self.threads or len(deeds) == 1:
            for deed in deeds:
                self._do(deed)
        else:
            with self.runtime._lanes.of("default").gathered():  # type: ignore[attr-defined]
                for deed in deeds:
                    self._do(deed)
        if self.threads:
            self.runtime.checkpoint().result(PATIENCE_SECONDS)
        self.compare()

    def _do(self, deed: Deed) -> None:
        self.steps += 1
        verb, *arguments = deed
        getattr(self, f"do_{verb}")(*arguments)

    # deeds; numbers pick among what there is

    def do_propose(
        self,
        mode: str,
        who: str,
        entity: str,
        action: str,
        amount: int | None,
        settles: bool,
        number: int | None,
        approval: int | None,
    ) -> None:
        call = Call(mode, who, f"till:{entity}", action, amount, settles and mode == "decide")
        self._propose(call, f"prop_{self.ids.next}" if number is None else f"p{number}", approval)

    def do_again(self, number: int, same_id: bool, approval: int | None) -> None:
        """A call that was made before, once more: as a retry, or as a call of its own."""
        if self.calls:
            call, id = self.calls[number % len(self.calls)]
            self._propose(call, id if same_id else f"prop_{self.ids.next}", approval)

    def _propose(self, call: Call, id: str, approval: int | None) -> None:
        named = self._pick(self.model.approvals, approval)
        tag = self.ids.next
        verb = self.runtime.execute if call.mode == "execute" else self.runtime.propose
        more = {} if call.mode == "execute" else {"settles": call.settles}
        parameters = {} if call.amount is None else {"amount": call.amount}
        pending = verb(
            CALLERS[call.who],
            entity=call.entity,
            action=call.action,
            parameters=parameters,
            id=id,
            approval_id=named,
            **more,
        )
        self.calls.append((call, id))
        self._sent(call, pending, self.model.propose(call, f"propose:{id}", tag, named))

    def do_review(self, verdict: str, who: str, approval: int, key: int | None, use_within: int | None) -> None:
        id = self._pick(self.known, approval) or "appr_none"
        tag, name = self.ids.next, None if key is None else f"k{key}"
        use_by = None if use_within is None or verdict != "grant" else self.clock.wall + use_within
        more = {} if use_by is None else {"expires_at": rfc3339(use_by)}
        pending = getattr(self.runtime, verdict)(CALLERS[who], id, "looked at", key=name, **more)
        expected = self.model.review(who, verdict, id, f"review:{name or tag}", tag, use_by)
        self._sent((verdict, who, id), pending, expected)

    def do_settle(self, who: str, operation: int, status: str) -> None:
        id = self._pick(self.model.ops, operation) or "clr_none"
        pending = self.runtime.settle(CALLERS[who], id, status)  # type: ignore[arg-type]
        self._sent((status, who, id), pending, self.model.settle(who, id, status))

    def do_ingest(self, who: str, event: str, entity: str, number: int | None) -> None:
        id = f"evt_{self.ids.next}" if number is None else f"e{number}"
        pending = self.runtime.ingest(CALLERS[who], type=event, entity=f"till:{entity}", id=id)
        self._sent((event, who, entity), pending, self.model.ingest(who, event, f"till:{entity}", f"event:{id}"))

    def do_answer(self, number: int, said: str) -> None:
        """An executor answers; in a batch, one whose clearance is in it has nothing to answer yet."""
        begun = self.hands.begun()
        if begun:
            id = begun[number % len(begun)]
            how, status = SAID[said]
            self.hands.finish(id, how)
            self.model.report(id, status)

    def do_pass(self, milliseconds: int) -> None:
        self.clock.pass_time(milliseconds)
        self.model.pass_time(milliseconds)

    def do_sweep(self) -> None:
        self.runtime._sweeper._overdue()
        self.runtime._sweeper._due()
        self.model.sweep()

    def do_restart(self) -> None:
        """The process dies and another one starts. What it had in its hands is gone."""
        self.runtime._slots._running.clear()
        self.runtime.close(0)
        self.waiting.clear()
        self.runtime = self._open()
        self.model.restart()

    def _pick(self, among: dict[str, Any], number: int | None) -> str | None:
        if number is None or not among:
            return None
        return list(among)[number % len(among)]

    def _sent(self, deed: Any, pending: Future[Any], expected: Any) -> None:
        self.sent.append((deed, pending, expected))

    # what both say, and what both hold

    def compare(self) -> None:
        for deed, pending, expected in self.sent:
            if isinstance(expected, Answer) and expected.waits:
                assert expected.operation is not None
                self.waiting.setdefault(expected.operation, []).append(pending)
            else:
                assert said(pending) == expected, deed
        self.sent.clear()
        self.known = dict(self.model.approvals)
        for id, answer in self.model.waiting_for(list(self.waiting)).items():
            for pending in self.waiting.pop(id):
                assert said(pending) == answer
        assert not any(pending.done() for waiting in self.waiting.values() for pending in waiting)
        held, expected = self.held(), self.expected()
        assert held == expected, {key: (held[key], expected[key]) for key in held if held[key] != expected[key]}

    def held(self) -> dict[str, Any]:
        """What KIFF holds."""
        rows, at = self.store.rows, self.model.at
        new = [id for id in self.hands.begun() if id not in self.begun]
        assert len(new) == len(set(new)), "an operation was handed out twice"
        self.begun.update(new)
        return {
            "entities": {row.entity: (row.state, row.version) for row in rows(EntityState, "default")},
            "runways": {
                row.entity: (row.holder, row.fencing, tuple(filter(None, row.in_doubt.split(","))))
                for row in rows(Runway, "default")
            },
            "approvals": {row.id: _approval(row) for row in rows(ApprovalRequest, "default")},
            "ops": {
                row.id: (row.status, row.settled_by, row.disputed, row.approval_id, row.fencing, row.deadline)
                for row in rows(Clearance, "default")
            },
            "used": {id: used for row in rows(Usage, "default") for id, used in [_used(row, at)] if used},
            "begun": self.begun,
            "last_at": self.store.heads()[0].last_at,
        }

    def expected(self) -> dict[str, Any]:
        """What the model holds."""
        model = self.model
        places = {f"{name}/": tuple(sorted(held)) for name, held in model.places.items()}
        return {
            "entities": model.entities,
            "runways": {(SAFE if name == "safe" else name): tuple(each) for name, each in model.runways.items()},
            "approvals": {
                each.id: (each.status, each.expires_at, each.use_by, each.demands, each.votes, each.used_by)
                for each in model.approvals.values()
            },
            "ops": {
                op.id: (op.status, op.settled_by, op.disputed, op.approval, op.fencing, op.deadline)
                for op in model.ops.values()
            },
            "used": {
                id: used
                for id, used in (
                    places
                    | {f"hourly/{who}": model.spent(who) for who in CALLERS}
                    | {f"looks/{who}": model.looks(who) for who in CALLERS}
                ).items()
                if used
            },
            "begun": {op.id for op in model.ops.values() if op.call.mode == "execute"},
            "last_at": model.last_at,
        }

    def end(self) -> None:
        """Closes both worlds: the log verifies, and folded or decided again it is what the rows say."""
        for entity in self.model.entities:
            assert self.runtime.read.rebuild(entity).match
        self.runtime.checkpoint().result(PATIENCE_SECONDS)
        self.runtime._slots._running.clear()
        self.runtime.close(0)
        store = self.memory if self.folder is None else SqliteStore(self.folder / "kiff.db", clock=self.clock)
        assert verify_store(store, TRUSTED).problems == ()
        assert replay_store(store).problems == ()
        store.close()


def said(pending: Future[Any]) -> Any:
    """A runtime's answer in the model's words."""
    try:
        answer = pending.result(PATIENCE_SECONDS)
    except KiffError as error:
        return Error(error.code)
    return _said(answer)


def _said(answer: Any) -> Any:
    kind = type(answer).__name__
    if kind in ("Decided", "Executed"):
        status = getattr(answer, "status", None)
        codes = tuple(reason.code for reason in answer.reasons)
        return Answer(answer.outcome, codes, answer.approval_id, answer.clearance_id, status)
    if kind == "Reviewed":
        decision = None if answer.decision is None else _said(answer.decision)
        still = tuple((each.rule, each.more) for each in answer.still_needed)
        return plain_facts.Reviewed(answer.status, answer.operation_id, decision, still)
    if kind == "Ingested":
        return Ingested(answer.state, answer.version, answer.applied, answer.settled)
    return Settled(answer.status, answer.state, answer.late, answer.confirmed)


def _approval(row: ApprovalRequest) -> tuple[Any, ...]:
    demands = tuple((each.rule, each.quorum) for each in demands_of(row))
    votes = tuple((each.by, each.person, each.use_by) for each in votes_of(row))
    return row.status, row.expires_at, row.use_by, demands, votes, row.consumed_by


def _used(row: Usage, at: int) -> tuple[str, Any]:
    """What counts towards a limit at an instant, read off the row's own JSON."""
    _, limit, _, key = row.id.split("/")
    count = orjson.loads(row.state)
    if limit == "hourly":
        used: Any = count["spent"] + count["held"] if count["start_ms"] == at // HOUR * HOUR else 0
    elif limit == "looks":
        ahead = (count["tat_ms"] - at) * count["tokens"] + count["part"]
        used = -(-max(0, ahead) // 600_000)
    else:
        used = tuple(count["holders"])
    return f"{limit}/{key}", used
