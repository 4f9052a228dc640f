"""A case comes out as on a real runtime: the same calls, on a store that was filled with the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs
from suite_cases import DOCUMENTS

from kiff import KiffError, Runtime
from kiff.analysis.cases import Library, Suite, load_suite
from kiff.analysis.cases.document import Call, Case, Review, Step
from kiff.analysis.cases.run import observe
from kiff.canonical import admit
from kiff.ledger.keys import Ed25519Signer
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Append
from kiff.stores.memory import MemoryStore

SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
SUITE = load_suite(DOCUMENTS / "annotated_test.yaml", Library())
PLAIN = ("propose", "again", "grant", "deny", "cancel")


class Clock:
    """Stands still."""

    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return 0.0


def plain_cases(suite: Suite) -> Iterator[Case]:
    """Those in which somebody only proposes and answers: what a runtime can be asked without its inside."""
    for case in suite.cases:
        if not (case.used or case.busy) and all(step.verb in PLAIN for step in case.steps):
            yield case


class Real:
    """A runtime, and the last call."""

    def __init__(self, suite: Suite, case: Case) -> None:
        domain = suite.subject.domain
        first = case.calls[0]
        store = MemoryStore(Clock(suite.now if first.at is None else first.at))
        executors = {
            contract.executor_name: lambda operation: {"status": "succeeded"} for contract in domain.actions.values()
        }
        self.runtime = Runtime(store, SIGNER, domains=[domain], executors=executors)
        self.type, self.call, self.answer = domain.entity_type, first, None
        self.approval: str | None = None
        for thing in case.things:
            data = admit(thing.attributes).data
            row = EntityState("default", f"{self.type}:{thing.id}", domain.name, thing.state, thing.version, data)
            store.append(Append([], [row] if thing.state else [], [], (), [], []))

    def outcome(self, step: Step) -> str:
        """What the gate said, or why the step was refused."""
        try:
            return str(self.taken(step))
        except KiffError as error:
            return error.code

    def taken(self, step: Step) -> Any:
        if isinstance(step.what, Review):
            review = getattr(self.runtime, step.verb)
            return review(step.what.by, self.approval, step.what.reason).result(20).status
        if isinstance(step.what, Call):
            self.call, self.answer = step.what, None
        named = self.approval if step.verb == "again" or self.call.with_approval else None
        self.answer = self.runtime.execute(
            self.call.caller,
            entity=f"{self.type}:{self.call.thing.id}",
            action=self.call.action,
            parameters=self.call.parameters,
            id=None if self.answer is None else self.answer.proposal_id,
            approval_id=named,
        ).result(20)
        if self.answer.outcome == "approval_required":
            self.approval = self.answer.approval_id
        return self.answer.outcome, self.answer.reason


@pytest.mark.parametrize("case", list(plain_cases(SUITE)), ids=lambda case: case.name)
def test_it_comes_out_as_on_a_runtime(case: Case) -> None:
    real = Real(SUITE, case)
    with real.runtime:
        for number, step in enumerate(case.steps):
            begun = structs.replace(case, steps=case.steps[: number + 1])
            seen = observe(SUITE.subject, SUITE.now, begun)
            decided = str((seen.outcome, next(iter(seen.reasons), "allowed")))
            assert real.outcome(step) == (seen.error or (seen.status if isinstance(step.what, Review) else decided))


def test_control_enough_cases_are_compared() -> None:
    compared = list(plain_cases(SUITE))
    assert len(compared) > 35
    assert {step.verb for case in compared for step in case.steps} == set(PLAIN)
