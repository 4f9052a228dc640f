"""What can be wrong with the rules of an action, and with whether it asks for a person."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from kiff.domain.document import Json
from kiff.domain.entries import written_actions, written_parts
from kiff.domain.issue import Finding, Path, shown
from kiff.protocol.reasons import RESERVED


def rules_and_limits(path: Path, action: Json) -> Iterator[tuple[Path, Json]]:
    """The rules of an action, then its limits."""
    return chain(written_parts(path, action, "rules"), written_parts(path, action, "limits"))


def asking(path: Path, action: Json) -> Iterator[tuple[Path, Json]]:
    """What asks for a person: a rule that does and is enforced, or a limit that one may let a call over."""
    for where, each in rules_and_limits(path, action):
        asks = each.get("then") == "require_approval" or each.get("over") == "require_approval"
        if asks and each.get("mode") != "shadow":
            yield where, each


def unfit_ids(document: Json) -> Iterator[Finding]:
    """Does the reason on a receipt name one rule or limit, and nothing else?"""
    for path, action in written_actions(document):
        yield from unfit_ids_of(path, action, "action")


def unfit_ids_of(path: Path, around: Json, noun: str) -> Iterator[Finding]:
    """What is wrong with the ids of the rules and limits of one action, or of one policy."""
    seen = set()
    for where, each in rules_and_limits(path, around):
        id = each.get("id")
        if id in RESERVED:
            message = f"{shown(id)} means something already, and the id is the reason on a receipt"
            yield Finding((*where, "id"), "reserved_rule_id", message, "give it another id")
        if id is not None and id in seen:
            message = f"{shown(id)} is the id of another rule or limit of this {noun}"
            yield Finding((*where, "id"), "duplicate_name", message, "give it an id of its own")
        seen.add(id)


def idle_words(document: Json) -> Iterator[Finding]:
    """Does a rule that denies leave alone who would have to say yes?"""
    for path, action in written_actions(document):
        yield from idle_words_of(path, action)


def idle_words_of(path: Path, around: Json) -> Iterator[Finding]:
    """The idle words of the rules of one action, or of one policy."""
    for where, rule in written_parts(path, around, "rules"):
        for word in ("quorum", "roles"):
            if word in rule and rule.get("then") == "deny":
                message = f"`{word}` says nothing about a rule that denies: nobody is asked"
                yield Finding((*where, word), "bad_rule", message, "remove it, or write `then: require_approval`")


def asking_never(document: Json) -> Iterator[Finding]:
    """Does an action that never asks have nothing that asks?"""
    for path, action in written_actions(document):
        for where, each in asking(path, action) if action.get("approval") == "never" else ():
            word = "then" if "then" in each else "over"
            message = f"{shown(each.get('id', ''))} asks for a person, and the action says `approval: never`"
            yield Finding((*where, word), "never_but_asks", message, "write `approval: conditional`, or let it deny")


def asking_nobody(document: Json) -> Iterator[Finding]:
    """Is there something that asks where the contract leaves it to its rules?"""
    for path, action in written_actions(document):
        if action.get("approval") == "conditional" and _is_whole(action) and not any(asking(path, action)):
            name = shown(action.get("name", ""))
            message = f"{name} is `conditional`, and none of its rules or limits that are enforced asks for a person"
            fix = "add a rule with `then: require_approval`, or write `required` or `never`"
            yield Finding((*path, "approval"), "no_asking_rule", message, fix, "activation")


def _is_whole(action: Json) -> bool:
    """Whether no rule and no limit lost a part that may have asked."""
    return all(
        each and ("then" in each or "kind" in each) for each in (*action.get("rules", ()), *action.get("limits", ()))
    )


def later_evidence(document: Json) -> Iterator[Finding]:
    """Can a reviewer bring what is asked for?"""
    for path, action in written_actions(document):
        if action.get("approval_policy", {}).get("evidence") == "passkey":
            where = (*path, "approval_policy", "evidence")
            message = "`passkey` is not supported yet, so nobody could review this"
            yield Finding(where, "not_supported_yet", message, "write `session` or `key` until then", "activation")
