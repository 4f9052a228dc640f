"""Guards of the ways that one event opens from one state: never true, true at once, or none of them true."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

from kiff.analysis.access.occurrences import Occurrence, event_test, guard_space, occurrence_of, occurrences, seen_by
from kiff.analysis.boundaries.space import Assignment
from kiff.analysis.prove.remark import Remark
from kiff.analysis.prove.rules import REALS, Result, unknown
from kiff.analysis.prove.schemas import fits
from kiff.analysis.prove.showing import Proved, Undecided
from kiff.analysis.prove.showing import shown as shown_by
from kiff.analysis.prove.smt import SECONDS, Term
from kiff.analysis.prove.study import says
from kiff.analysis.prove.translate import truth
from kiff.analysis.prove.world import World
from kiff.domain import Domain
from kiff.domain.document import Json
from kiff.domain.issue import Path, shown
from kiff.domain.way import Way

Key = tuple[str | None, str]


class Fork:
    """The ways that one event opens from one state, when there are several, or one with a guard."""

    def __init__(self, domain: Domain, key: Key, seconds: float = SECONDS) -> None:
        self.domain, self.key, self.seconds = domain, key, seconds
        self.ways = domain.transitions[key]
        guards = [way.when.node for way in self.ways if way.when is not None]
        self.world = World(guards)
        self.truths = [truth(guard, self.world) for guard in guards]

    @property
    def where(self) -> str:
        state, event = self.key
        return f"{shown(event)} from {shown(state)}" if state else f"{shown(event)} at the beginning"

    def possible(self, formula: Term, holds: Callable[[Occurrence], bool]) -> Occurrence | Proved | Undecided:
        """An event for which it is so; Proved when there is none."""
        for occurrence in occurrences(self.domain, *self.key):
            if self._is_sound(occurrence) and holds(occurrence):
                return occurrence
        return shown_by(
            self.world,
            [formula, *self._assumptions(), *self.world.bounds()],
            guard_space((self.domain,), self.key),
            self._occurrence,
            lambda each: self._is_sound(each) and holds(each),
            self.seconds,
        )

    def says(self, way: Way, occurrence: Occurrence) -> str:
        assert way.when is not None
        return says(way.when, seen_by(self.domain, occurrence))

    def _is_sound(self, occurrence: Occurrence) -> bool:
        check = self.domain.payload_checks.get(occurrence.event)
        wrong = check(occurrence.payload) if check is not None else ()
        return not wrong and not self.domain.attribute_check(occurrence.attributes)

    def _occurrence(self, at: Assignment, model: Term) -> Occurrence:
        return occurrence_of(self.key, at)

    def _assumptions(self) -> Iterator[Term]:
        state, event = self.key
        yield from self._declared("entity", self.domain.attributes, is_there=state is not None)
        yield from self._declared("event", self.domain.payloads.get(event, {}), is_there=True)
        for unknown_value in list(self.world.read.values()):
            if unknown_value.path == ("entity", "state"):
                yield unknown_value.term == self.world.literal(state, unknown_value.type)

    def _declared(self, root: str, schemas: Mapping[str, Json], *, is_there: bool) -> Iterator[Term]:
        """As declared. Before the first event, of the attributes only those are there that have a default."""
        z3 = self.world.z3
        for name in {u.path[1] for u in self.world.read.values() if u.path[0] == root} & schemas.keys():
            schema = schemas[name]
            present = self.world.present((root, name))
            always = "default" in schema or (is_there and not schema.get("optional"))
            yield present if always else z3.BoolVal(True)
            yield z3.Implies(present, fits(self.world, (root, name), schema))


def questions(fork: Fork, path_of: Callable[[Way], Path]) -> Iterator[Result]:
    """The answers to every question about one fork.

    Args:
        path_of: where a way is written.
    """
    guarded = [(way, each) for way, each in zip([w for w in fork.ways if w.when], fork.truths, strict=True)]
    for way, each in guarded:
        speaks = fork.world.z3.Or(each.true, each.failed)
        found = fork.possible(speaks, lambda at, way=way: fork.says(way, at) != "false")  # type: ignore[misc]
        claim = f"the guard of {fork.where} to {shown(way.to)} is never true"
        yield _never(fork, "dead_transition", path_of(way), claim, found)
    for (one, first), (other, second) in combinations(guarded, 2):
        yield _overlap(fork, path_of(other), (one, other), fork.world.z3.And(first.true, second.true))
    yield _gap(fork, path_of(fork.ways[0]))


def _overlap(fork: Fork, path: Path, ways: tuple[Way, Way], formula: Term) -> Result:
    """Are two ways ever open at once? Then the event is refused."""
    found = fork.possible(formula, lambda at: all(fork.says(way, at) == "true" for way in ways))
    ends = " and ".join(shown(way.to) for way in ways)
    if isinstance(found, Undecided):
        return unknown("guards_overlap", path, f"the guards of {fork.where} to {ends} exclude each other", found)
    if isinstance(found, Proved):
        return None
    reason = f"the guards of {fork.where} to {ends} can be true at once: then the event is refused"
    fix = "write a `when` on each, so that one is true when the other is not"
    example = event_test(fork.domain, found, f"{fork.key[1]}: two guards are true")
    return Remark("guards_overlap", "error", path, reason, fix, example)


def _gap(fork: Fork, path: Path) -> Result:
    """Is one of the ways always open? Where none is, the event is refused, which may be meant."""
    z3 = fork.world.z3
    none = z3.And(*(z3.Not(z3.Or(each.true, each.failed)) for each in fork.truths))
    guarded = [way for way in fork.ways if way.when is not None]
    found = fork.possible(none, lambda at: all(fork.says(way, at) == "false" for way in guarded))
    if isinstance(found, Undecided):
        return unknown("guards_gap", path, f"one of the guards of {fork.where} is always true", found)
    if isinstance(found, Proved):
        return None
    reason = f"{fork.where} is refused where no guard is true"
    example = event_test(fork.domain, found, f"{fork.key[1]}: no guard is true")
    return Remark("guards_gap", "info", path, reason, example=example)


def _never(fork: Fork, code: str, path: Path, claim: str, found: Any) -> Result:
    if isinstance(found, Undecided):
        return unknown(code, path, claim, found)
    if not isinstance(found, Proved):
        return None
    reals = REALS if fork.world.has_numbers else ""
    return Remark(code, "warning", path, claim + reals, "remove it, or mend its guard")
