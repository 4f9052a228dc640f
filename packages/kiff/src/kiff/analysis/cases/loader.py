"""A test file to a `Suite`: read strictly, held against its schema and its domain, every problem with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct, convert

from kiff.analysis.boundaries.instants import ORDINARY
from kiff.analysis.cases.document import (
    Call,
    Case,
    Expectation,
    Happening,
    Json,
    Report,
    Review,
    Step,
    Thing,
    Verb,
)
from kiff.analysis.cases.schema import CASES
from kiff.analysis.cases.source import FileIssue, Library, Subject, Unloadable, read
from kiff.analysis.cases.structure import OWN, VERBS, structure, written_cases, written_rows, written_steps
from kiff.canonical import admit
from kiff.domain.document import seconds
from kiff.domain.domain import MAX_CONTENT_BYTES
from kiff.domain.issue import Finding, issues_of
from kiff.domain.issue import Path as Place
from kiff.domain.loader import Document
from kiff.domain.problems import problems
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.instant import parse_rfc3339

SOMETHING = "it"
"""The id of an entity that is written out where it is used."""
SOMEBODY = "somebody"
"""The id of an actor that is written out where it is used."""
REASON = "kiff test"


class Suite(Struct, frozen=True):
    """One test file, and what it is about.

    Args:
        now: instant (ms) at which every case begins.
    """

    file: Path
    subject: Subject
    now: int
    cases: tuple[Case, ...]


def load_suite(file: Path, library: Library, *, domain: Path | None = None, policy: Path | None = None) -> Suite:
    """Read a test file, its domain and its policy.

    Args:
        library: what was read before.
        domain, policy: files that stand in for those that the test file names.

    Raises:
        Unloadable: one of the files cannot be used.
    """
    document = read(file)
    said = document.value
    if not isinstance(said, dict):
        _refuse(file, document, problems(document, CASES, lambda _: [])[0])
    found = library.domain(domain) if domain else library.find_domain(_path(said, "domain"), file)
    named = _path(said, "policy")
    beside = policy or (file.parent / named if named else None)
    policies = (None, None) if beside is None else library.policy(beside)
    _refuse(file, document, problems(document, CASES, structure(found[0], policies[0]))[0])
    return _Builder(document).suite(file, Subject(*found, *policies))


def _refuse(file: Path, document: Document, findings: list[Finding]) -> None:
    if findings:
        raise Unloadable(*(FileIssue(file, issue) for issue in issues_of(findings, document.lines)))


def _path(said: Json, key: str) -> str | None:
    return said[key] if isinstance(said.get(key), str) else None


class _Builder:
    """Values out of a document without findings."""

    def __init__(self, document: Document) -> None:
        self.document: Json = admit(document.value, max_bytes=MAX_CONTENT_BYTES).value
        self.lines = document.lines
        self.actors = {name: _caller(name, each) for name, each in self.document.get("actors", {}).items()}
        self.things = {name: _thing(name, each) for name, each in self.document.get("entities", {}).items()}

    def suite(self, file: Path, subject: Subject) -> Suite:
        now = self.document.get("now")
        cases = [self._case(path, each) for path, each in written_cases(self.document)]
        cases += [case for path, each in written_rows(self.document) for case in self._row(path, each)]
        at = ORDINARY if now is None else parse_rfc3339(now, field="now")
        return Suite(file, subject, at, tuple(cases))

    def _case(self, path: Place, case: Json) -> Case:
        line, steps = self.lines[path], []
        if "propose" in case:
            steps.append(Step("propose", line, _expectation(case), self._call(case["propose"])))
        steps += [self._step(where, each) for where, each in written_steps(path, case)]
        given = case.get("given", {})
        return Case(case["name"], line, tuple(steps), given.get("used", {}), given.get("busy", False))

    def _row(self, path: Place, row: Json) -> list[Case]:
        cases = []
        for actor, outcomes in row["expect"].items():
            for entity, outcome in outcomes.items():
                call = self._call(row | {"as": actor, "on": entity})
                line = self.lines[(*path, "expect", actor, entity)]
                step = Step("propose", line, Expectation(outcome=outcome), call)
                cases.append(Case(f"{row['action']} by {actor} on {entity}", line, (step,)))
        return cases

    def _step(self, path: Place, step: Json) -> Step:
        written = next((verb for verb in VERBS if verb in step), None)
        read: tuple[Verb, Any] = _READ[written](self, step[written]) if written else ("look", None)
        return Step(read[0], self.lines[path], _expectation(step), read[1])

    def _call(self, call: Json) -> Call:
        at = call.get("at")
        return Call(
            action=call["action"],
            caller=self._caller(call["as"]),
            thing=self._thing(call["on"]),
            parameters=call.get("parameters", {}),
            mode=call.get("mode"),
            at=None if at is None else parse_rfc3339(at, field="at"),
            with_approval=call.get("with_approval", False),
        )

    def _propose(self, given: Any) -> tuple[Verb, Any]:
        return ("again", None) if given == "again" else ("propose", self._call(given))

    def _review(self, given: Any) -> Review:
        if isinstance(given, str):
            return Review(self.actors[given], REASON)
        return Review(self._caller(given["by"]), given.get("reason", REASON))

    def _report(self, given: Json) -> Report:
        events = given.get("events")
        by = self._caller(given["by"]) if "by" in given else None
        return Report(given["status"], given.get("message", ""), None if events is None else tuple(events), by)

    def _event(self, given: Json) -> Happening:
        thing = self._thing(given["on"]) if "on" in given else None
        by = self._caller(given["by"]) if "by" in given else None
        return Happening(given["type"], given.get("payload", {}), thing, by)

    def _caller(self, given: Any) -> Caller:
        return self.actors[given] if isinstance(given, str) else _caller(SOMEBODY, given)

    def _thing(self, given: Any) -> Thing:
        return self.things[given] if isinstance(given, str) else _thing(SOMETHING, given)


_READ: dict[str, Any] = {
    "propose": _Builder._propose,
    "grant": lambda builder, given: ("grant", builder._review(given)),
    "deny": lambda builder, given: ("deny", builder._review(given)),
    "cancel": lambda builder, given: ("cancel", builder._review(given)),
    "expire": lambda builder, given: ("expire", None),
    "wait": lambda builder, given: ("wait", 1000 * seconds(given)),
    "execute": lambda builder, given: ("execute", builder._report(given)),
    "event": lambda builder, given: ("event", builder._event(given)),
}


def _caller(name: str, actor: Json) -> Caller:
    person = Principal(actor.get("id", name), actor["type"], actor.get("person"))
    return Caller(person, tuple(actor.get("roles", ())))


def _thing(name: str, entity: Json) -> Thing:
    attributes = {key: value for key, value in entity.items() if key not in OWN}
    version = entity.get("version", 1 if "state" in entity else 0)
    return Thing(entity.get("id", name), entity.get("state"), version, attributes)


def _expectation(around: Json) -> Expectation:
    return convert(around.get("expect", {}), Expectation)
