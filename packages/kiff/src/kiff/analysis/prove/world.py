"""Everything that conditions read, as unknowns of a solver. Two versions that read one world share its unknowns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from kiff.analysis.boundaries.instants import standings
from kiff.analysis.boundaries.relations import Path
from kiff.analysis.prove.smt import Term, library
from kiff.canonical import MAX_INT
from kiff.domain.expr.literal import FIRST_INSTANT, LAST_INSTANT
from kiff.domain.expr.node import Binary, Call, Node, walk
from kiff.domain.expr.types import Decimal, String, Type
from kiff.domain.schedule import Schedule

_SORTS = {"bool": "Bool", "int": "Int", "timestamp": "Int", "duration": "Int", "decimal": "Int", "double": "Real"}

_CLOCK = (0, 4_102_444_800_000)  # no decision was made before 1970, and none is looked at after 2099


class Unknown(NamedTuple):
    """One value that is read."""

    path: Path
    type: Type
    term: Term


class World:
    """The unknowns, made when they are first asked for.

    Texts are numbers where they are only compared for equality: any two literals differ, and there are others.

    Args:
        nodes: every condition that will be asked; they say whether texts are looked into.

    Attributes:
        read: (path, type) -> its unknown.
        unset: attributes that no event may have set yet; reading one is an error.
        hours: the time windows of the version that is read now; by one name, two versions may mean two.
        windows: (a window, whether it is open), for each that is asked about.
        vague: what the solver knows nothing about, as text: items of lists, and what is asked about them.
        has_numbers: whether numbers without a unit are read, which are taken as reals.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.z3 = library()
        self.has_texts = any(map(_looks_into_texts, (part for node in nodes for part in walk(node))))
        self.read: dict[tuple[Path, str], Unknown] = {}
        self.vague: list[str] = []
        self.unset: frozenset[Path] = frozenset()
        self.hours: Mapping[str, Schedule] = {}
        self.windows: dict[str, tuple[Schedule, Term]] = {}
        self._codes: dict[str, int] = {}
        self._free: dict[str, Term] = {}

    @property
    def has_numbers(self) -> bool:
        return any(unknown.type.kind == "double" for unknown in self.read.values())

    def value(self, path: Path, type_: Type) -> Term:
        """What stands at a path."""
        if path[0] == "schedule":
            return self._window(self.hours[path[1]])
        key = f"{type_.kind}{type_.digits}" if isinstance(type_, Decimal) else type_.kind
        if (path, key) not in self.read:
            term = self._make(f"{'.'.join(path)}:{key}", type_)
            self.read[path, key] = Unknown(path, type_, term)
        return self.read[path, key].term

    def present(self, path: Path) -> Term:
        """Whether something stands at a path."""
        return self.free(f"has:{'.'.join(path)}")

    def readable(self, path: Path) -> Term:
        """Whether reading a path is no error."""
        return self.present(path[:2]) if path[:2] in self.unset else self.z3.BoolVal(True)

    def role(self, name: str) -> Term:
        """Whether the caller has a role."""
        return self.free(f"role:{name}")

    def free(self, name: str, sort: str = "Bool") -> Term:
        """An unknown of which nothing is known but its name."""
        if name not in self._free:
            self._free[name] = getattr(self.z3, sort)(name)
        return self._free[name]

    def nothing(self, type_: Type) -> Term:
        """Any value of a type, for what has none."""
        sort = self._sort(type_)
        return self.free(f"nothing:{sort}", sort)

    def opaque(self, name: str, type_: Type) -> Term:
        """The same for something that the solver does not understand."""
        if name not in self.vague:
            self.vague.append(name)
        return self.free(name, self._sort(type_))

    def literal(self, value: Any, type_: Type) -> Term:
        z3 = self.z3
        if isinstance(value, str):
            return z3.StringVal(value) if self.has_texts else z3.IntVal(self._codes.setdefault(value, len(self._codes)))
        if isinstance(value, bool):
            return z3.BoolVal(value)
        return z3.RealVal(Fraction(repr(value))) if type_.kind == "double" else z3.IntVal(int(value))

    def _window(self, schedule: Schedule) -> Term:
        name = repr(schedule)
        return self.windows.setdefault(name, (schedule, self.free(f"open:{name}")))[1]

    def roles(self) -> Iterator[tuple[str, Term]]:
        """Every role that was asked about."""
        yield from ((name.removeprefix("role:"), term) for name, term in self._free.items() if name.startswith("role:"))

    def texts(self) -> dict[int, str]:
        """The texts that numbers stand for."""
        return {code: text for text, code in self._codes.items()}

    def bounds(self) -> Iterator[Term]:
        """What holds for values of a type, whatever they mean."""
        for path, type_, term in self.read.values():
            if type_.kind in ("int", "decimal"):
                most = MAX_INT * (10**type_.digits if isinstance(type_, Decimal) else 1)
                yield self.z3.And(-most <= term, term <= most)
            if type_.kind == "timestamp":
                first, last = _CLOCK if path == ("now",) else (FIRST_INSTANT, LAST_INSTANT)
                yield self.z3.And(first <= term, term <= last)
            if isinstance(type_, String) and path == ("actor", "type"):
                yield self.z3.Or(*(term == self.literal(value, type_) for value in type_.enum))
            yield from (self.z3.Implies(self.present(path), self.present(path[:end])) for end in range(2, len(path)))
        yield from self._links()
        yield from self._standings()

    def _links(self) -> Iterator[Term]:
        """A number that two versions read as different types is one number."""
        first: dict[Path, Unknown] = {}
        for unknown in self.read.values():
            if _SORTS.get(unknown.type.kind) in ("Int", "Real"):
                other = first.setdefault(unknown.path, unknown)
                if other is not unknown:
                    yield self.number(unknown.term, unknown.type) == self.number(other.term, other.type)

    def _standings(self) -> Iterator[Term]:
        """Which windows are open together, where that is known of all instants: in one time zone."""
        if len({schedule.zone.key for schedule, _ in self.windows.values()}) == 1:
            known = list(self.windows.values())
            instants = standings([schedule for schedule, _ in known])
            ways = (self.z3.And(*(term == s.is_open(at_ms) for s, term in known)) for at_ms in instants)
            yield self.z3.Or(*ways)

    def number(self, term: Term, type_: Type) -> Term:
        """As a real, in the number that an author writes."""
        real = term if type_.kind == "double" else self.z3.ToReal(term)
        return real / 10**type_.digits if isinstance(type_, Decimal) and type_.digits else real

    def _make(self, name: str, type_: Type) -> Term:
        return getattr(self.z3, self._sort(type_))(name)

    def _sort(self, type_: Type) -> str:
        if isinstance(type_, String):
            return "String" if self.has_texts else "Int"
        return _SORTS.get(type_.kind, "Int")


def _looks_into_texts(node: Node) -> bool:
    if isinstance(node, Call):
        return node.name != "timestamp" and isinstance(node.args[0].type, String)
    return isinstance(node, Binary) and node.op in ("<", "<=", ">", ">=") and isinstance(node.left.type, String)
