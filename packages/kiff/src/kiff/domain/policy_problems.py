"""What keeps a policy document from loading, as far as it can be told without the domains it is over.

One question = one function, as in `structure`. What parameters and entities are, only a domain says: whether a
condition fits the actions it is about is `kiff.domain.policy_fit`'s question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kiff.domain.document import Json
from kiff.domain.entries import Question, written_parts
from kiff.domain.expr import BOOL, UNKNOWN, examine, excerpt
from kiff.domain.issue import Finding, Path, shown
from kiff.domain.limit_problems import unfit_words
from kiff.domain.measure import UnfitLimit, measure_of
from kiff.domain.policy_document import is_versioned_twice, names, without_match
from kiff.domain.rule_problems import idle_words_of, rules_and_limits, unfit_ids_of
from kiff.domain.schedule import schedule_problems
from kiff.domain.scope import action_scope
from kiff.domain.structure import repeated
from kiff.protocol.limit import Limit

_FINEST = "CLF"
"""A currency with as many decimals as there are: which one a budget counts in, only its actions say."""


def policy_structure(document: Json) -> list[Finding]:
    """Everything about a policy of the right shape that does not fit."""
    return [finding for question in QUESTIONS for finding in question(document)]


def second_versions(document: Json) -> Iterator[Finding]:
    """Is the version said once?"""
    if is_versioned_twice(document):
        message = f"{shown(document['policy'])} ends in a version, and `version` says {shown(document['version'])}"
        yield Finding(("version",), "version_twice", message, "write it in one place")


def repeated_words(document: Json) -> Iterator[Finding]:
    """Is every name given once?"""
    for path, part in rules_and_limits((), document):
        lists: dict[Path, Sequence[str]] = {("roles",): part.get("roles", ())}
        lists |= {("match", word): names(given) for word, given in part.get("match", {}).items()}
        for where, listed in lists.items():
            yield from repeated(((*path, *where, index), name) for index, name in enumerate(listed))
    for name, schedule in document.get("schedules", {}).items():
        for word in ("days", "except"):
            places = enumerate(schedule.get(word, ()))
            yield from repeated((("schedules", name, word, index), day) for index, day in places)


def unfit_ids(document: Json) -> Iterator[Finding]:
    """Does the reason on a receipt name one rule or limit, and nothing else?"""
    return unfit_ids_of((), document, "policy")


def idle_words(document: Json) -> Iterator[Finding]:
    """Does a rule that denies leave alone who would have to say yes?"""
    return idle_words_of((), document)


def unfit_schedules(document: Json) -> Iterator[Finding]:
    """Can every time window be told from the clock?"""
    for name, schedule in document.get("schedules", {}).items():
        yield from schedule_problems(schedule, ("schedules", name))


def unfit_limits(document: Json) -> Iterator[Finding]:
    """Does every limit say what its kind needs, and only what its kind reads?"""
    for path, limit in written_parts((), document, "limits"):
        if {"id", "kind", "max"} <= limit.keys():
            found = list(unfit_words(limit, path))
            yield from found or _unmeasured(limit, path)


def _unmeasured(limit: Json, path: Path) -> Iterator[Finding]:
    """What only its whole numbers tell."""
    try:
        measure_of(Limit(**without_match(limit), unit=_FINEST if limit["kind"] == "budget" else ""))
    except UnfitLimit as error:
        yield Finding((*path, error.field), "bad_limit", str(error))
    except ValueError as error:
        yield Finding((*path, "max"), "bad_limit", str(error))


def unsound_conditions(document: Json) -> Iterator[Finding]:
    """Is every expression one, and does it read what there is whatever the action?"""
    known = action_scope(document, {})
    scope = {**known, "parameters": UNKNOWN, "entity": UNKNOWN}
    for path, part in rules_and_limits((), document):
        for word, expected in (("when", BOOL), ("amount", None), ("key", None)):
            for problem in examine(part[word], scope, expected) if word in part else ():
                told = excerpt(problem, part[word])
                yield Finding((*path, word), problem.code, problem.message, problem.fix, excerpt=told)


def idle_policies(document: Json) -> Iterator[Finding]:
    """Does it ask for anything?"""
    if not document.get("rules") and not document.get("limits"):
        message = "it has no rules and no limits, so it changes nothing"
        yield Finding((), "idle_policy", message, "add a rule, such as one with `then: require_approval`", "warning")


QUESTIONS: tuple[Question, ...] = (
    second_versions,
    repeated_words,
    unfit_ids,
    idle_words,
    unfit_schedules,
    unfit_limits,
    unsound_conditions,
    idle_policies,
)
