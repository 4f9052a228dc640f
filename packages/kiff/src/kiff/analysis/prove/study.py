"""One action under study: calls that were tried, and the solver for what trying did not settle."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import islice
from typing import Literal, NamedTuple

from msgspec import structs

from kiff.analysis.boundaries.candidate import Candidate, env_of
from kiff.analysis.boundaries.candidates import candidates
from kiff.analysis.boundaries.dimensions import NOW, ROLES, Dimensions, conditions, dimensions
from kiff.analysis.boundaries.space import Assignment
from kiff.analysis.prove.calls import Call
from kiff.analysis.prove.showing import Proved, Undecided, shown
from kiff.analysis.prove.smt import SECONDS, Term
from kiff.analysis.prove.world import World
from kiff.domain import Domain
from kiff.domain.expr import EvaluationError, Expression
from kiff.gate.case import Env

PROBES = 400
Says = Literal["true", "false", "failed"]


class Probe(NamedTuple):
    """A call that was tried, and what conditions read of it."""

    candidate: Candidate
    env: Env


class Study:
    """What can be asked about one action.

    Args:
        seconds: what the solver may take for one question.
        more: a condition besides those of the action, over the same names.
    """

    def __init__(
        self, domain: Domain, action: str, seconds: float = SECONDS, more: tuple[Expression, ...] = ()
    ) -> None:
        self.domain, self.action, self.seconds, self.more = domain, action, seconds, more
        self.contract, self.terms = domain.actions[action], domain.terms[action]
        self.world = World((*conditions(self.terms), *(each.node for each in more)))
        self.call = Call(domain, action, self.world)

    @cached_property
    def dimensions(self) -> Dimensions:
        return dimensions(self.domain, self.action, asking=self.more)

    @cached_property
    def probes(self) -> list[Probe]:
        """Calls that the action's schemas and states let come to its rules."""
        tried = islice(candidates(self.domain, self.action, limit=PROBES, asking=self.more), PROBES)
        return [Probe(each, env_of(self.domain, each)) for each in tried if self._comes_to_rules(each)]

    def possible(
        self, formula: Term, holds: Callable[[Probe], bool], *, when: bool = True
    ) -> Candidate | Proved | Undecided:
        """A sound call from an allowed state for which it is so; Proved when there is none.

        Args:
            holds: the same as the formula, of a call that was tried.
            when: the action's precondition is true, too.
        """
        for probe in self.probes:
            if holds(probe) and (not when or self.is_met(probe.env)):
                return probe.candidate
        formulas = [formula, *self.call.assumptions(), self.call.sound, self.call.startable]
        if when and self.call.precondition is not None:
            formulas.append(self.call.precondition.true)
        confirmed = self._confirmed(holds, when)
        return shown(self.world, formulas, self.dimensions.space, self._candidate, confirmed, self.seconds)

    def is_met(self, env: Env) -> bool:
        """Whether the precondition is true."""
        return self.terms.precondition is None or says(self.terms.precondition, env) == "true"

    def _confirmed(self, holds: Callable[[Probe], bool], when: bool) -> Callable[[Candidate], bool]:
        def confirmed(candidate: Candidate) -> bool:
            if not self._comes_to_rules(candidate):
                return False
            env = env_of(self.domain, candidate)
            return (not when or self.is_met(env)) and holds(Probe(candidate, env))

        return confirmed

    def _comes_to_rules(self, candidate: Candidate) -> bool:
        wrong = self.domain.parameter_checks[self.action](candidate.parameters)
        return not wrong and candidate.state in self.contract.allowed_states

    def _candidate(self, at: Assignment, model: Term) -> Candidate | None:
        return candidate_of(self.dimensions, self.call, at, model)


def candidate_of(found: Dimensions, call: Call, at: Assignment, model: Term) -> Candidate | None:
    """The call that a model means; None when no instant is like it."""
    world = call.world

    def is_true(term: Term) -> bool:
        return bool(world.z3.is_true(model.eval(term)))

    roles = tuple(name for name, term in world.roles() if is_true(term))
    windows = [(schedule, is_true(term)) for schedule, term in world.windows.values()]
    has_clock = any(unknown.path == NOW for unknown in world.read.values())
    instants = [at[NOW]] if has_clock else found.space.values[NOW]
    like = [at_ms for at_ms in instants if all(schedule.is_open(at_ms) is wanted for schedule, wanted in windows)]
    if not like:
        return None
    used = {code: model.eval(count, model_completion=True).as_long() for code, count in call.counts()}
    chosen = {**at, NOW: like[0], ROLES: roles if any(True for _ in world.roles()) else at[ROLES]}
    used = {code: count for code, count in used.items() if count}
    return structs.replace(found.candidate(chosen), used=used, busy=is_true(world.free("busy")))


def says(condition: Expression, env: Env) -> Says:
    """What a condition comes to at run time."""
    try:
        return "true" if condition(env) else "false"
    except EvaluationError:
        return "failed"
