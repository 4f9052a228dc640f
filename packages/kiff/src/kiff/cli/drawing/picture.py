"""What there is to draw: the states, the ways between them, and what may be done in each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kiff.domain import Domain
from kiff.domain.machine import reachable
from kiff.domain.way import Way
from kiff.protocol.action import ActionContract, Approval


class Effect(NamedTuple):
    """An event an action may report.

    Args:
        ends: where it may lead from here; empty when it leads nowhere from here.
        failed: it is reported when the action did not work.
    """

    event: str
    ends: tuple[str, ...]
    failed: bool

    def told(self, to: str) -> str:
        """In words; `to` is the arrow."""
        end = f"{to} {' or '.join(self.ends)}" if self.ends else "leads nowhere from here"
        return f"{'on failure ' if self.failed else ''}{self.event} {end}"


class Act(NamedTuple):
    """An action that may start in a state.

    Args:
        effects: empty when it declares that it reports none; None when it declares nothing, so any event may come.
    """

    name: str
    risk: str
    held: bool
    effects: tuple[Effect, ...] | None

    @property
    def weight(self) -> str:
        """How much it takes, as the seeds write it: `high · approval`."""
        return f"{self.risk} · approval" if self.held else self.risk

    def reports(self, to: str = "→") -> list[str]:
        """What may come of it, at least one line."""
        if self.effects is None:
            return ["may report any event"]
        return [effect.told(to) for effect in self.effects] or ["reports no event"]


class State(NamedTuple):
    """One state; `reached`: events lead to it from the beginning."""

    name: str
    final: bool
    reached: bool
    acts: tuple[Act, ...]


class Step(NamedTuple):
    """An event that leads from one state to another.

    Args:
        note: under which guard, and after how long it comes by itself; empty when neither is said.
    """

    event: str
    note: str = ""


class Arrow(NamedTuple):
    """Everything that leads from one state to another; `start` is None for the beginning."""

    start: str | None
    end: str
    steps: tuple[Step, ...]

    @property
    def events(self) -> tuple[str, ...]:
        """Each once, whatever its guards."""
        return tuple(dict.fromkeys(step.event for step in self.steps))


class Picture(NamedTuple):
    """A state machine. States stand as they are declared, arrows by where they start."""

    name: str
    entity: str
    states: tuple[State, ...]
    arrows: tuple[Arrow, ...]


def picture(domain: Domain) -> Picture:
    """The picture of a domain; of a draft, what there is of it."""
    ways = ((start, way.to) for (start, _), ways in domain.transitions.items() for way in ways)
    named = (state for way in ways for state in way if state)
    allowed = (state for contract in domain.actions.values() for state in contract.allowed_states)
    names = tuple(dict.fromkeys((*domain.states, *named, *allowed)))
    reached = reachable(domain.transitions)
    states = tuple(State(name, name in domain.final, name in reached, tuple(_acts(domain, name))) for name in names)
    return Picture(domain.version or "draft", domain.entity, states, tuple(_arrows(domain, names)))


def _arrows(domain: Domain, names: tuple[str, ...]) -> Iterator[Arrow]:
    steps: dict[tuple[str | None, str], list[Step]] = {}
    for (start, event), ways in domain.transitions.items():
        for way in ways:
            steps.setdefault((start, way.to), []).append(Step(event, _note(domain, start, event, way)))
    places = {name: place for place, name in enumerate(names)}
    declared = {event: place for place, event in enumerate(domain.events)}
    for start, end in sorted(steps, key=lambda ends: (places.get(ends[0] or "", -1), places[ends[1]])):
        yield Arrow(start, end, tuple(sorted(steps[start, end], key=lambda step: declared.get(step.event, 0))))


def _note(domain: Domain, start: str | None, event: str, way: Way) -> str:
    timed = [timeout for timeout in domain.timeouts.get(start or "", ()) if timeout.event == event]
    alone = [f"by itself after {_duration(timeout.after_ms)}" for timeout in timed]
    guard = [] if way.when is None else [f"when {' '.join(way.when.text.split())}"]
    return ", ".join(alone + guard)


def _duration(ms: int) -> str:
    """In the largest unit that says it in whole numbers."""
    seconds = ms // 1000
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def _acts(domain: Domain, state: str) -> Iterator[Act]:
    for contract in domain.actions.values():
        if state in contract.allowed_states:
            held = contract.approval_requirement is not Approval.NEVER
            yield Act(contract.name, contract.risk.value, held, _effects(domain, contract, state))


def _effects(domain: Domain, contract: ActionContract, state: str) -> tuple[Effect, ...] | None:
    if not contract.emits.declared:
        return None
    reported = [(event, False) for event in contract.emits.success] + [(e, True) for e in contract.emits.failure]
    return tuple(Effect(event, _ends(domain, state, event), failed) for event, failed in reported)


def _ends(domain: Domain, state: str, event: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(way.to for way in domain.transitions.get((state, event), ())))
