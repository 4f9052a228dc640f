"""Plays one case on one driver, step by step, and looks at everything that must be true afterwards."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from msgspec import structs
from scenario_cases import CALLS, Case, seconds
from scenario_drivers import PATIENCE_SECONDS, Driver, Outside, SetClock

from kiff import KiffError
from kiff.ledger import verify_receipt
from kiff.runtime.answers import Decided


class Play:
    """One case on its way."""

    def __init__(self, case: Case, driver: Driver, clock: SetClock, outside: Outside) -> None:
        self.case = case
        self.driver = driver
        self.clock = clock
        self.outside = outside
        self.saved: dict[str, Any] = {}
        self.pending: dict[str, Any] = {}

    def run(self) -> None:
        for number, step in enumerate(self.case.steps, 1):
            try:
                self._step(step)
            except AssertionError as error:
                raise AssertionError(f"step {number} {step}:\n{error}") from error
        self._end()

    def _step(self, step: dict[str, Any]) -> None:
        verb = next(verb for verb in step if verb in CALLS or hasattr(self, f"_{verb}"))
        if verb in CALLS:
            self._call(verb, step)
        else:
            getattr(self, f"_{verb}")(step[verb], step)

    def _call(self, verb: str, step: dict[str, Any]) -> None:
        times = step.get("times", 1)
        if step.get("together"):
            pending = [self._send(verb, step[verb]) for _ in range(times)]
            self._tally([_answer(each) for each in pending], step["tally"])
            return
        for _ in range(times):
            pending_one = self._send(verb, step[verb])
            if step.get("in_flight"):
                self.outside.wait_until_hanging(1)
                self.pending[step["save"]] = pending_one
                continue
            answer = _answer(pending_one)
            if "save" in step:
                self.saved[step["save"]] = answer
            self._compare(answer, step["expect"])

    def _send(self, verb: str, said: dict[str, Any]) -> Any:
        """The answer on its way, or the error that the edge raised."""
        arguments = self._filled({name: value for name, value in said.items() if name != "as"})
        who = {"id": said["as"]} | self.case.principals[said["as"]]
        try:
            return self.driver.send(verb, who, arguments)
        except KiffError as error:
            return error

    # --- steps that are no calls ---

    def _answer(self, name: str, step: dict[str, Any]) -> None:
        answer = _answer(self.pending.pop(name))
        self.saved[name] = answer
        self._compare(answer, step["expect"])

    def _advance(self, duration: str, step: dict[str, Any]) -> None:
        self.clock.wall += 1000 * seconds(duration)
        self.clock.steady += seconds(duration)
        if step.get("sweep", True):
            self.driver.sweep()
            self.driver.settled()

    def _set_back(self, duration: str, step: dict[str, Any]) -> None:
        self.clock.wall -= 1000 * seconds(duration)

    def _executor(self, behaviour: Any, step: dict[str, Any]) -> None:
        self.outside.behaviour = behaviour

    def _release(self, behaviour: Any, step: dict[str, Any]) -> None:
        self.outside.wait_until_hanging(1)
        self.outside.release(behaviour)
        until(lambda: not self.driver.running())
        self.driver.settled()

    # --- looking ---

    def _compare(self, answer: Any, expect: dict[str, Any]) -> None:
        expect = self._filled(expect)
        if "error" in expect:
            assert isinstance(answer, KiffError), f"expected the error `{expect['error']}`, found {answer}"
            found = {"error": answer.code, "detail": _part(answer.detail, expect.get("detail", {}))}
            assert found == {"detail": {}} | expect, f"found {found}, {answer.message}"
            return
        assert not isinstance(answer, Exception), f"found {type(answer).__name__}: {answer}"
        expect = dict(expect)
        if "same_as" in expect:
            assert _once_said(answer) == _once_said(self.saved[expect.pop("same_as")]), f"found {answer}"
        for name, value in expect.pop("not", {}).items():
            assert getattr(answer, name) != value, f"expected `{name}` to differ from {value}"
        found = {name: _field(answer, name, wanted) for name, wanted in expect.items()}
        assert found == expect, f"expected {expect}\n   found {found}\n      in {answer}"

    def _tally(self, answers: list[Any], tally: dict[str, int]) -> None:
        found = Counter(getattr(answer, "code", None) or getattr(answer, "outcome", None) for answer in answers)
        assert found == tally, f"expected {tally}, found {dict(found)}"

    def _filled(self, value: Any) -> Any:
        """`$name.field` is that field of the answer that was saved under this name."""
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, str) and value.startswith("$"):
            name, field = value[1:].split(".")
            if field == "operation_id" and name in self.pending:
                [running] = self.driver.running()
                return running.operation.id
            return getattr(self.saved[name], field)
        return value

    def _end(self) -> None:
        assert not self.pending, f"nobody asked how {sorted(self.pending)} ended"
        case, driver = self.case, self.driver
        trail = {entity: [record["kind"] for record in driver.trail(entity)] for entity in case.trail}
        assert trail == case.trail, _trails(trail, case.trail)
        assert self.outside.effects == case.effects, f"effects outside: {self.outside.effects}"
        state = {entity: driver.state(entity) for entity in case.state}
        assert state == case.state, f"found {state}"
        if case.approvals is not None:
            assert driver.approvals() == case.approvals
        if case.operations is not None:
            assert driver.operations() == case.operations
        self._evidence()

    def _evidence(self) -> None:
        """For every case: every entity folds to its state, time never goes back, every receipt proves itself."""
        self.driver.settled()
        keys = self.driver.keys()
        for entity in self.case.trail:
            assert self.driver.rebuilt(entity), f"{entity} is not in the state that its events lead to"
            records = self.driver.trail(entity)
            times = [record["at"] for record in records]
            assert times == sorted(times), "time went backwards in the log"
            for bound in (record["data"]["receipt"] for record in records if "receipt" in record["data"]):
                verdict = verify_receipt(self.driver.receipt(bound["id"]), keys)
                assert verdict.status == "valid", verdict


def until(holds: Any) -> None:
    """Waits for a condition that has no signal of its own."""
    for _ in range(int(PATIENCE_SECONDS * 1000)):
        if holds():
            return
        threading.Event().wait(0.001)
    raise AssertionError("what was waited for did not come")


def _answer(pending: Any) -> Any:
    if isinstance(pending, Exception):
        return pending
    try:
        return pending.result(timeout=PATIENCE_SECONDS)
    except KiffError as error:
        return error


def _once_said(answer: Any) -> Any:
    """An answer that is given again says so, and is the same answer."""
    return structs.replace(answer, replayed=False) if isinstance(answer, Decided) else answer


def _field(answer: Any, name: str, wanted: Any) -> Any:
    if name == "reasons":
        return [objection.code for objection in answer.reasons]
    if name == "because":
        details = {objection.code: objection.detail for objection in answer.reasons}
        return {code: _part(details.get(code, {}), part) for code, part in wanted.items()}
    if name == "decision":
        return {each: _field(answer.decision, each, part) for each, part in wanted.items()}
    found = getattr(answer, name)
    return list(found) if isinstance(found, tuple) else found


def _part(found: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields that were asked about."""
    return {name: found.get(name) for name in wanted}


def _trails(found: dict[str, list[str]], wanted: dict[str, list[str]]) -> str:
    lines = [f"{entity}:\n  expected {wanted[entity]}\n     found {found[entity]}" for entity in wanted]
    return "\n".join(lines)
