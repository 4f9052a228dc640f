"""No path to a state without an approval: how an entity gets there, and who could have said no.

A path begins with the entity. A step is an event: of an action, when the action emits it and may start there, or from
outside, when no action does. A step of an action that always asks a person is an approval. Where a path without one
ends with a step of an action, it is shown; that an event from outside leads there is told, with where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import structs

from kiff.analysis.access.occurrences import Occurrence, lands, occurrences
from kiff.analysis.boundaries.candidate import Candidate, as_test, ask
from kiff.analysis.prove.remark import Remark
from kiff.analysis.prove.showing import Proved, Undecided
from kiff.analysis.prove.smt import SECONDS
from kiff.analysis.prove.study import Study
from kiff.domain import Domain
from kiff.domain.expr.types import STRING
from kiff.domain.issue import shown
from kiff.errors import InvalidInput
from kiff.protocol.action import ActionContract

INGEST = "events.ingest"


class Step(NamedTuple):
    """One event on a path.

    Args:
        action, candidate: who emits it, and the call that runs without a person; None for an event from outside.
    """

    occurrence: Occurrence
    to: str
    action: str | None = None
    candidate: Candidate | None = None


def unapproved_path(domain: Domain, state: str, seconds: float = SECONDS) -> list[Remark]:
    """Every way in which a state is reached without an approval: an error, or what is not known; and, as info, the
    events from outside that lead there. Nothing else when it is proved.

    Raises:
        InvalidInput: there is no such state.
    """
    if state not in domain.states:
        raise InvalidInput(f"expected a state of the domain, found {shown(state)}", field="invariant")
    paths = _Paths(domain, seconds)
    found = paths.to(state)
    claim = f"no path to {shown(state)} is without an approval"
    if found is not None:
        calls = [each.candidate for each in found if each.candidate is not None]
        reason = f"{shown(state)} is reached without an approval: {_told(found)}"
        example = as_test(domain, calls[-1], ask(domain, calls[-1]), f"{calls[-1].action} runs without a person")
        return [Remark("unapproved_path", "error", (), reason, "ask for an approval on the way", example)]
    if paths.undecided:
        reason = f"it is not known whether {claim}: {paths.undecided[0]}"
        return [Remark("unapproved_path", "unknown", (), reason)]
    return [Remark("outside_event", "info", (), each) for each in _outside(domain, state)]


class _Paths:
    """Where an entity gets without an approval."""

    def __init__(self, domain: Domain, seconds: float) -> None:
        self._domain, self._seconds = domain, seconds
        self._studies: dict[str, Study] = {}
        self.undecided: list[str] = []

    def to(self, state: str) -> list[Step] | None:
        """The shortest path without an approval whose last step is an action's; None when there is none, or none
        that is known."""
        ways: dict[str | None, list[Step]] = {None: []}
        queue: list[str | None] = [None]
        for start in queue:  # which grows meanwhile
            for step in self._steps(start):
                if step.to == state and step.action is not None and start != state:
                    return [*ways[start], step]
                if step.to not in ways:
                    ways[step.to] = [*ways[start], step]
                    queue.append(step.to)
        return None

    def _steps(self, start: str | None) -> Iterator[Step]:
        for (state, event), ways in self._domain.transitions.items():
            if state != start:
                continue
            for to in dict.fromkeys(way.to for way in ways):
                emitting = [c for c in self._domain.actions.values() if event in emitted(self._domain, c)]
                if not emitting:
                    yield from self._from_outside(state, event, to)
                for contract in emitting:
                    if state is not None and state in contract.allowed_states:
                        yield from self._by(contract.name, state, event, to)

    def _from_outside(self, state: str | None, event: str, to: str) -> Iterator[Step]:
        for occurrence in occurrences(self._domain, state, event):
            if lands(self._domain, occurrence) == to:
                yield Step(occurrence, to)
                return
        self.undecided.append(f"no event was found that shows whether {shown(event)} leads to {shown(to)}")

    def _by(self, action: str, state: str, event: str, to: str) -> Iterator[Step]:
        """The step of an action, when it runs without a person."""
        found = self._outright(action, state)
        if isinstance(found, Undecided):
            self.undecided.append(f"whether {shown(action)} runs in {shown(state)} without a person: {found}")
        if not isinstance(found, Candidate):
            return
        for occurrence in occurrences(self._domain, state, event):
            for attributes in ({**occurrence.attributes, **found.attributes}, occurrence.attributes):
                candidate = structs.replace(found, attributes={**found.attributes, **attributes})
                happened = structs.replace(occurrence, attributes=candidate.attributes)
                if lands(self._domain, happened) == to and ask(self._domain, candidate).outcome == "allowed":
                    yield Step(happened, to, action, candidate)
                    return
        self.undecided.append(f"no call of {shown(action)} was found after which {shown(event)} leads to {shown(to)}")

    def _outright(self, action: str, state: str) -> Candidate | Proved | Undecided:
        study = self._studies.setdefault(action, Study(self._domain, action, self._seconds))
        world = study.world
        is_here = world.value(("entity", "state"), STRING) == world.literal(state, STRING)
        return study.possible(
            world.z3.And(study.call.allowed, is_here),
            lambda probe: probe.candidate.state == state and ask(self._domain, probe.candidate).outcome == "allowed",
            when=False,
        )


def emitted(domain: Domain, contract: ActionContract) -> tuple[str, ...]:
    """The events that running an action may bring: all, where its contract does not say."""
    emits = contract.emits
    return (*emits.success, *emits.failure) if emits.declared else domain.events


def _outside(domain: Domain, state: str) -> Iterator[str]:
    """The events that lead to a state and that no action there emits, with where they come from."""
    for (start, event), ways in domain.transitions.items():
        emitting = [c for c in domain.actions.values() if start in c.allowed_states and event in emitted(domain, c)]
        if start != state and not emitting and any(way.to == state for way in ways):
            where = f"from {shown(start)}" if start else "at the beginning"
            sources = ", ".join(_sources(domain, start, event))
            yield f"{shown(event)} leads to {shown(state)} {where}, and comes from {sources}"


def _sources(domain: Domain, state: str | None, event: str) -> list[str]:
    mapped = {name: adapter.map.events.values() for name, adapter in domain.adapters.items() if adapter.map}
    adapters = [name for name, events in mapped.items() if event in events]
    roles = [role for role, held in domain.roles.items() if INGEST in held]
    found = [f"the adapter {shown(name)}" for name in adapters]
    found += ["a timeout"] if any(each.event == event for each in domain.timeouts.get(state or "", ())) else []
    found += [f"callers with the role {shown(role)}" for role in roles]
    return found or ["outside"]


def _told(path: list[Step]) -> str:
    return ", ".join(
        f"{shown(step.occurrence.event)} {f'by `{step.action}` ' if step.action else ''}to {shown(step.to)}"
        for step in path
    )
