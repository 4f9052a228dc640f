"""A document and where it is wrong: what the questions of `soundness` may rest on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cached_property

from kiff.domain.document import Json, expanded, starts
from kiff.domain.entries import written_actions, written_grants, written_transitions
from kiff.domain.issue import Finding, Path
from kiff.domain.machine import Transitions, reachable
from kiff.domain.reading import Read, sound_conditions
from kiff.domain.way import Way

Place = tuple[str | int | None, ...]
"""A path, where None stands for every item of a list."""

MACHINE: tuple[Place, ...] = (
    ("states",),
    ("groups",),
    ("transitions", None, "from"),
    ("transitions", None, "to"),
)


class Parts:
    """A document of the right shape, what is wrong with it, and what follows for an entity.

    Args:
        findings: of `shape` and `structure`. A name given twice is no reason not to ask.
        executors: the names that are registered; None when nobody asks about them.

    Attributes:
        written: the document as it is.
        document: with its groups of states written out; `timeouts` may have more entries then.
        transitions: as in `Domain`, guards and all that is set left out; empty while something about them, or about
            the states, is wrong or not there.
        reached: the states an entity can get to; empty while that cannot be told.
        roles: role -> permissions; empty while something about them is wrong.
    """

    def __init__(self, document: Json, findings: Iterable[Finding], executors: Collection[str] | None) -> None:
        self.written = document
        self.document = expanded(document)
        wrong = {f.path for f in findings if f.level == "error" and f.code != "duplicate_name"}
        self._wrong: set[Place] = wrong | {_anywhere(path) for path in wrong}
        self._around = {path[:size] for path in self._wrong for size in range(len(path) + 1)}
        self.executors = executors
        self.states: list[str] = document.get("states", [])
        self.events: list[str] = document.get("events", [])
        self.transitions = _table(self.document) if self.states and self.are_sound(*MACHINE) else {}
        self.reached = reachable(self.transitions)
        roles = document.get("permissions", {}).get("roles", {})
        self.roles: dict[str, frozenset[str]] = {}
        if self.are_sound(("permissions", "roles")):
            self.roles = {role: frozenset(held) for role, held in roles.items()}

    def are_sound(self, *places: Place) -> bool:
        """Whether nothing is wrong in these places, inside of them or around them."""
        return not any(
            place in self._around or any(place[:size] in self._wrong for size in range(len(place))) for place in places
        )

    def actions(self, *keys: str) -> Iterator[tuple[Path, Json]]:
        """The actions in which nothing is wrong with `keys`, nor with their name."""
        for path, action in written_actions(self.document):
            if self.are_sound(*((*path, key) for key in ("name", *keys))):
                yield path, action

    def grants(self) -> Iterator[tuple[Path, Json]]:
        """The grants that say who is granted what."""
        return (each for each in written_grants(self.written) if {"role", "permissions"} <= each[1].keys())

    def steps(self) -> Iterator[tuple[str | None, str, str]]:
        """(state, event, a state that it may lead to)."""
        return ((start, on, way.to) for (start, on), ways in self.transitions.items() for way in ways)

    @cached_property
    def reads(self) -> tuple[Read, ...]:
        """What its expressions read; of the document as it is written, without those in which something is wrong."""
        return tuple(each for each in self._read if each is not None)

    @property
    def reads_all(self) -> bool:
        """Whether nothing is wrong in any expression."""
        return None not in self._read

    @cached_property
    def _read(self) -> list[Read | None]:
        return list(sound_conditions(self.written))


def _anywhere(path: Path) -> Place:
    return tuple(None if isinstance(step, int) else step for step in path)


def _table(document: Json) -> Transitions:
    table: dict[tuple[str | None, str], tuple[Way, ...]] = {}
    for _, transition in written_transitions(document):
        for start in starts(transition):
            key, end = (start, transition["on"]), transition.get("to", start)
            if end is not None:
                table[key] = (*table.get(key, ()), Way(end))
    return table
