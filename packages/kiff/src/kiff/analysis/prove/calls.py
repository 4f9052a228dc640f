"""The gate's checks as formulas: when a call of one action is allowed, held or refused, in any world.

The order of the checks does not matter, since every objection counts. What is proved with this is proved of these
formulas; what they are said to show is asked of the gate itself before anybody is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kiff.analysis.access.carried import relation
from kiff.analysis.prove.schemas import fits
from kiff.analysis.prove.smt import Term
from kiff.analysis.prove.translate import Truth, meaning, truth
from kiff.analysis.prove.world import World
from kiff.canonical import MAX_INT
from kiff.domain import Domain
from kiff.domain.document import Json
from kiff.domain.expr.types import STRING, Decimal
from kiff.domain.measure import measure_of
from kiff.domain.terms import BoundLimit, BoundRule, Terms
from kiff.domain.units import MINOR_DIGITS
from kiff.protocol.action import ActionContract
from kiff.protocol.approval import Demand

STATE = ("entity", "state")


class Stands(NamedTuple):
    """A limit in a world. Neither: it is over its cap."""

    bound: BoundLimit
    fits: Term
    failed: Term


class Call:
    """One call of an action in a world.

    Args:
        older: the same call under another version, whose counts go on.

    Attributes:
        startable: the entity is where the action may start.
        rules: each rule with when it is true, or fails.
        precondition: None where there is none.
    """

    def __init__(self, domain: Domain, action: str, world: World, older: Call | None = None) -> None:
        self.domain, self.world = domain, world
        self.contract: ActionContract = domain.actions[action]
        self.terms: Terms = domain.terms[action]
        world.hours = domain.schedules
        self.rules = [(bound, truth(bound.condition.node, world)) for bound in self.terms.rules]
        when = self.terms.precondition
        self.precondition = None if when is None else truth(when.node, world)
        self._grants = [(grant, truth(grant.condition.node, world)) for grant in self.terms.grants]
        self.limits = [self._stands(bound) for bound in self.terms.limits]
        lock = self.terms.lock
        self._locked = None if lock is None else meaning(lock.node, world).known
        self._counts = list(self._going_on(older)) if older is not None else []
        z3 = world.z3
        self.startable = z3.Or(*(self._is_in(state) for state in self.contract.allowed_states))
        self._older = older

    def assumptions(self) -> Iterator[Term]:
        """What holds in every world: the types of values, attributes as declared, a state that there is, counts.

        Asked for when all conditions are known, since they say what is read.
        """
        yield from self._attributes(self.domain.attributes)
        if self._older is not None:
            old = self._older.domain.attributes
            yield from self._attributes({name: old[name] for name in old if name not in self.domain.attributes})
        yield self.world.z3.Or(*(self._is_in(state) for state in self.domain.states))
        yield from (count >= 0 for call in (self, self._older) if call is not None for _, count in call.counts())
        yield from self._counts
        yield from self.world.bounds()

    @property
    def sound(self) -> Term:
        """The parameters are such as the schemas say. Asked for when all conditions are known."""
        return self.world.z3.And(*self._sound())

    @property
    def refused(self) -> Term:
        """Somebody or something is against it, and no person can let it through."""
        z3 = self.world.z3
        against = [z3.Not(self.sound), z3.Not(self.startable), *self._unpermitted()]
        against += [] if self.precondition is None else [z3.Not(self.precondition.true)]
        for bound, said in self._enforced():
            against += [said.failed] if bound.rule.then == "require_approval" else [said.failed, said.true]
        for each in self.limits:
            over = z3.Not(each.fits)
            against.append(each.failed if each.bound.limit.over == "require_approval" else z3.Or(each.failed, over))
        if self.contract.lock == "entity":
            against.append(self.world.free("busy"))
        if self._locked is not None:
            against.append(z3.Not(self._locked))
        return z3.Or(*against)

    def demands(self) -> Iterator[tuple[Demand, Term]]:
        """What people are asked, and when."""
        z3 = self.world.z3
        if "approval_required" in self.terms.demands:
            yield self.terms.demands["approval_required"], z3.BoolVal(True)
        for bound, said in self._enforced():
            if bound.rule.then == "require_approval":
                yield bound.demand, said.true
        for each in self.limits:
            if each.bound.limit.over == "require_approval":
                yield each.bound.demand, z3.And(z3.Not(each.fits), z3.Not(each.failed))

    @property
    def held(self) -> Term:
        """A person is asked, and can let it through."""
        z3 = self.world.z3
        return z3.And(z3.Not(self.refused), z3.Or(*(when for _, when in self.demands())))

    @property
    def allowed(self) -> Term:
        z3 = self.world.z3
        return z3.Not(z3.Or(self.refused, *(when for _, when in self.demands())))

    @property
    def unburdened(self) -> Term:
        """Who calls may, nothing else is going on, and nothing counts towards any limit yet."""
        z3 = self.world.z3
        nothing = [self._used(each.bound) == 0 for each in self.limits]
        return z3.Not(z3.Or(self.world.free("busy"), *self._unpermitted(), *(z3.Not(each) for each in nothing)))

    def permitted(self) -> Term:
        z3 = self.world.z3
        return z3.Not(z3.Or(*self._unpermitted()))

    def _enforced(self) -> Iterator[tuple[BoundRule, Truth]]:
        yield from (each for each in self.rules if each[0].rule.mode == "enforce")

    def _is_in(self, state: str) -> Term:
        return self.world.value(STATE, STRING) == self.world.literal(state, STRING)

    def _sound(self) -> Iterator[Term]:
        """Parameters as the contract says."""
        world, contract = self.world, self.contract
        z3, schemas = world.z3, contract.parameters or {}
        for name in contract.required_parameters:
            yield world.present(("parameters", name))
        for name, schema in schemas.items():
            present = world.present(("parameters", name))
            yield z3.Implies(present, fits(world, ("parameters", name), schema))

    def _attributes(self, attributes: Mapping[str, Json]) -> Iterator[Term]:
        """As declared: what is not optional is there."""
        world, z3 = self.world, self.world.z3
        read = {unknown.path[1] for unknown in world.read.values() if unknown.path[0] == "entity"}
        for name in sorted(read & attributes.keys()):
            present = world.present(("entity", name))
            may_be_absent = attributes[name].get("optional") or ("entity", name) in world.unset
            yield z3.BoolVal(True) if may_be_absent else present
            yield z3.Implies(present, fits(world, ("entity", name), attributes[name]))

    def _unpermitted(self) -> Iterator[Term]:
        """What the caller lacks, or must not hold together."""
        z3, world = self.world.z3, self.world
        holding = {permission: self._held(permission) for permission in self.contract.required_permissions}
        yield from (z3.Not(held) for held in holding.values())
        for apart in self.domain.separate:
            yield z3.And(*(z3.Or(*self._plainly(permission)) for permission in apart))
        plainly = z3.And(*(z3.Or(*self._plainly(permission)) for permission in self.contract.required_permissions))
        for grant, said in self._grants:
            yield z3.And(z3.Not(plainly), world.role(grant.role), said.failed)

    def _plainly(self, permission: str) -> list[Term]:
        return [self.world.role(role) for role, held in self.domain.roles.items() if permission in held]

    def _held(self, permission: str) -> Term:
        z3, world = self.world.z3, self.world
        given = [
            z3.And(world.role(grant.role), said.true) for grant, said in self._grants if permission in grant.permissions
        ]
        return z3.Or(*self._plainly(permission), *given)

    def _used(self, bound: BoundLimit) -> Term:
        return self.world.free(f"used:{self.domain.digest}:{bound.code}", "Int")

    def _stands(self, bound: BoundLimit) -> Stands:
        z3, measure = self.world.z3, measure_of(bound.limit)
        known = z3.BoolVal(True) if bound.key is None else meaning(bound.key.node, self.world).known
        amount = z3.IntVal(1)
        if bound.amount is not None:
            value, has_value = meaning(bound.amount.node, self.world)
            amount, whole = self._minor(bound, value)
            known = z3.And(known, has_value, whole, amount >= 0, amount <= MAX_INT)
        return Stands(bound, self._used(bound) + amount <= measure.cap, z3.Not(known))

    def _minor(self, bound: BoundLimit, value: Term) -> tuple[Term, Term]:
        """An amount in the units that its limit counts in, and whether it is a whole number of them."""
        z3, world = self.world.z3, self.world
        assert bound.amount is not None
        type_, digits = bound.amount.type, MINOR_DIGITS.get(bound.limit.unit, 0)
        if type_.kind == "double":
            real = value * 10**digits
            return z3.ToInt(real), z3.IsInt(real)
        more = (type_.digits if isinstance(type_, Decimal) else 0) - digits
        if more <= 0:
            return value * 10**-more, z3.BoolVal(True)
        return value / world.z3.IntVal(10**more), value % 10**more == 0

    def _going_on(self, older: Call) -> Iterator[Term]:
        """What the counts of the limits here have to do with those of the other version."""
        known = {each.bound.code: each.bound for each in older.limits}
        for each in self.limits:
            before = known.get(each.bound.code)
            how = "unknown" if before is None else relation(before, each.bound)
            if before is not None and how != "unknown":
                here, there = self._used(each.bound), older._used(before)
                yield here == there if how == "same" else here >= there

    def counts(self) -> Iterator[tuple[str, Term]]:
        """Code of each limit, and what counts towards it."""
        yield from ((each.bound.code, self._used(each.bound)) for each in self.limits)
