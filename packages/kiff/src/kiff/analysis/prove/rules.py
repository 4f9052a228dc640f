"""Rules and conditions that do nothing: never true, always true, or never needed because of another one.

One question = one function. A rule is compared with others of its action only, over the calls that the schemas, the
allowed states and `when` let come to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import NamedTuple

from kiff.analysis.access.review_terms import covers
from kiff.analysis.prove.remark import Remark
from kiff.analysis.prove.showing import Proved, Undecided
from kiff.analysis.prove.smt import Term
from kiff.analysis.prove.study import Probe, Study, says
from kiff.analysis.prove.translate import Truth
from kiff.domain.issue import Path, shown
from kiff.domain.terms import BoundRule

REALS = "; numbers without a unit are taken as reals"


class Asked(NamedTuple):
    """A rule, where it stands, and its truth in the world of the solver."""

    path: Path
    bound: BoundRule
    truth: Truth


Result = Remark | None
"""Of one question: None when everything is as it should be."""


def questions(study: Study, path: Path) -> Iterator[Result]:
    """The answers to every question about one action.

    Args:
        path: of the action in its document.
    """
    rules = [Asked((*path, "rules", i, "when"), *each) for i, each in enumerate(study.call.rules)]
    yield from _precondition(study, (*path, "when"))
    silent: set[str] = set()
    for rule in rules:
        for found in (_dead(study, rule), _always(study, rule)):
            yield found
            if found is not None:
                silent.add(rule.bound.code)
    enforced = [rule for rule in rules if rule.bound.rule.mode == "enforce" and rule.bound.code not in silent]
    yield from _pairs(study, enforced)


def _precondition(study: Study, path: Path) -> Iterator[Result]:
    condition, truth = study.terms.precondition, study.call.precondition
    if condition is None or truth is None:
        return
    name = shown(study.action)
    yield _unless_possible(
        study,
        truth.true,
        lambda probe: says(condition, probe.env) == "true",
        _warning(study, "never_runs", path, f"{name} never runs: `when` is true for no call", "relax it"),
        when=False,
    )
    yield _unless_possible(
        study,
        study.world.z3.Not(truth.true),
        lambda probe: says(condition, probe.env) != "true",
        _warning(study, "idle_condition", path, f"`when` of {name} is true for every call", "remove it"),
        when=False,
    )


def _dead(study: Study, rule: Asked) -> Result:
    """Is there a call at which it speaks up?"""
    z3, (_, bound, truth) = study.world.z3, rule
    speaks = z3.Or(truth.true, truth.failed)
    remark = _warning(study, "dead_rule", rule.path, f"{shown(bound.code)} is never true", _DEAD)

    def holds(probe: Probe) -> bool:
        return says(bound.condition, probe.env) != "false"

    found = _unless_possible(study, speaks, holds, remark)
    if found is not remark or study.terms.precondition is None:
        return found
    if isinstance(study.possible(speaks, holds, when=False), Proved):
        return found
    return _warning(study, "dead_rule", rule.path, f"{shown(bound.code)} is never true where `when` is", _DEAD)


_DEAD = "remove it, or mend its condition"


def _always(study: Study, rule: Asked) -> Result:
    """Is there a call at which it keeps silent?"""
    bound, is_deny = rule.bound, rule.bound.rule.then == "deny"
    what = f"{shown(study.action)} never runs" if is_deny else "a person is asked every time"
    what = "it says nothing" if bound.rule.mode == "shadow" else what
    fix = "mend its condition" if is_deny else "write `approval: required`, or mend its condition"
    return _unless_possible(
        study,
        study.world.z3.Not(rule.truth.true),
        lambda probe: says(bound.condition, probe.env) != "true",
        _warning(study, "always_true_rule", rule.path, f"{shown(bound.code)} is always true: {what}", fix),
    )


def _pairs(study: Study, rules: list[Asked]) -> Iterator[Result]:
    """Is every rule needed beside each of the others?"""
    told: set[str] = set()
    required = study.terms.demands.get("approval_required")
    for rule in rules:
        if required is not None and rule.bound.rule.then == "require_approval" and covers(required, rule.bound.demand):
            told.add(rule.bound.code)
            reason = f"{shown(rule.bound.code)} asks for nothing that `approval: {_requirement(study)}` does not"
            yield _warning(study, "shadowed_rule", rule.path, reason, "remove it, or write `approval: conditional`")
    for rule, other in permutations(rules, 2):
        if not {rule.bound.code, other.bound.code} & told and _is_as_strong(other.bound, rule.bound):
            found = _shadowed(study, rule, other)
            yield found
            if found is not None and found.level != "unknown":
                told.add(rule.bound.code)


def _requirement(study: Study) -> str:
    return study.contract.approval_requirement.value


def _is_as_strong(strong: BoundRule, weak: BoundRule) -> bool:
    """Whether nothing that the weak one asks is left to ask where the strong one spoke up."""
    if strong.rule.then == "deny":
        return True
    return weak.rule.then == "require_approval" and covers(strong.demand, weak.demand)


def _shadowed(study: Study, weak: Asked, strong: Asked) -> Result:
    """Is there a call at which the weak rule makes a difference beside the strong one?"""
    weakly, strongly = shown(weak.bound.code), shown(strong.bound.code)
    fix = f"remove it, or mend the condition of {strongly}"
    reason = f"{weakly} is true only where {strongly} is, which is at least as strict"
    remark = _warning(study, "shadowed_rule", weak.path, reason, fix)
    found = _unless_possible(study, *_beside(study, weak, strong), remark)
    if found is not remark or not _is_as_strong(weak.bound, strong.bound):
        return found
    if isinstance(study.possible(*_beside(study, strong, weak)), Proved):
        reason = f"{weakly} and {strongly} are true for the same calls, and one of them is enough"
        return _warning(study, "same_rules", weak.path, reason, f"remove {weakly} or {strongly}")
    return found


def _beside(study: Study, rule: Asked, other: Asked) -> tuple[Term, Callable[[Probe], bool]]:
    """That a rule withholds something that the other does not. To fail is to deny."""
    z3, one, two = study.world.z3, rule.truth, other.truth
    denies = other.bound.rule.then == "deny"
    silent = z3.Not(z3.Or(two.true, two.failed))
    formula = z3.Or(z3.And(one.true, silent), z3.And(one.failed, silent if denies else z3.Not(two.failed)))

    def holds(probe: Probe) -> bool:
        said, beside = says(rule.bound.condition, probe.env), says(other.bound.condition, probe.env)
        if said == "failed" and not denies:
            return beside != "failed"
        return said != "false" and beside == "false"

    return formula, holds


def _unless_possible(
    study: Study, formula: Term, holds: Callable[[Probe], bool], remark: Remark, *, when: bool = True
) -> Result:
    """The remark, when it is proved that no call is like that; a remark that nobody knows, when nobody does."""
    found = study.possible(formula, holds, when=when)
    if isinstance(found, Proved):
        return remark
    if isinstance(found, Undecided):
        return unknown(remark.code, remark.path, remark.reason, found)
    return None


def unknown(code: str, path: Path, claim: str, why: str) -> Remark:
    """That it could not be decided whether a claim holds."""
    return Remark(code, "unknown", path, f"it is not known whether {claim}: {why}")


def _warning(study: Study, code: str, path: Path, reason: str, fix: str) -> Remark:
    return Remark(code, "warning", path, reason + (REALS if study.world.has_numbers else ""), fix)
