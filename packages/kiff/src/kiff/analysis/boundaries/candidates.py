"""The calls worth asking about before anybody makes them: an ordinary one, and those at which an answer turns.

Found by trying, with the real gate, from what schemas and conditions say: an ordinary call that goes through if there
is one; for every rule a call at which it alone speaks up; and their neighbours, one change away, then two. No clock
and no randomness: the same domains give the same candidates, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from kiff.analysis.boundaries.candidate import Candidate, ask, env_of
from kiff.analysis.boundaries.dimensions import Dimensions, dimensions, said_by
from kiff.analysis.boundaries.distance import Distance, distance
from kiff.analysis.boundaries.space import Assignment, Cost, changed_once, changed_twice, nearest
from kiff.domain import Domain
from kiff.domain.expr import Expression
from kiff.protocol.decision import SEVERITY

__all__ = ["Candidate", "candidates"]

USUAL = 1_000
MOST_ANCHORS = 64
"""Around how many calls neighbours are looked at, at most."""
FEW = 16
Goal = tuple[Domain, Distance]

_FAR = 1_000  # one comparison counts more than any objection
_LEAST_TRIES = 300
_UNFIT = 100  # a call that is no call counts more than any refusal


def candidates(
    domain: Domain,
    action: str,
    *,
    limit: int = USUAL,
    besides: Sequence[Domain] = (),
    asking: Sequence[Expression] = (),
) -> Iterator[Candidate]:
    """Calls of one action, the ordinary one first, each once.

    Args:
        domain: whose gate they are for; most of them fit its schemas, those just past an edge do not.
        limit: how many at most; the fewer, the less is tried to find them.
        besides: other versions, whose thresholds, states and roles are looked at too.
        asking: conditions that somebody asks about the action, besides its own.
    """
    found = dimensions(domain, action, besides, asking)
    goals = _goals((domain, *besides), action, asking)
    yield from islice(_once(found, _assignments(found, goals, limit)), limit)


def _once(found: Dimensions, assignments: Iterator[Assignment]) -> Iterator[Candidate]:
    seen: set[str] = set()
    for assignment in assignments:
        candidate = found.candidate(assignment)
        key = repr(candidate)
        if key not in seen and not found.domain.attribute_check(candidate.attributes):
            seen.add(key)
            yield candidate


def _assignments(found: Dimensions, goals: list[Goal], limit: int) -> Iterator[Assignment]:
    anchors = _anchors(found, goals, limit)
    yield from anchors
    for anchor in anchors:
        yield from changed_once(found.space, anchor)
    yield from changed_twice(found.space, anchors[0])


def _anchors(found: Dimensions, goals: list[Goal], limit: int) -> list[Assignment]:
    """The ordinary call, then for each goal one where it is met and as little as possible objects otherwise.

    The more conditions a try has to ask, the fewer tries: what is found may be less, but never takes much longer.
    """
    space, tries = found.space, max(_LEAST_TRIES, limit * 10 // max(len(goals), 10))
    ordinary = nearest(space, space.ordinary, lambda at, _: _objections(found, at))
    goals = goals[: min(MOST_ANCHORS, limit // 8)]
    return [ordinary, *(nearest(space, ordinary, _towards(found, *goal), tries) for goal in goals)]


def _goals(domains: Sequence[Domain], action: str, asking: Sequence[Expression]) -> list[Goal]:
    """Conditions of an action being true, then being false: all; of several versions, few of those that all ask."""
    own = [(domains[0], each.node) for each in asking]
    changed, same = said_by(domains, action)
    asked = [*own, *changed, *(same if len(domains) == 1 else same[:FEW])]
    conditions = [(domain, node) for domain, node in asked if node.type.kind == "bool"]
    return [(domain, distance(node, wanted)) for wanted in (True, False) for domain, node in conditions]


def _towards(found: Dimensions, domain: Domain, far: Distance) -> Cost:
    def cost(at: Assignment, bound: int) -> int:
        away = _FAR * far(env_of(domain, found.candidate(at)))
        return away if away >= bound else away + _objections(found, at)

    return cost


def _objections(found: Dimensions, at: Assignment) -> int:
    """How much speaks against a call; and an entity cannot be what no event makes of it."""
    candidate = found.candidate(at)
    unfit = len(found.domain.attribute_check(candidate.attributes))
    objections = ask(found.domain, candidate).objections
    return _UNFIT * unfit + sum(_UNFIT if each.outcome == "invalid" else SEVERITY[each.outcome] for each in objections)
