"""What there is to draw: the states, the ways between them, and what may be done in each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kiff.domain import Domain
from kiff.domain.machine import reachable
from kiff.protocol.action import ActionContract, Approval


class Effect(NamedTuple):
    """An event an action may report.

    Args:
        end: where it leads from here; None when it leads nowhere from here.
        failed: it is reported when the action did not work.
    """

    event: str
    end: str | None
    failed: bool

    def told(self, to: str) -> str:
        """In words; `to` is the arrow."""
        end = "leads nowhere from here" if self.end is None else f"{to} {self.end}"
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


class Arrow(NamedTuple):
    """All events that lead from one state to another; `start` is None for the beginning."""

    start: str | None
    end: str
    events: tuple[str, ...]


class Picture(NamedTuple):
    """A state machine. States stand as they are declared, arrows by where they start."""

    name: str
    entity: str
    states: tuple[State, ...]
    arrows: tuple[Arrow, ...]


def picture(domain: Domain) -> Picture:
    """The picture of a domain; of a draft, what there is of it."""
    named = (state for (start, _), end in domain.transitions.items() for state in (start, end) if state)
    allowed = (state for contract in domain.actions.values() for state in contract.allowed_states)
    names = tuple(dict.fromkeys((*domain.states, *named, *allowed)))
    reached = reachable(domain.transitions)
    states = tuple(State(name, name in domain.final, name in reached, tuple(_acts(domain, name))) for name in names)
    return Picture(domain.version or "draft", domain.entity, states, tuple(_arrows(domain, names)))


def _arrows(domain: Domain, names: tuple[str, ...]) -> Iterator[Arrow]:
    events: dict[tuple[str | None, str], list[str]] = {}
    for (start, event), end in domain.transitions.items():
        events.setdefault((start, end), []).append(event)
    places = {name: place for place, name in enumerate(names)}
    declared = {event: place for place, event in enumerate(domain.events)}
    for start, end in sorted(events, key=lambda ends: (places.get(ends[0] or "", -1), places[ends[1]])):
        yield Arrow(start, end, tuple(sorted(events[start, end], key=lambda event: declared.get(event, 0))))


def _acts(domain: Domain, state: str) -> Iterator[Act]:
    for contract in domain.actions.values():
        if state in contract.allowed_states:
            held = contract.approval_requirement is not Approval.NEVER
            yield Act(contract.name, contract.risk.value, held, _effects(domain, contract, state))


def _effects(domain: Domain, contract: ActionContract, state: str) -> tuple[Effect, ...] | None:
    if not contract.emits.declared:
        return None
    reported = [(event, False) for event in contract.emits.success] + [(e, True) for e in contract.emits.failure]
    return tuple(Effect(event, domain.transitions.get((state, event)), failed) for event, failed in reported)
