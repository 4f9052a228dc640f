"""Webhooks: where a tenant wants to be told of what is written in its log, and of what.

What a message is called follows from the record that it tells of: `approval_granted` is `approval.granted`, and a
decision is called by its outcome, `decision.blocked`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct, json

from kiff.canonical import digest
from kiff.errors import InvalidInput
from kiff.protocol.record import KINDS

EVERYTHING = "*"
_OUTCOMES = ("allowed", "approval_required", "blocked", "invalid", "limit_exceeded")
_DECISION = "decision_recorded"
_UNTOLD = ("credential_", "member_", "tenant_", "webhook_")
"""Records about who may do what, and about webhooks themselves: a message that failed must not lead to another one."""
_NAMES = {kind: kind.replace("_", ".", 1) for kind in KINDS if kind != _DECISION and not kind.startswith(_UNTOLD)}
EVENTS = tuple(sorted({*_NAMES.values(), *(f"decision.{outcome}" for outcome in _OUTCOMES)}))
"""What messages are called."""


class Secret(Struct, frozen=True):
    """What messages to an endpoint are signed with.

    Args:
        sealed: the secret as it is kept.
        until: instant (ms) from which on it signs nothing; None for the one that stays.
    """

    sealed: str
    until: int | None = None


class Endpoint(Struct, frozen=True):
    """One place that is told.

    Args:
        events: names out of EVENTS, `approval.*` for all of a noun, `*` for all.
        entity_types: only of entities of these types, in lower case; none for all, and for what is about no entity.
        why: why it is off; empty while it is on.
    """

    id: str
    url: str
    events: tuple[str, ...]
    entity_types: tuple[str, ...] = ()
    created_at: int = 0
    why: str = ""
    secrets: tuple[Secret, ...] = ()

    @property
    def is_on(self) -> bool:
        return not self.why

    def signing(self, now: int) -> list[str]:
        """What signs a message now, the newest first."""
        return [each.sealed for each in self.secrets if each.until is None or now < each.until]

    def told(self) -> dict[str, Any]:
        """The endpoint as a record carries it: without what it signs with, and without the path of the URL, which may
        be a secret itself; its digest shows whether it is another one.
        """
        return {
            "digest": digest(self.url.encode()),
            "entity_types": list(self.entity_types),
            "events": list(self.events),
            "id": self.id,
            "to": "/".join(self.url.split("/", 3)[:3]),
            "why": self.why,
        }


def name_of(kind: str, data: dict[str, Any]) -> str | None:
    """What the message of a record is called; None when none is sent of it.

    Args:
        data: the record's own.
    """
    return f"decision.{data['outcome']}" if kind == _DECISION else _NAMES.get(kind)


@lru_cache(maxsize=1024)
def named(pattern: str) -> frozenset[str]:
    """The names that a pattern stands for: one, all of a noun, or all; none, when it is no pattern."""
    if pattern == EVERYTHING:
        return frozenset(EVENTS)
    noun = pattern.removesuffix(EVERYTHING)
    if noun != pattern and noun.endswith("."):
        return frozenset(name for name in EVENTS if name.startswith(noun))
    return frozenset({pattern} & set(EVENTS))


@lru_cache(maxsize=1024)
def wanted(patterns: tuple[str, ...]) -> frozenset[str]:
    """The names that patterns stand for."""
    return frozenset[str]().union(*map(named, patterns))


def require_events(patterns: Sequence[str]) -> tuple[str, ...]:
    """Patterns that each stand for something.

    Raises:
        InvalidInput: one of them does not, or there is none.
    """
    for pattern in patterns:
        if not named(pattern):
            message = f"`{pattern:.60}` is no event of a webhook; expected `*`, a noun's (`approval.*`), or one of "
            raise InvalidInput(message + ", ".join(EVENTS), field="events")
    if not patterns:
        raise InvalidInput("`events` must name at least one event; `*` is all of them", field="events")
    return tuple(dict.fromkeys(patterns))


@lru_cache(maxsize=1024)
def endpoints_of(kept: bytes) -> tuple[Endpoint, ...]:
    """The endpoints of a row."""
    return json.decode(kept, type=tuple[Endpoint, ...])


def kept(endpoints: Iterable[Endpoint]) -> bytes:
    """The endpoints as their row keeps them."""
    return json.encode(tuple(endpoints))
