"""Which rules, limits, preconditions and transitions spoke up, or were taken, at least once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import json

from kiff.analysis.cases.run import Played
from kiff.analysis.cases.source import Source, Subject
from kiff.analysis.cases.structure import terms_of
from kiff.canonical import encode
from kiff.domain.document import Json, expanded, starts
from kiff.domain.issue import Path as Place
from kiff.domain.way import Way
from kiff.gate.limits import Verdict
from kiff.protocol.state import EntityState
from kiff.runtime.step.fold import attributes_of, transition

_Key = tuple[str | None, str, str, str, tuple[tuple[str, str], ...]]
"""From, event, to, guard, and what is set: one way of a transition."""


class Item(NamedTuple):
    """Something that a suite should reach.

    Args:
        kind: rule, limit, precondition or transition.
        name: as people call it, e.g. `REFUND_ORDER amount_above_threshold`.
        line: in the file.
    """

    kind: str
    name: str
    file: Path
    line: int


class Coverage:
    """What of a domain, and of the policy over it, cases reached. Feed it with `add`."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._fired: set[Place] = set()
        self._policy_fired: set[Place] = set()
        self._ways = _ways(subject.source.document)

    def add(self, played: Iterable[Played]) -> None:
        for each in played:
            entities = {row.entity: row for row in each.before}
            for record in each.records:
                if record.kind == "decision_recorded":
                    self._decided(json.decode(encode(record.data)))
                elif record.kind == "event_ingested":
                    self._happened(record.entity or "", json.decode(encode(record.data)), record.at, entities)

    @property
    def items(self) -> list[Item]:
        """All there is, in the order of the files."""
        return [item for item, _ in self._told()]

    @property
    def missed(self) -> list[Item]:
        """What no case reached."""
        return [item for item, fired in self._told() if not fired]

    @property
    def percent(self) -> float:
        """How much was reached; of nothing, all."""
        told = list(self._told())
        return 100.0 * sum(fired for _, fired in told) / len(told) if told else 100.0

    def _told(self) -> Iterator[tuple[Item, bool]]:
        for kind, place, name in _parts(self.subject.source.document):
            yield _item(kind, name, self.subject.source, place), place in self._fired
        policy = self.subject.policy_source
        if policy is not None:
            for kind, place, name in _listed(policy.document, (), ""):
                yield _item(kind, name, policy, place), place in self._policy_fired

    def _decided(self, data: Json) -> None:
        """A rule speaks up when its condition holds, a limit when the call goes over it."""
        domain, policy, action = self.subject.domain, self.subject.policy, data["action"]
        if action not in domain.actions:
            return
        whole, own = terms_of(domain, policy, action), domain.terms[action]
        at: Place = ("actions", list(domain.actions).index(action))
        spoke = {*data.get("matched", ()), *data.get("shadow", ())}
        over = {code for code, usage in data["facts"].get("usage", {}).items() if _is_over(usage)}
        self._fired |= {(*at, "rules", n) for n, bound in enumerate(own.rules) if bound.code in spoke}
        self._fired |= {(*at, "limits", n) for n, bound in enumerate(own.limits) if bound.code in over}
        if any(each["code"] == "condition_not_met" for each in data["reasons"]):
            self._fired.add((*at, "when"))
        added = [("rules", bound.rule.id) for bound in whole.rules[len(own.rules) :] if bound.code in spoke]
        added += [("limits", bound.limit.id) for bound in whole.limits[len(own.limits) :] if bound.code in over]
        self._policy_fired |= {place for key, id in added for place in self._named(key, id)}

    def _named(self, key: str, id: str) -> Iterator[Place]:
        source = self.subject.policy_source
        written = [] if source is None else source.document.get(key, ())
        return ((key, index) for index, part in enumerate(written) if part["id"] == id)

    def _happened(self, entity: str, data: Json, at: int, entities: dict[str, EntityState]) -> None:
        """Folds the event again, as KIFF did, to see which way it took."""
        domain, event = self.subject.domain, data["event"]
        before = entities.get(entity) or EntityState("", entity, domain.name, None, 0)
        payload = event.get("payload", {})
        folded = transition(domain, before, event["type"], payload, at)
        if folded.refusal is not None:
            return
        entities[entity] = folded.entity
        seen = {"entity": attributes_of(domain, before), "event": payload, "now": at}
        for way in domain.transitions[before.state, event["type"]]:
            if way.when is None or way.when(seen) is True:
                self._fired |= self._ways.get(_key(before.state, event["type"], way), set())


def _parts(document: Json) -> Iterator[tuple[str, Place, str]]:
    """(kind, place, name) of everything that a domain has."""
    for index, action in enumerate(document.get("actions", ())):
        place = ("actions", index)
        if action.get("when"):
            yield "precondition", (*place, "when"), action["name"]
        yield from _listed(action, place, f"{action['name']} ")
    for index, each in enumerate(document.get("transitions", ())):
        yield "transition", ("transitions", index), _arrow(each)


def _listed(around: Json, place: Place, prefix: str) -> Iterator[tuple[str, Place, str]]:
    for key in ("rules", "limits"):
        for index, part in enumerate(around.get(key, ())):
            yield key[:-1], (*place, key, index), prefix + part["id"]


def _arrow(written: Json) -> str:
    """`ORDER_PAID: CREATED → PAID`."""
    given = written.get("from", "(nothing)")
    start = given if isinstance(given, str) else ", ".join(given)
    return f"{written['on']}: {start} → {written.get('to', 'the same')}"


def _item(kind: str, name: str, source: Source, place: Place) -> Item:
    return Item(kind, name, source.file, source.lines[place])


def _is_over(usage: Mapping[str, Any]) -> bool:
    return "error" not in usage and not Verdict(**usage).fits


def _ways(document: Json) -> dict[_Key, set[Place]]:
    """Way -> the written transitions it comes from: one of these has a way for each state it starts from."""
    found: dict[_Key, set[Place]] = {}
    for index, each in enumerate(expanded(document).get("transitions", ())):
        for start in starts(each):
            values = tuple(sorted(each.get("set", {}).items()))
            key = (start, each["on"], each.get("to", start), each.get("when", ""), values)
            found.setdefault(key, set()).add(("transitions", index))
    return found


def _key(start: str | None, event: str, way: Way) -> _Key:
    values = tuple(sorted((name, value.text) for name, value in way.set))
    return start, event, way.to, "" if way.when is None else way.when.text, values
