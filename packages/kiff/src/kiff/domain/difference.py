"""What one domain says and another does not: by the names of things, not by lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct, json

from kiff.domain.domain import Domain

Change = Literal["added", "removed", "changed", "reordered"]


class Difference(Struct, frozen=True):
    """One place where they differ.

    Args:
        where: `actions.AUTO_REFUND.parameters.amount.maximum`.
        before, after: JSON values; None where there is none.
    """

    change: Change
    where: str
    before: Any = None
    after: Any = None


def differences(before: Domain, after: Domain) -> list[Difference]:
    """Everything in which two domains differ, in the order of a kiff.yaml. Empty when their digests are equal."""
    old, new = (json.decode(domain.content) for domain in (before, after))
    order = (*new, *(name for name in old if name not in new))
    ordered = sorted(order, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    return [each for name in ordered for each in _compared(name, old.get(name), new.get(name))]


_ORDER = (
    "domain",
    "version",
    "entity",
    "description",
    "attributes",
    "events",
    "payloads",
    "states",
    "final",
    "transitions",
    "timeouts",
    "schedules",
    "actions",
    "permissions",
    "adapters",
    "audit",
)


def _compared(where: str, old: Any, new: Any) -> Iterator[Difference]:
    if old == new:
        return
    if old is None or new is None:
        yield Difference("added" if old is None else "removed", where, old, new)
    elif isinstance(old, dict) and isinstance(new, dict):
        yield from _members(where, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(where, old, new)
    else:
        yield Difference("changed", where, old, new)


def _members(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name in (*new, *(name for name in old if name not in new)):
        yield from _compared(f"{where}.{name}", old.get(name), new.get(name))


def _lists(where: str, old: list[Any], new: list[Any]) -> Iterator[Difference]:
    """Things with a name are compared by it; names alone are there or not; anything else goes by its place."""
    twice = {name for values in (old, new) for name, count in Counter(_names(values)).items() if count > 1}
    found, named = _named(old, twice), _named(new, twice)
    if found is not None and named is not None:
        told = list(_members(where, found, named))
        yield from told or [Difference("reordered", where, list(found), list(named))]
    elif _is_plain(old) and _is_plain(new):
        told = [Difference("added", where, None, each) for each in new if each not in old]
        told += [Difference("removed", where, each, None) for each in old if each not in new]
        yield from told or [Difference("reordered", where, old, new)]
    else:
        yield Difference("changed", where, old, new)


def _named(values: list[Any], twice: Collection[str]) -> dict[str, Any] | None:
    """The things of a list by what they are called; None when they are called nothing, or several the same.

    Args:
        twice: names that are not enough: an event that leads to several states is told apart by them.
    """
    names = _names(values)
    if len(names) != len(values):
        return None
    whole = (f"{name} to {each.get('to')}" if name in twice else name for name, each in zip(names, values, strict=True))
    found = dict(zip(whole, values, strict=True))
    return found if len(found) == len(values) else None


def _names(values: list[Any]) -> list[str]:
    named = (each for each in values if isinstance(each, dict) and not _CALLED.isdisjoint(each))
    return [_name(each) for each in named]


def _name(thing: Mapping[str, Any]) -> str:
    """A transition is called by where it starts and what starts it."""
    called = next((str(thing[key]) for key in ("name", "id") if key in thing), None)
    return called or f"{thing.get('from') or '(new)'} on {thing['on']}"


_CALLED = frozenset(("name", "id", "on"))


def _is_plain(values: list[Any]) -> bool:
    return all(isinstance(each, str | int | float) for each in values)
