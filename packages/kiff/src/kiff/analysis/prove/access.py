"""That one version of a domain lets nothing through that another does not: tried first, then proved."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from kiff.analysis.access.calls import (
    CALLS,
    KINDS,
    Access,
    Kind,
    access_to,
    changed_actions,
    comparable,
    loosened,
    pair,
    told,
)
from kiff.analysis.access.review_terms import covers
from kiff.analysis.boundaries.dimensions import conditions, dimensions, unset_attributes
from kiff.analysis.prove.calls import Call
from kiff.analysis.prove.showing import Proved, Undecided, shown
from kiff.analysis.prove.smt import SECONDS, Term, library
from kiff.analysis.prove.study import candidate_of
from kiff.analysis.prove.world import World
from kiff.domain import Domain
from kiff.domain.issue import shown as quoted

_ASKED: tuple[Kind, ...] = ("new_access", "approvable", "fewer_people")


class ProvedAccess(Struct, frozen=True):
    """
    Args:
        found: what `after` lets through more, each with a call that shows it.
        unknown: what could not be decided, and why.
        reals: numbers without a unit are read, and were taken as reals.
    """

    found: tuple[Access, ...]
    unknown: tuple[str, ...]
    reals: bool = False

    @property
    def proved(self) -> bool:
        """Whether it is sure that there is nothing more than before."""
        return not self.found and not self.unknown


def prove_access(before: Domain, after: Domain, *, seconds: float = SECONDS, calls: int = CALLS) -> ProvedAccess:
    """What `after` lets through more than `before`, and whether that is all.

    Args:
        seconds: what the solver may take for one question.
        calls: how many calls of one action are tried.

    Raises:
        InvalidInput: they govern different entity types; or z3 is not installed.
    """
    library()
    comparable(before, after)
    found: list[Access] = []
    unknown: list[str] = []
    reals = False
    for action in changed_actions(before, after):
        known = access_to(before, after, action, calls=calls)
        if action in before.actions:
            asked = _Question(before, after, action, seconds)
            for kind in _ASKED:
                if not any(KINDS.index(each.kind) <= KINDS.index(kind) for each in known):
                    answer = asked.answer(kind)
                    known += answer if isinstance(answer, list) else []
                    unknown += [f"{quoted(action)}, {_SAID[kind]}: {answer}"] if isinstance(answer, str) else []
            unknown += [f"{quoted(action)}: {each}" for each in asked.unset()] if not known else []
            reals |= asked.world.has_numbers
        found += known
    found.sort(key=lambda each: KINDS.index(each.kind))
    return ProvedAccess(tuple(found), tuple(unknown), reals)


_SAID: dict[Kind, str] = {
    "new_access": "whether it runs where it did not",
    "approvable": "whether a person may let it through where nobody could",
    "fewer_people": "whether it asks fewer people",
}


class _Question:
    """One action under both versions, in one world."""

    def __init__(self, before: Domain, after: Domain, action: str, seconds: float) -> None:
        self._before, self._after, self._seconds = before, after, seconds
        self._dimensions = dimensions(after, action, (before,))
        self.world = World([*conditions(before.terms[action]), *conditions(after.terms[action])])
        self.world.unset = frozenset(("entity", name) for name in unset_attributes((before, after)))
        self._old = Call(before, action, self.world)
        self._new = Call(after, action, self.world, self._old)

    def answer(self, kind: Kind) -> list[Access] | str | None:
        """The access that there is; why nobody knows; or None, when it is proved that there is none."""
        formulas = [self._formula(kind), *self._new.assumptions(), *self._strange()]
        found = shown(
            self.world,
            formulas,
            self._dimensions.space,
            lambda at, model: candidate_of(self._dimensions, self._old, at, model),
            lambda each: loosened(*pair(self._before, self._after, each)[1:]) == kind,
            self._seconds,
        )
        if isinstance(found, Proved):
            return None
        return found if isinstance(found, Undecided) else told([pair(self._before, self._after, found)])

    def unset(self) -> Iterator[str]:
        """Attributes that mean something else in the two versions while no event has set them."""
        for path in sorted({unknown.path[:2] for unknown in self.world.read.values() if unknown.path[0] == "entity"}):
            old, new = (domain.attributes.get(path[1], {}).get("default") for domain in (self._before, self._after))
            if old != new:
                yield f"{quoted(path[1])} has another default, and what was never set is only tried"

    def _formula(self, kind: Kind) -> Term:
        z3, old, new = self.world.z3, self._old, self._new
        if kind == "new_access":
            return z3.And(new.allowed, z3.Not(old.allowed))
        if kind == "approvable":
            return z3.And(new.held, old.refused)
        return z3.And(new.held, old.held, z3.Or(*self._unmet()))

    def _unmet(self) -> Iterator[Term]:
        """That something is demanded before which nothing demanded after makes up for."""
        z3, after = self.world.z3, list(self._new.demands())
        for demand, when in self._old.demands():
            by = [also for other, also in after if covers(other, demand)]
            yield z3.And(when, z3.Not(z3.Or(*by)))

    def _strange(self) -> Iterator[Term]:
        """Parameters that `after` has no word for are not given."""
        contract = self._new.contract
        if contract.parameters is not None:
            known = {*contract.required_parameters, *contract.parameters}
            for name in {*self._old.contract.required_parameters, *(self._old.contract.parameters or {})} - known:
                yield self.world.z3.Not(self.world.present(("parameters", name)))
