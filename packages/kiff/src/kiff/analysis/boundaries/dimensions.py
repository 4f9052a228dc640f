"""What can differ between two calls of one action, and the values worth trying for each of it.

Values come from schemas, from the literals of conditions, from states, roles and time windows: of the domain itself
and of others beside it, so that a change between two versions is looked at from both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kiff.analysis.boundaries.candidate import SOMEBODY, Candidate, open_at
from kiff.analysis.boundaries.examples import Schema, exactly, examples
from kiff.analysis.boundaries.instants import instants
from kiff.analysis.boundaries.relations import Path, Relation, difference, relations
from kiff.analysis.boundaries.role_sets import role_sets
from kiff.analysis.boundaries.space import Assignment, Space, distinct, placed, space
from kiff.analysis.boundaries.thresholds import ABSENT, Values, thresholds
from kiff.domain import Domain
from kiff.domain.expr import Expression
from kiff.domain.expr.node import Leaf, Node, walk
from kiff.domain.parameters import types_of
from kiff.domain.terms import Terms
from kiff.protocol.actor import Principal

STATE: Path = ("entity", "state")
ROLES: Path = ("actor", "roles")
NOW: Path = ("now",)
ID, TYPE = ("actor", "id"), ("actor", "type")
ENTITY_ID, VERSION = ("entity", "id"), ("entity", "version")
_TYPES = ("agent", "human", "service")
_FIXED: dict[Path, Any] = {ENTITY_ID: "it", VERSION: 1, ID: SOMEBODY.id, TYPE: SOMEBODY.type}


class Dimensions(NamedTuple):
    """What can differ between calls of one action."""

    domain: Domain
    action: str
    space: Space

    def candidate(self, at: Assignment) -> Candidate:
        """The call that an assignment means."""
        found = placed(at, "parameters", "entity", "actor")
        entity, actor = found["entity"], found["actor"]
        return Candidate(
            action=self.action,
            parameters=found["parameters"],
            state=entity.pop("state"),
            entity=entity.pop("id"),
            version=entity.pop("version"),
            attributes=entity,
            roles=tuple(actor["roles"]),
            actor=Principal(actor["id"], actor["type"]),
            at=at[NOW],
            schedule=open_at(self.domain, at[NOW]),
        )


def dimensions(
    domain: Domain, action: str, besides: Sequence[Domain] = (), asking: Sequence[Expression] = ()
) -> Dimensions:
    """What can differ between calls of an action of this domain.

    Args:
        besides: other domains, of which conditions, schemas and roles are looked at too.
        asking: conditions that somebody asks about this action.
    """
    domains = (domain, *besides)
    terms = [each.terms[action] for each in domains if action in each.terms]
    said = [node for part in said_by(domains, action) for _, node in part]
    nodes = [each.node for each in asking] + said
    known = instants(domains)
    read = _merged(thresholds(node, known[0]) for node in nodes)
    values = {path: distinct((value, *_given(read, path))) for path, value in _FIXED.items()}
    values[TYPE] = [each for each in _TYPES if read.get(TYPE) or each == SOMEBODY.type]
    values[STATE] = _states(domains, action)
    roles = distinct(role_sets(domains, action))
    values[ROLES] = distinct((*roles, *_with_roles(roles, read.get(ROLES, ()))))
    values[NOW] = distinct((*known, *_given(read, NOW)))
    for path in dict.fromkeys((*_parameters(domain, action), *_read(nodes))):
        if path not in values:
            values[path] = _values(domains, action, path, read)
    turning = [each for node in nodes for each in relations(node)] + [each for one in terms for each in _caps(one)]
    return Dimensions(domain, action, space(values, turning))


Said = list[tuple[Domain, Node]]


def said_by(domains: Sequence[Domain], action: str) -> tuple[Said, Said]:
    """The expressions that an action asks in some of these versions, and those that it asks in all; each once."""
    said: dict[str, Said] = {}
    asking = [domain for domain in domains if action in domain.terms]
    for domain in asking:
        for node in conditions(domain.terms[action]):
            said.setdefault(repr(node), []).append((domain, node))
    some = [places[0] for places in said.values() if len(places) < len(asking)]
    return some, [places[0] for places in said.values() if len(places) >= len(asking)]


def conditions(terms: Terms) -> Iterator[Node]:
    """Every expression that an action asks."""
    yield from (grant.condition.node for grant in terms.grants)
    if terms.precondition is not None:
        yield terms.precondition.node
    yield from (bound.condition.node for bound in terms.rules)
    for bound in terms.limits:
        yield from (each.node for each in (bound.amount, bound.key) if each is not None)
    if terms.lock is not None:
        yield terms.lock.node


def _caps(terms: Terms) -> Iterator[Relation]:
    """Where the amount of a budget is all that its cap lets through."""
    for bound in terms.limits:
        found = None if bound.amount is None else difference(bound.amount.node, exactly(bound.limit.max))
        if found is not None and found.factors:
            yield found


def _states(domains: Sequence[Domain], action: str) -> list[str]:
    """Where it may start, then everywhere else."""
    contracts = [domain.actions[action] for domain in domains if action in domain.actions]
    allowed = [state for contract in contracts for state in contract.allowed_states]
    return distinct((*allowed, *(state for domain in domains for state in domain.states))) or ["NOWHERE"]


def _with_roles(known: Sequence[tuple[str, ...]], lists: Iterable[Any]) -> Iterator[tuple[str, ...]]:
    """The first sets of roles, each with a role that a condition asks for."""
    for named in lists:
        if named is not ABSENT:
            yield from (tuple(dict.fromkeys((*roles, *map(str, named)))) for roles in known[:3])


def _parameters(domain: Domain, action: str) -> Iterator[Path]:
    """What calls may give, whether or not a condition reads it."""
    contract = domain.actions[action]
    yield from (("parameters", name) for name in (*contract.required_parameters, *(contract.parameters or {})))


def _read(nodes: Iterable[Node]) -> Iterator[Path]:
    """Attributes and parameters that conditions read, and what they read inside of them; outer ones first."""
    for node in nodes:
        for leaf in walk(node):
            if isinstance(leaf, Leaf) and not leaf.local and leaf.path[0] in ("parameters", "entity"):
                yield from (leaf.path[:end] for end in range(2, len(leaf.path) + 1))


def _values(domains: Sequence[Domain], action: str, path: Path, read: Values) -> list[Any]:
    """The values of a parameter, an attribute, or a property inside of one; none for what the domain refuses."""
    domain = domains[0]
    contract = domain.actions[action]
    schemas = [schema for each in domains if action in each.actions for schema in _schema(each, action, path)]
    is_unknown = path[0] == "parameters" and contract.parameters is not None and not _schema(domain, action, path)
    if is_unknown or not schemas:
        return []
    tried = [value for schema in schemas for value in examples(schema)]
    tried += [value for schema in schemas for value in _made(path, schema, read)]
    found = distinct(value for value in tried if value is not ABSENT)
    if len(domains) > 1 and path[0] == "entity" and path[1:] in {(name,) for name in unset_attributes(domains)}:
        return [*found, ABSENT]
    return [ABSENT, *found] if _may_be_absent(domains, action, path) else found


def unset_attributes(domains: Sequence[Domain]) -> list[str]:
    """Attributes that are there once an event set them, and have no default until then: conditions on them may fail."""
    said = {name: schema for domain in reversed(domains) for name, schema in domain.attributes.items()}
    return [name for name, schema in said.items() if "default" not in schema and not schema.get("optional")]


def _schema(domain: Domain, action: str, path: Path) -> list[Schema | None]:
    """What is said about a parameter, an attribute or a property: nothing when there is none; None: any value."""
    contract = domain.actions[action]
    known: Mapping[str, Any] = domain.attributes if path[0] == "entity" else contract.parameters or {}
    if path[1] not in known:
        return [None] if path[0] == "parameters" and path[1] in contract.required_parameters else []
    schema: Schema = known[path[1]]
    for name in path[2:]:
        if name not in schema.get("properties", {}):
            return []
        schema = schema["properties"][name]
    return [schema]


def _may_be_absent(domains: Sequence[Domain], action: str, path: Path) -> bool:
    if len(path) > 2:
        outer = [schema for each in domains if action in each.actions for schema in _schema(each, action, path[:-1])]
        return not any(path[-1] in (schema or {}).get("required", ()) for schema in outer)
    if path[0] == "parameters":
        return path[1] not in domains[0].actions[action].required_parameters
    said = [domain.attributes.get(path[1], {}) for domain in domains]
    return any(each.get("optional", False) or each.get("default") != said[0].get("default") for each in said)


def _made(path: Path, schema: Schema | None, read: Values) -> Iterator[Any]:
    """What conditions compare with; lists of as many items, and of such items, as they ask for."""
    asked = read.get(path, ())
    yield from (value for value in asked if not isinstance(value, tuple))
    if schema is None or "array" not in types_of(dict(schema)):
        return
    ordinary = examples(schema.get("items"))[:1]
    inside = [(found[len(path) + 1 :], read[found]) for found in read if found[: len(path) + 1] == (*path, "*")]
    items = [_changed(item, place, value) for item in ordinary for place, values in inside for value in values]
    for size in distinct((*(value[1] for value in asked if isinstance(value, tuple)), 1)):
        yield from ([item] * size for item in (*ordinary, *items))


def _changed(item: Any, path: Path, value: Any) -> Any:
    """An item of a list with one thing in it changed."""
    if not path:
        return item if value is ABSENT else value
    inner = dict(item) if isinstance(item, dict) else {}
    if value is ABSENT and len(path) == 1:
        inner.pop(path[0], None)
    else:
        inner[path[0]] = _changed(inner.get(path[0]), path[1:], value)
    return inner


def _given(read: Values, path: Path) -> list[Any]:
    return [value for value in read.get(path, ()) if value is not ABSENT]


def _merged(found: Iterable[Values]) -> Values:
    merged: Values = {}
    for values in found:
        for path, listed in values.items():
            merged.setdefault(path, []).extend(listed)
    return merged
