"""How a policy fits the domains it is to hold for: what its document alone does not tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kiff.domain.expr import excerpt
from kiff.domain.issue import Finding, Path, listed, shown
from kiff.domain.policy_document import PolicyLimit, PolicyRule
from kiff.domain.policy_terms import Part, Place, misfits


def unfit_parts(
    rules: Sequence[PolicyRule], limits: Sequence[PolicyLimit], places: Sequence[Place]
) -> Iterator[Finding]:
    """What withholds the actions that it is about, for good; and what is about none of them.

    Args:
        places: every action of the domains that the policy is to hold for.
    """
    parts: list[tuple[Path, Part]] = [(("rules", index), rule) for index, rule in enumerate(rules)]
    parts += [(("limits", index), limit) for index, limit in enumerate(limits)]
    for path, part in parts if places else ():
        about = [place for place in places if place.is_among(part)]
        if not about:
            message = "it is about no action of these domains"
            yield Finding((*path, "match"), "matches_nothing", message, "look at its names, or remove it", "warning")
        for place in about:
            yield from _misfits(path, part, place)
            yield from _unanswerable(path, part, place)


def _misfits(path: Path, part: Part, place: Place) -> Iterator[Finding]:
    """Can it be asked about this action? What cannot be told withholds."""
    for word, text, problem in misfits(part, place):
        message = f"{problem.message}, so {_name(place)} is withheld"
        told = excerpt(problem, text) if text else ""
        fix = problem.fix or "narrow its `match`"
        yield Finding((*path, word), problem.code, message, fix, "activation", excerpt=told)


def _unanswerable(path: Path, part: Part, place: Place) -> Iterator[Finding]:
    """Is there somebody who may say yes, where it asks?"""
    word, wanted = _asking(part)
    if not word:
        return
    needed = place.contract.reviewer_permissions
    able = [role for role, held in place.domain.roles.items() if needed and held.issuperset(needed)]
    if not able:
        message = (
            f"no role of {shown(place.domain.name)} holds {listed(needed)}" if needed else "its contract names none"
        )
        message = f"nobody can approve {_name(place)}: {message}"
        fix = "give a role what a reviewer must hold, or narrow its `match`"
        yield Finding((*path, word), "nobody_can_approve", message, fix, "activation")
    elif wanted and not set(wanted) & set(able):
        message = f"only {listed(wanted)} may say yes, and none of them may approve {_name(place)}"
        yield Finding((*path, "roles"), "nobody_can_approve", message, f"name {shown(able[0])}", "activation")


def _asking(part: Part) -> tuple[str, tuple[str, ...]]:
    """The word that asks for a person, and whose yes counts; empty when it asks nobody."""
    if isinstance(part, PolicyLimit):
        return ("over", ()) if part.limit.over == "require_approval" else ("", ())
    asks = part.rule.then == "require_approval" and part.rule.mode == "enforce"
    return ("then", part.rule.roles) if asks else ("", ())


def _name(place: Place) -> str:
    return f"{shown(place.contract.name)} of {shown(place.domain.version)}"
