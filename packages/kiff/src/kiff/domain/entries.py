"""Walking a document of the right shape: its entries, each with its place, and the names they use.

What `shape` objected to was taken out: an empty text stands where a list lost an item, and a key may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from kiff.domain.document import Json
from kiff.domain.issue import Finding, Path, did_you_mean, shown

Question = Callable[[Json], Iterator[Finding]]
Use = tuple[Path, str]
"""Where a name is used, and the name."""


def written_actions(document: Json) -> Iterator[tuple[Path, Json]]:
    return _entries(document, "actions")


def written_adapters(document: Json) -> Iterator[tuple[Path, Json]]:
    return _entries(document, "adapters")


def written_timeouts(document: Json) -> Iterator[tuple[Path, Json]]:
    return _entries(document, "timeouts")


def written_transitions(document: Json) -> Iterator[tuple[Path, Json]]:
    return (entry for entry in _entries(document, "transitions") if "on" in entry[1])


def written_grants(document: Json) -> Iterator[tuple[Path, Json]]:
    return written_parts(("permissions",), document.get("permissions", {}), "grants")


def written_parts(path: Path, around: Json, key: str) -> Iterator[tuple[Path, Json]]:
    """The entries of a list inside of something, such as the `rules` of an action."""
    return (((*path, *where), entry) for where, entry in _entries(around, key))


def _entries(document: Json, key: str) -> Iterator[tuple[Path, Json]]:
    for index, entry in enumerate(document.get(key, ())):
        if isinstance(entry, dict):
            yield (key, index), entry


def event_lists(path: Path, action: Json) -> Iterator[tuple[Path, list[str]]]:
    emits = action.get("emits", [])
    if isinstance(emits, list):
        yield (*path, "emits"), emits
        return
    for key in ("success", "failure"):
        yield (*path, "emits", key), emits.get(key, [])


def mapped_events(document: Json) -> Iterator[Use]:
    """The events that adapters make of webhooks."""
    for path, adapter in written_adapters(document):
        for source_type, event in adapter.get("map", {}).get("events", {}).items():
            yield (*path, "map", "events", source_type), event


def each_name(path: Path, names: str | list[str]) -> Iterator[Use]:
    """A name, or the names of a list, each with its place."""
    yield from ((path, names),) if isinstance(names, str) else (((*path, i), name) for i, name in enumerate(names))


def unknown_names(
    noun: str, declared: list[str] | None, used: list[Use], *, also: Iterable[str] = ()
) -> Iterator[Finding]:
    """Names that are not declared. While none is, the document is a draft and nothing is wrong.

    Args:
        also: other names that may have been meant.
    """
    unknown = [(path, name) for path, name in used if name and name not in declared] if declared else []
    for path, name in unknown:
        fix = _renamed(declared or (), used) or did_you_mean(name, (*(declared or ()), *also)) or f"add it to `{noun}s`"
        yield Finding(path, f"unknown_{noun}", f"{shown(name)} is not a declared {noun}", fix)


def _renamed(declared: Sequence[str], used: list[Use]) -> str:
    """A declared name was changed and its uses were not: one name is unknown, one is unused, others fit."""
    names = {name for _, name in used if name}
    unknown, spare = names.difference(declared), [name for name in declared if name not in names]
    if len(unknown) != 1 or len(spare) != 1 or len(names) == 1:
        return ""
    return f"write {shown(spare[0])} if that is its name now: nothing uses it"
