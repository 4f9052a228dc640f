"""What a written policy means, and its normal form: a valid policy document in which everything is written out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kiff.domain.document import Json, written_limit, written_rule
from kiff.protocol.action import ActionContract, Rule
from kiff.protocol.limit import Limit

_LABEL = re.compile(r"([a-z][a-z0-9-]*?)-(v[0-9]+)")
_WORDS = ("domain", "action", "risk", "entity")


class Match(NamedTuple):
    """Which actions a rule or a limit is about; a word without names fits every action.

    Args:
        entity: entity types, in lower case.
    """

    domain: frozenset[str] = frozenset()
    action: frozenset[str] = frozenset()
    risk: frozenset[str] = frozenset()
    entity: frozenset[str] = frozenset()

    def fits(self, domain: str, entity_type: str, contract: ActionContract) -> bool:
        """Whether an action of a domain is among them."""
        said = (domain, contract.name, contract.risk.value, entity_type)
        return all(not names or name in names for names, name in zip(self, said, strict=True))


class PolicyRule(NamedTuple):
    """A rule of a policy, and where it is asked."""

    match: Match
    rule: Rule


class PolicyLimit(NamedTuple):
    """A limit of a policy, and what it counts."""

    match: Match
    limit: Limit


def split_name(document: Json) -> tuple[str, str | None]:
    """The slug and the version that a document names.

    `policy: inventory-v2` says the same as `policy: inventory` with `version: v2`: a number after `-v` at the end is
    the version, unless the document has a `version`, which says the version alone.
    """
    label = _LABEL.fullmatch(document["policy"])
    if label is None or "version" in document:
        return document["policy"], document.get("version")
    return label[1], label[2]


def is_versioned_twice(document: Json) -> bool:
    """Whether the name ends in a version and `version` says one too."""
    return "version" in document and _LABEL.fullmatch(document.get("policy", "")) is not None


def rules_of(document: Json) -> tuple[PolicyRule, ...]:
    """The rules of a document without errors."""
    return tuple(PolicyRule(match, Rule(**written)) for match, written in _parts(document, "rules"))


def limits_of(document: Json) -> tuple[PolicyLimit, ...]:
    """The limits of a document without errors."""
    return tuple(PolicyLimit(match, Limit(**written)) for match, written in _parts(document, "limits"))


def _parts(document: Json, key: str) -> Iterator[tuple[Match, Json]]:
    for part in document.get(key, ()):
        yield _match_of(part.get("match", {})), without_match(part)


def without_match(part: Json) -> Json:
    """A rule or limit as an action would have it."""
    return {word: value for word, value in part.items() if word != "match"}


def _match_of(match: Json) -> Match:
    said = {word: frozenset(names(match[word])) for word in _WORDS if word in match}
    if "entity" in said:
        said["entity"] = frozenset(entity.lower() for entity in said["entity"])
    return Match(**said)


def names(given: str | Sequence[str]) -> Sequence[str]:
    """One name or several as several."""
    return [given] if isinstance(given, str) else given


def normal_policy(document: Json) -> Json:
    """The one writing of what a policy without errors says. Lists keep their order: people read them.

    INVARIANT: a key that this file starts to know later is left out at its default, or old digests would move.
    """
    slug, version = split_name(document)
    written_rules = (written_rule(each.rule) for each in rules_of(document))
    written_limits = (written_limit(each.limit) for each in limits_of(document))
    normal: Json = {
        "spec": "kiff/v1",
        "policy": slug,
        "rules": _matched(document.get("rules", ()), written_rules),
        "limits": _matched(document.get("limits", ()), written_limits),
    }
    if version is not None:
        normal["version"] = version
    return normal | {key: document[key] for key in ("description", "schedules") if document.get(key)}


def _matched(parts: Sequence[Json], written: Iterator[Json]) -> list[Json]:
    given = [{word: list(names(part["match"][word])) for word in part.get("match", {})} for part in parts]
    return [each | ({"match": match} if match else {}) for each, match in zip(written, given, strict=True)]
